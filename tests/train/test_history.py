"""The figures of a run, and what is said of them while it runs."""

from __future__ import annotations

import io
import json
import math
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until

from mgnet import History
from mgnet.core import progress
from mgnet.core.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def history() -> History:
    made = History()
    for accuracy, seconds, speed in ((0.5, 1.0, 100.0), (0.75, 3.0, 200.0), (0.75, 4.0, 50.0)):
        made.append(
            epoch=len(made) + 1,
            train_loss=1.25,
            train_accuracy=0.5,
            val_accuracy=accuracy,
            seconds=seconds,
            images_per_second=speed,
        )
    return made


def test_what_follows_from_the_rows(history: History) -> None:
    assert history["val_accuracy"] == [0.5, 0.75, 0.75]
    assert history["lr"] == [None] * 3
    assert history.best is history.rows[1]  # the first of equals
    assert history.seconds == 8.0
    assert history.images_per_second == pytest.approx((100 + 600 + 200) / 8)
    assert "3 epochs" in repr(history)


def test_no_epochs() -> None:
    history = History()
    assert (len(history), history.best, history.seconds, history.images_per_second) == (0, None, 0.0, 0.0)
    assert repr(history) == "History(no epochs)"


def test_a_column_that_is_none(history: History) -> None:
    with pytest.raises(KeyError, match="accuracy: no column; accepted: one of .*'val_accuracy'"):
        history["accuracy"]


def test_what_is_taken_over_is_a_copy(history: History) -> None:
    history.test_accuracy, history.stopped_early = 0.7, True
    other = History()
    other.load_state_dict(history.state_dict())
    assert other.state_dict() == history.state_dict()
    other.rows[0]["lr"] = 0.1
    other.append(epoch=4)
    assert len(history) == 3
    assert history["lr"] == [None] * 3


def said(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, rows: list[Any], **how: Any) -> str:
    """Report an epoch that another run began, and the next one."""
    monkeypatch.setattr(sys, "stderr", stream)
    report = Progress(4, 2, **how)
    for epoch, first in ((0, 3), (1, 1)):
        for done in range(first, 5):
            report.step(epoch, done)
        report.epoch(rows[epoch])
    report.close()
    return stream.getvalue()


def test_lines_in_a_file(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    history.rows[1].update(val_accuracy=None, images_per_second=None)
    lines = said(monkeypatch, io.StringIO(), history.rows).splitlines()
    assert lines == [
        "epoch 1/2  loss 1.2500  train 50.00%  validation 50.00%  1.0 s  100 images/s",
        "epoch 2/2  loss 1.2500  train 50.00%  3.0 s",
    ]


def test_a_bar_for_each_epoch_on_a_terminal(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, Terminal(), history.rows)
    first, second = text.index("epoch 1/2: "), text.index("epoch 2/2: ")
    assert "2/4 " in text[first:second].partition("\r")[0]  # it begins where the other run ended
    assert "0/4 " in text[second:].partition("\r")[0]
    assert "epoch 1/2  loss 1.2500" in text[first:second]


def test_what_is_left_is_told_from_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    report = Progress(100, 5, done=150)
    clock[0] += 20
    assert report.state() == "step 150/500 after 20 s"  # no step yet, but a sign of life
    report.step(1, 60)
    assert report.state() == "step 160/500 after 20 s, about 11 min to the end"
    clock[0] += 9000
    report.step(4, 90)
    assert report.state() == "step 490/500 after 2 h 30 min, about 4 min 25 s to the end"


def test_lines_go_on_while_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "PERIOD", 0.001)
    with progress.telling(lambda: "reading"):
        wait_until(lambda: stream.getvalue().count("reading\n") > 2)
        assert "mgnet progress" in threads()
    assert "mgnet progress" not in threads()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(("stream", "show"), [(Terminal(), True), (io.StringIO(), False), (None, True)])
def test_nobody_is_told_on_a_terminal_nor_unasked(
    stream: Any, show: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.telling(lambda: "reading", show):
        assert "mgnet progress" not in threads()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_run_goes_on_where_nobody_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    full = open("/dev/full", "wb", buffering=0)
    with io.TextIOWrapper(full, write_through=True) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(progress, "PERIOD", 0.001)
        with progress.telling(lambda: told.append(1) or "reading"):
            wait_until(lambda: len(told) > 2)


def test_without_a_stderr_nothing_is_said(
    history: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    Progress(4, 2).epoch(history.rows[0])
    assert capsys.readouterr().out == ""


def test_silence(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, Terminal(), history.rows, show=False) == ""


def test_what_json_does_not_know_is_null(tmp_path: Path) -> None:
    history = History()
    history.append(epoch=1, train_loss=math.nan, val_loss=-math.inf, lr=0.5)
    history.to_json(tmp_path / "h.json")
    (row,) = json.loads((tmp_path / "h.json").read_text(), parse_constant=pytest.fail)["rows"]
    assert (row["train_loss"], row["val_loss"], row["lr"]) == (None, None, 0.5)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"rows": 3, "test_accuracy": None, "stopped_early": False},
        {"rows": [{}], "test_accuracy": None, "stopped_early": False},
        {"rows": [], "test_accuracy": "high", "stopped_early": False},
        {"rows": [], "test_accuracy": None, "stopped_early": "no"},
        {"rows": [], "test_accuracy": math.nan, "stopped_early": False},
    ],
)
def test_what_is_no_history_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        History().load_state_dict(state)
