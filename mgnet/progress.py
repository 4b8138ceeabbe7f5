"""What a training run says while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["Progress"]


class Progress:
    """Report steps and epochs on stderr.

    Parameters
    ----------
    steps, epochs : int
        Of the whole run.
    show : bool, optional
        Whether to say anything at all; by default lines, and a bar where stderr is a terminal.
    """

    def __init__(self, steps: int, epochs: int, show: bool | None = None) -> None:
        self.steps, self.epochs = steps, epochs
        self.lines = show is not False
        self.bars = self.lines and sys.stderr.isatty()
        self.bar: Any = None

    def step(self, epoch: int, done: int) -> None:
        """Say that a step is done.

        Parameters
        ----------
        epoch : int
            From 0.
        done : int
            Steps of this epoch that are done.
        """
        if not self.bars:
            return
        if self.bar is None:
            from tqdm import tqdm

            title = f"epoch {epoch + 1}/{self.epochs}"
            self.bar = tqdm(total=self.steps, desc=title, leave=False, unit="step", initial=done - 1)
        self.bar.update()

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the figures of an epoch.

        Parameters
        ----------
        row : dict
            A row of the history.
        """
        self.close()
        if not self.lines:
            return
        words = [f"epoch {row['epoch']}/{self.epochs}"]
        for name, form in (
            ("train_loss", "loss {:.4f}"),
            ("train_accuracy", "train {:.2%}"),
            ("val_accuracy", "validation {:.2%}"),
            ("seconds", "{:.1f} s"),
            ("images_per_second", "{:.0f} images/s"),
        ):
            if row[name] is not None:
                words.append(form.format(row[name]))
        print("  ".join(words), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
