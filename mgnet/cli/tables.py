"""Tables of numbers in files, CSV and NPY, read with care, and a look whether a file could be written."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from array import array
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from ..core.files import beside, mapped, regular
from . import several
from .columns import TableError, either, read_lines

__all__ = ["Table", "TableError", "axes_of", "is_file_name", "is_other_file", "is_uniform", "read"]
__all__ += ["read_array", "read_mask", "require_writable"]

# Numbers of a mapped file that are looked at at one time.
PIECE = 2**20
TEXT_ENDINGS = (".csv", ".txt")
ENDINGS = (*TEXT_ENDINGS, ".npy")
# What ends like this is meant as a file too, and is none that can be read.
OTHER_ENDINGS = (
    *(".npz", ".mat", ".xls", ".xlsx", ".ods", ".h5", ".hdf5", ".nc", ".json", ".parquet", ".feather"),
    *(".pkl", ".pickle", ".pt", ".pth", ".gz", ".bz2", ".xz", ".zip", ".tsv", ".dat", ".vtk", ".vtu", ".msh"),
)


@dataclass(frozen=True, eq=False)
class Table:
    """The numbers of a file, those that count finite."""

    path: str
    columns: np.ndarray  # in float64, shape (columns, rows), each column contiguous
    lines: array[int] | None = None  # that of each row in a text file, from 1

    @property
    def x(self) -> np.ndarray | None:
        """The first of two columns: where the values belong; None in a table of one column."""
        return self.columns[0] if len(self.columns) > 1 else None

    @property
    def values(self) -> np.ndarray:
        """The last column."""
        return self.columns[-1]

    def fail(self, message: str, row: int | None = None) -> NoReturn:
        """Raise a :class:`TableError`; of a row from 0 of a text file its line is told instead."""
        place = "" if row is None else f", row {row}" if self.lines is None else f", line {self.lines[row]}"
        raise TableError(f"{self.path}{place}: {message}")

    def nodes(self, name: str = "x") -> np.ndarray:
        """Return x, the first column, after a look that it is a grid: at least two numbers that increase."""
        x = self.columns[0]
        if x.size < 2:
            self.fail("one node; a grid needs at least two")
        wrong = np.flatnonzero(x[1:] <= x[:-1])
        if wrong.size:
            row = int(wrong[0]) + 1
            self.fail(f"{name} = {x[row]:.9g} does not increase: before it stands {x[row - 1]:.9g}", row)
        return x

    def require_nodes(self, nodes: np.ndarray) -> None:
        """Refuse an x, if there, that is more than a hundredth of a cell away from its node of a grid."""
        if self.x is None:
            return
        width = np.diff(nodes)
        slack = 0.01 * np.minimum(np.append(width, width[-1]), np.insert(width, 0, width[0]))
        wrong = np.flatnonzero(np.abs(self.x - nodes) > slack)
        if wrong.size:
            row = int(wrong[0])
            self.fail(f"x = {self.x[row]:.9g} is not the grid's node {nodes[row]:.9g}", row)

    def require_cells(self, nodes: np.ndarray) -> None:
        """Refuse an x, if there, that is not inside its cell, between two nodes of a grid."""
        if self.x is None:
            return
        wrong = np.flatnonzero((self.x <= nodes[:-1]) | (self.x >= nodes[1:]))
        if wrong.size:
            row = int(wrong[0])
            cell = f"({nodes[row]:.9g}, {nodes[row + 1]:.9g})"
            self.fail(f"x = {self.x[row]:.9g} is not in the grid's cell {cell}", row)


def is_file_name(text: str) -> bool:
    """Return whether a text, such as an expression, ends like the files that :func:`read` takes."""
    return text.lower().endswith(ENDINGS)


def is_other_file(text: str) -> bool:
    """Return whether a text is the name of a file that :func:`read` does not take, by ending, or there."""
    if is_file_name(text):
        return False
    return text.lower().endswith(OTHER_ENDINGS) or ("." in os.path.basename(text) and os.path.isfile(text))


def is_uniform(x: np.ndarray) -> bool:
    """Return whether increasing nodes are equally spaced, but for a few units in the last place."""
    even = np.linspace(x[0], x[-1], x.size)
    return bool(np.max(np.abs(x - even)) <= 8 * np.spacing(np.max(np.abs(x[[0, -1]]))))


def read(path: str, columns: Collection[int] = (1, 2), masks: Collection[np.ndarray] = ()) -> Table:
    """Read a table with as many columns as accepted, in float64.

    That is a .npy file with a 1-D or a 2-D array, or else a text file, one row a line, separated by commas,
    semicolons or blanks, with '.' as decimal point. Lines that begin with '#' and empty lines are skipped;
    the first other line may hold the columns' names, none of which begins like a number, those with a
    separator in double quotes. A damaged file is a :class:`TableError`, and so is one with numbers that are
    not finite, but for rows that do not count, see :func:`read_array`.
    """
    if path.lower().endswith(".npy"):
        stored = _stored(path)
        if stored.ndim not in (1, 2):
            raise TableError(f"{path}: an array of shape {stored.shape}; one or two dimensions are accepted")
        table = Table(path, _double(stored[None] if stored.ndim == 1 else stored.T))
    else:
        table = Table(path, *read_lines(path, columns))
    count, rows = table.columns.shape
    if rows == 0:
        table.fail("no numbers in it")
    if count not in columns:
        table.fail(f"columns: {count}; accepted: {either(columns)}")
    if isinstance(table.columns, np.memmap):
        row = _not_finite(table.columns.T)
        if row is not None:
            table.fail(f"{', '.join(f'{v:g}' for v in table.columns[:, row])}: not a finite number", row)
        return table
    wrong = np.flatnonzero(~np.isfinite(table.columns).all(axis=0) & _counting((rows,), masks))
    if wrong.size:
        row = int(wrong[0])
        table.fail(f"{', '.join(f'{v:g}' for v in table.columns[:, row])}: not a finite number", row)
    return table


def axes_of(path: str, columns: Collection[int] = (1, 2)) -> int:
    """Return how many axes the array in a .npy file has; 1 for so many columns, or what cannot be read."""
    try:
        shape = _stored(path, "biuf").shape
    except (TableError, OSError):
        return 1
    return 1 if len(shape) == 2 and shape[1] in columns else len(shape)


def read_array(path: str, axes: Collection[int], masks: Collection[np.ndarray] = ()) -> np.ndarray:
    """Read a .npy file with an array of numbers, as float64, with a number of axes that is accepted.

    Every number is finite, but for those that do not count: one of the masks says which do, that of the same
    shape.
    """
    values = _double(_shaped(path, axes, "iuf"))
    if isinstance(values, np.memmap):
        row = _not_finite(values)
        if row is not None:
            raise TableError(f"{path}, entries {row}, ...: not all are finite numbers")
        return values
    finite = np.isfinite(values) | ~_counting(values.shape, masks)
    if not finite.all():
        place = tuple(map(int, np.unravel_index(np.argmin(finite), values.shape)))
        raise TableError(f"{path}, entry {place}: {values[place]:g}: not a finite number")
    return values


def read_mask(path: str, axes: int) -> np.ndarray:
    """Read an array of so many axes, of True and False or of 1 and 0; where axes are one from a table too."""
    if path.lower().endswith(TEXT_ENDINGS):
        table = read(path, columns=(1,))
        wrong = np.flatnonzero((table.values != 0) & (table.values != 1))
        if wrong.size:
            row = int(wrong[0])
            table.fail(f"{table.values[row]:g}; accepted: 0 or 1", row)
        return table.values != 0
    values = _shaped(path, (axes,), "biuf")
    bad = (values != 0) & (values != 1)
    if bad.any():
        place = tuple(map(int, np.unravel_index(np.argmax(bad), values.shape)))
        raise TableError(f"{path}, entry {place}: {values[place]:g}; accepted: True or False, 1 or 0")
    return np.array(values != 0)


def _counting(shape: tuple[int, ...], masks: Collection[np.ndarray]) -> np.ndarray:
    """Say which numbers of an array count: all, unless there is a mask of its shape."""
    return next((mask for mask in masks if mask.shape == shape), np.ones((), bool))


def _shaped(path: str, axes: Collection[int], kinds: str) -> np.ndarray:
    stored = _stored(path, kinds)
    if stored.ndim not in axes:
        accepted = f"{either(axes)} dimension{'s' if max(axes) > 1 else ''}"
        raise TableError(f"{path}: an array of shape {stored.shape}; accepted: {accepted}")
    if stored.size == 0:
        raise TableError(f"{path}: no numbers in it")
    return stored


def _not_finite(mapped: np.ndarray) -> int | None:
    """Return the first row that is not finite, if there is one, among those of this process; in pieces."""
    rows = several.share(len(mapped))
    for start in range(rows.start, rows.stop, step := max(1, PIECE * len(mapped) // mapped.size)):
        piece = mapped[start : min(start + step, rows.stop)]
        finite = np.isfinite(piece).reshape(len(piece), -1).all(axis=1)
        if not finite.all():
            return start + int(np.argmin(finite))
    return None


def _double(stored: np.ndarray) -> np.ndarray:
    if several.are() and stored.dtype in (np.float32, np.float64) and stored.flags.c_contiguous:
        return stored  # of what is mapped each process reads its part
    with np.errstate(over="ignore"):  # beyond float64 is not finite, which the caller looks for
        return np.array(stored, dtype=np.float64, order="C")


def _stored(path: str, kinds: str = "iuf") -> np.ndarray:
    """Return the array of real numbers in a file, not yet read; with the kind b of True and False too."""
    try:
        with regular(path) as file:  # not opened is an OSError, not understood is damaged
            is_archive = zipfile.is_zipfile(file)
    except ValueError as error:
        raise TableError(f"{path}: {error}") from error
    if is_archive:
        raise TableError(f"{path}: an archive of arrays; one array is accepted")
    try:
        stored = mapped(path)
    except ValueError as error:
        raise TableError(f"{path}: {error}") from error
    if stored.dtype.kind not in kinds:
        raise TableError(f"{path}: an array of {stored.dtype}; real numbers are accepted")
    return stored


def require_writable(path: str, endings: Collection[str]) -> None:
    """Raise unless a file with one of the endings could be written there now."""
    if not path.lower().endswith(tuple(endings)):
        raise ValueError(f"{path}: the name must end in {' or '.join(endings)}")
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError(f"{path}: is there and is not a file")
        if not os.access(path, os.W_OK):  # it could be replaced all the same, against its owner's wish
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    temporary = beside(path)
    with open(temporary, "xb"):
        pass
    os.unlink(temporary)
