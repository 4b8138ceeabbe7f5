"""History: the figures of a training run, one row per epoch."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import Any

from ..core.checks import entry, instance, number, probability
from ..core.files import replacing

__all__ = ["History"]

COLUMNS = (
    *("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    *("seconds", "images_per_second"),
)


class History:
    """The figures of a training run.

    Attributes
    ----------
    rows : list of dict
        One per epoch: epoch (from 1), lr (at its end), train_loss, train_accuracy (in training mode, over
        the epoch), val_loss, val_accuracy (None without a validation set), seconds and images_per_second
        (of the training alone).
    test_accuracy : float or None
        Of the weights that the run ended with, looked at once.
    stopped_early : bool
        Whether patience ended the run, or ``on_epoch`` did.
    notes : list of str
        What the run began from, and what changed when it was gone on with: more epochs, another rate.

    Examples
    --------
    >>> history = History()
    >>> history.append(epoch=1, train_loss=2.0)
    >>> history["train_loss"]
    [2.0]
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.test_accuracy: float | None = None
        self.stopped_early = False
        self.notes: list[str] = []

    def append(self, **figures: Any) -> None:
        """Add a row.

        Parameters
        ----------
        **figures
            By column; those that are missing are None.
        """
        self.rows.append({name: figures.get(name) for name in COLUMNS})

    def __getitem__(self, column: str) -> list[Any]:
        if column not in COLUMNS:
            raise KeyError(f"{column}: no column; accepted: one of {COLUMNS}")
        return [row[column] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def best(self) -> dict[str, Any] | None:
        """The row with the best validation accuracy, the first of equals; the last row without one."""
        judged = [row for row in self.rows if row["val_accuracy"] is not None]
        if not judged:
            return self.rows[-1] if self.rows else None
        return max(judged, key=lambda row: row["val_accuracy"])

    @property
    def seconds(self) -> float:
        """Time of the training steps, without evaluation."""
        return float(sum(self["seconds"]))

    @property
    def images_per_second(self) -> float:
        """Mean speed of the training steps."""
        images = sum(row["seconds"] * row["images_per_second"] for row in self.rows)
        return images / self.seconds if self.seconds else 0.0

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as comma-separated values, with a header.

        Parameters
        ----------
        path : path
            Where.
        """
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        with replacing(path) as file:
            file.write(text.getvalue().encode())

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write rows and test accuracy as JSON; what is not finite, which JSON does not know, as null.

        Parameters
        ----------
        path : path
            Where.
        """
        plain = json.loads(json.dumps(self.state_dict()), parse_constant=lambda _: None)
        text = json.dumps(plain, indent=1)
        with replacing(path) as file:
            file.write((text + "\n").encode())

    def state_dict(self) -> dict[str, Any]:
        """Return everything as plain types."""
        names = ("rows", "test_accuracy", "stopped_early", "notes")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned.

        Parameters
        ----------
        state : dict
            The figures.

        Raises
        ------
        TypeError, ValueError
            When it is something else; the message says where.
        """
        rows = []
        for i, row in enumerate(entry(state, "rows", list, "a list of rows", "history"), 1):
            instance(where := f"history: row {i}", row, dict, "a dictionary")
            rows.append({name: _figure(row, name, where) for name in COLUMNS})
        notes = entry({"notes": [], **state}, "notes", list, "a list of texts", "history")
        for note in notes:
            instance("history: notes", note, str, "texts")
        self.rows, self.notes = rows, list(notes)
        self.test_accuracy = _figure(state, "test_accuracy", "history")
        self.stopped_early = entry(state, "stopped_early", bool, "True or False", "history")

    def __repr__(self) -> str:
        if not self.rows:
            return "History(no epochs)"
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.rows[-1].items() if value is not None)
        test = "" if self.test_accuracy is None else f"; test_accuracy {self.test_accuracy:.4f}"
        return f"History({len(self)} epochs; the last: {last}{test})"


def _figure(state: dict[str, Any], name: str, where: str) -> float | None:
    """Return a number or None as it is; refuse what is neither."""
    value: float | None = entry(state, name, int | float | None, "a number", where)
    if value is not None:
        (probability if "accuracy" in name else number)(f"{where}: {name}", value)
    return value
