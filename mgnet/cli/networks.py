"""What the commands that train and judge networks share: their data, device, figures and ends."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from ..core.progress import telling
from .shell import DAMAGED, NOT_CONVERGED, CommandError, refused, say, table

if TYPE_CHECKING:
    from ..data import Data
    from ..train.history import History

__all__ = [
    "declare_data",
    "declare_place",
    "failures",
    "figures_of",
    "find_device",
    "import_modules",
    "of_others",
]
__all__ += ["read_data", "say_figures"]


# Those of mgnet.data.names(), which would need torch.
SETS = ("cifar10", "cifar100", "cifar100-coarse", "fashion-mnist", "folder", "mnist", "synthetic")


def declare_data(parser: argparse._ActionsContainer) -> None:
    """Declare the arguments that say on which images, and where, to a command or a group of its options."""
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder with the data (default: $MGNET_DATA, else they are downloaded)")
    add("--dataset", metavar="NAME", help=f"{', '.join(SETS)}, or what --import makes known")
    text = "leave out the files of a folder that are no whole pictures, and name them"
    add("--skip-damaged", action="store_true", help=text)
    declare_place(parser)


def declare_place(parser: argparse._ActionsContainer) -> None:
    """Declare the arguments that say what to import, and where to compute, to the parser of one command."""
    add = parser.add_argument
    text = "import it first, from the current folder too: it may register models and data"
    add("--import", metavar="MODULE", dest="modules", action="append", default=[], help=text)
    add("--device", metavar="NAME", help="cpu or cuda (default: cuda where there is one)")


def import_modules(names: Iterable[str]) -> None:
    """Import modules that make models and data known, by their names as Python's import takes them."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a file there takes no other module's place
    for name in names:
        try:
            with redirect_stdout(sys.stderr):  # stdout is for results
                importlib.import_module(name)
        except (Exception, SystemExit) as error:
            said = f"a module to import ({type(error).__name__}: {error})"
            raise CommandError(f"--import: got {name!r}; accepted: {said}") from error


def find_device(name: str | None) -> Any:
    """Return the device that computes: by default a GPU, if any, and of several the one of this process."""
    with telling(lambda: "loading torch"):
        import torch

        from ..core import checks

    local = os.environ.get("LOCAL_RANK", "0")
    with refused():
        device = checks.find_device(name or (f"cuda:{local}" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def read_data(
    dataset: str, arguments: argparse.Namespace, sizes: Mapping[str, Any], validation: float | None = None
) -> Data:
    """Return a data set as the arguments say; pictures come in the sizes of the model, digits with a margin.

    ``validation`` is what to set apart, None for what the set does by itself.
    """
    from .. import data

    if dataset not in data.names():
        raise CommandError(f"--dataset: got {dataset!r}; accepted: {', '.join(data.names())}")
    if arguments.data is not None:
        _require_root(arguments.data)
    more: dict[str, Any] = {} if validation is None else {"validation": validation}
    if dataset in ("mnist", "fashion-mnist") and sizes["image_size"] == 32:
        more["pad"] = 2
    if dataset == "folder":
        if arguments.data is None and not os.environ.get("MGNET_DATA"):
            accepted = "--data DIR, where each class has a folder of pictures"
            raise CommandError(f"--data: got none; accepted with --dataset folder: {accepted}")
        more |= {"size": sizes["image_size"], "channels": sizes["in_channels"]}
        more["damaged"] = "skip" if arguments.skip_damaged else "refuse"
    elif arguments.skip_damaged:
        raise CommandError(f"--skip-damaged: got {dataset}; accepted: --dataset folder")
    with refused(), telling(lambda: f"reading {dataset}"):
        try:
            with of_others(f"--dataset: {dataset}"):
                return data.load(dataset, arguments.data, **more)
        except data.DataError as error:
            raise CommandError(str(error), DAMAGED) from error
        except (ValueError, FileNotFoundError) as error:
            if not str(error).startswith("root: "):
                raise
            raise CommandError(_by_option(error)) from error


def _require_root(root: str) -> None:
    from ..data import archives

    try:
        archives.find_root(root)
    except (ValueError, NotADirectoryError) as error:
        raise CommandError(_by_option(error)) from error


def _by_option(error: Exception) -> str:
    return f"--data: {str(error).removeprefix('root: ')}"


@contextmanager
def of_others(what: str) -> Iterator[None]:
    """Say whose code failed, where it may be a user's: it is no fault of this program."""
    from ..core.resources import is_shortage

    try:
        yield
    except (CommandError, ValueError, TypeError, OSError):  # which have messages of their own
        raise
    except Exception as error:
        if is_shortage(error):
            raise
        raise CommandError(f"{what} failed ({type(error).__name__}: {error})") from error


@contextmanager
def failures() -> Iterator[None]:
    """Give the ends of a training run their exit codes."""
    from ..checkpoint import CheckpointError
    from ..train.judging import DivergedError

    try:
        yield
    except CheckpointError as error:
        raise CommandError(str(error), DAMAGED) from error
    except DivergedError as error:
        raise CommandError(f"diverged: {error}", NOT_CONVERGED) from error
    except ImportError as error:
        if error.name != "tensorboard":  # the extra that an option asks for
            raise
        raise CommandError(str(error)) from error


def figures_of(name: str, model: Any, data: Data, history: History) -> dict[str, Any]:
    """Return by name what --json prints of a model, the data that it was judged on and its training."""
    best = history.best or {}
    return {
        "model": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dataset": data.name,
        "source": data.source,
        "epochs": len(history),
        **{name: best.get(name) for name in ("train_loss", "val_accuracy")},
        **{name: getattr(history, name) for name in ("test_accuracy", "seconds", "images_per_second")},
    }


def say_figures(figures: dict[str, Any], as_json: bool) -> None:
    """Print figures, as one JSON object or for people, with accuracies in per cent."""

    def percent(value: Any) -> str:
        return ", ".join(map(percent, value)) if isinstance(value, list) else f"{value:.2%}"

    accuracies = {name: percent(x) for name, x in figures.items() if "accurac" in name and x is not None}
    say(json.dumps(figures, allow_nan=False) if as_json else table(figures | accuracies))
