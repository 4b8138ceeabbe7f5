"""Columns of numbers in the lines of a text file."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Collection

import numpy as np

__all__ = ["TableError", "either", "read_lines"]

QUOTED = re.compile(r'"[^"]*"')
# What no column is called: what begins like a number in any script, and the words for one that is not there.
NUMERIC = re.compile(
    r"[\d+\-.\u2212\u2010-\u2015]|(inf(inity)?|nan|na|n/a|null|none)(?![a-z])", re.IGNORECASE
)
BETWEEN_BLANKS = re.compile(r"[^ \t\r\n\f\v]+")  # other blanks may stand within a number, as in 1\xa0000


class TableError(ValueError):
    """A file that is there but does not hold the numbers it should; the message names file and place."""


def read_lines(path: str, columns: Collection[int]) -> tuple[np.ndarray, array[int]]:
    """Read rows of so many numbers from a text file.

    Return them in float64, shape (columns, rows), each column contiguous, and the line of each row, from 1.
    """
    numbers, lines = array("d"), array("q")
    separator, width = None, 0
    # Bytes that are no UTF-8 become marks, so that the line which holds them is named like any other.
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip() or text.lstrip().startswith("#"):
                continue
            first = not width
            if first:
                separator = next((s for s in ";," if s in QUOTED.sub("", text)), None)
            fields = _fields(text, separator)
            width = width or len(fields)
            if len(fields) != width or width not in columns:
                expected = either([width] if width in columns else columns)
                raise TableError(f"{path}, line {line}: columns: {len(fields)}; accepted: {expected}")
            if first and _are_names(fields):
                continue
            try:
                numbers.extend([_number(field) for field in fields])
            except ValueError as error:
                raise TableError(f"{path}, line {line}: {error}") from None
            lines.append(line)
    rows = np.frombuffer(numbers, dtype=np.float64) if numbers else np.empty(0)
    return np.ascontiguousarray(rows.reshape(-1, width or 1).T), lines


def either(counts: Collection[int]) -> str:
    """Name the accepted numbers of columns."""
    return " or ".join(map(str, sorted(counts)))


def _fields(text: str, separator: str | None) -> list[str]:
    """Split a line; a separator in quotes is part of a name."""
    if '"' not in text:
        return text.split(separator) if separator or text.isascii() else BETWEEN_BLANKS.findall(text)
    line = text.strip() if separator else " ".join(text.split())
    try:
        return next(csv.reader([line], delimiter=separator or " ", skipinitialspace=True))
    except csv.Error:  # a field of more than 131,072 characters
        return text.split(separator)


def _number(field: str) -> float:
    try:
        if "_" not in field and field.isascii():  # Python would read 1_5 as 15, and the digits of any script
            return float(field)
    except ValueError:
        pass
    raise ValueError(f"{ascii(field.strip()[:40])} is not a number")


def _are_names(fields: list[str]) -> bool:
    """Whether the fields of a first line are names; a number with a slip in it is none."""
    return any(map(str.strip, fields)) and not any(NUMERIC.match(field.strip()) for field in fields)
