"""Running ``mgnet`` as its tests do: the answer, or the complaint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mgnet.cli import main

KEYS = [
    "status",
    "n",
    "dim",
    "dtype",
    "device",
    "method",
    "iterations",
    "residual",
    "error_estimate",
    "seconds",
]


def answer(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> dict[str, Any]:
    """Run with --json and return the one object on stdout."""
    assert main([*argv, "--json"]) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert err == "" or code
    (line,) = out.splitlines()
    figures: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)  # no NaN, no Infinity
    return figures


def complaint(capsys: pytest.CaptureFixture[str], *argv: str, code: int) -> str:
    """Run what must fail and return the one line on stderr."""
    assert main(list(argv)) == code
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("mgnet: error: ")
    return line


def last_words(capsys: pytest.CaptureFixture[str], code: int, *argv: str) -> str:
    """Run what must fail, maybe after it has reported, and return the last line on stderr."""
    assert main(list(argv)) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()[-1]
