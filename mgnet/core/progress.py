"""What a training run says while it runs: a bar on a terminal, elsewhere lines, and no silence for long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Progress", "telling"]

# Seconds between two lines about what goes on, where there is no terminal: somewhat less than half a minute.
PERIOD = 25.0


@contextmanager
def telling(what: Callable[[], str], show: bool = True) -> Iterator[None]:
    """Say every 25 seconds what goes on, where there is no terminal: by a thread, whatever takes long."""
    if not show or sys.stderr is None or sys.stderr.isatty():
        yield
        return
    over = threading.Event()

    def tell() -> None:
        while not over.wait(PERIOD):
            _say(what())

    teller = threading.Thread(target=tell, name="mgnet progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _say(line: str) -> None:
    if sys.stderr is None:  # print would take stdout, which is for results
        return
    with suppress(OSError, ValueError):  # a run does not end because nobody listens any more
        print(line, file=sys.stderr, flush=True)


class Progress:
    """Report steps and epochs of a run, of which ``done`` steps are done: lines, on a terminal a bar."""

    def __init__(self, steps: int, epochs: int, show: bool | None = None, done: int = 0) -> None:
        self.steps, self.epochs = steps, epochs
        self.lines = show is not False
        self.bars = self.lines and sys.stderr is not None and sys.stderr.isatty()
        self.bar: Any = None
        self.before = self.done = done
        self.began = time.monotonic()

    def step(self, epoch: int, done: int) -> None:
        """Say that a step is done, the last of ``done`` of an epoch; epochs count from 0."""
        self.done = epoch * self.steps + done
        if not self.bars:
            return
        with self._unheard():
            if self.bar is None:
                from tqdm import tqdm

                title = f"epoch {epoch + 1}/{self.epochs}"
                self.bar = tqdm(total=self.steps, desc=title, leave=False, unit="step", initial=done - 1)
            self.bar.update()

    def state(self) -> str:
        """Say in a line how much is done, and how long the rest takes if it goes on like this."""
        whole, seconds = self.steps * self.epochs, time.monotonic() - self.began
        words = f"step {self.done}/{whole} after {_duration(seconds)}"
        if self.done == self.before:
            return words
        left = (whole - self.done) * seconds / (self.done - self.before)
        return f"{words}, about {_duration(left)} to the end"

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the figures of an epoch, a row of the history."""
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
        _say("  ".join(words))

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            with self._unheard():
                self.bar.close()
            self.bar = None

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        """Do without a bar where it cannot be drawn any more: the terminal is gone, or its disk is full."""
        try:
            yield
        except (OSError, ValueError):
            self.bars = False


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes >= 10 else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
