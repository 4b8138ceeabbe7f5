"""``mgnet train``, ``evaluate`` and ``models``: strings to models, data and one call of ``fit``."""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgnet.progress import telling
from mgnet.shell import (
    DAMAGED,
    DONE,
    NOT_CONVERGED,
    USAGE,
    CommandError,
    refused,
    say,
    table,
)

if TYPE_CHECKING:
    from mgnet.data import Data
    from mgnet.history import History

__all__ = ["declare_evaluate", "declare_models", "declare_train"]

DATASETS = ("cifar10", "mnist", "synthetic")
RECIPES = ("paper", "fast", "lecture")

TRAIN_EPILOG = """\
MODEL is a name of 'mgnet models'; --option sets what it takes, as
--option channels=32 --option nu=1,1,1,1 for mgnet.

--recipe says how to train: paper as the articles do (days on a CPU), fast for
few epochs, lecture the plain loop of the course. The test set is looked at
once, at the end, with the weights of the best validation accuracy.

--out keeps last.ckpt (where --resume goes on, bit for bit), model.ckpt,
history.csv and history.json. A folder with another run in it is refused,
unless --overwrite. Ctrl-C, SIGTERM and SIGHUP finish the step and save.

several processes: torchrun --nproc-per-node N -m mgnet train ...

exit codes: 0 done, 2 usage, 3 diverged, 4 damaged data or checkpoint,
5 resources, 129, 130, 131 and 143 for SIGHUP, SIGINT, SIGQUIT and SIGTERM

example: mgnet train net --dataset synthetic --epochs 2
"""

EVALUATE_EPILOG = """\
RUN is a folder that 'mgnet train --out' wrote, or its model.ckpt.

exit codes: 0 done, 2 usage, 4 damaged data or checkpoint, 5 resources
"""


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; accepted: a whole number") from None


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; accepted: a number") from None


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let "none" stand for None in an option."""
    return lambda text: None if text.strip().lower() == "none" else kind(text)


# The fields of a recipe that have an option: what is not given is the recipe's.
FIELDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "epochs": (_whole, "passes over the training set"),
    "lr": (_real, "largest learning rate"),
    "batch_size": (_whole, "images per step"),
    "weight_decay": (_or_none(_real), "pull on kernels and matrices"),
    "clip": (_or_none(_real), "largest norm of the gradient, or none"),
    "crop": (_or_none(_whole), "pixels of margin for random crops, or none"),
    "flip": (_or_none(str), "random, alternating or none"),
    "patience": (
        _or_none(_whole),
        "epochs without a better validation accuracy after which to stop, or none",
    ),
}


def declare_train(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet train``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of this command alone.
    """
    add = parser.add_argument
    add("model", metavar="MODEL", help="name of a model")
    _declare_data(parser)
    add("--recipe", metavar="NAME", choices=RECIPES, default="fast", help="paper, fast (default) or lecture")
    for name, (kind, meaning) in FIELDS.items():
        flag, default = f"--{name.replace('_', '-')}", argparse.SUPPRESS
        add(
            flag,
            dest=name,
            metavar="X",
            type=kind,
            default=default,
            help=f"{meaning}, instead of the recipe's",
        )
    add("--compile", action="store_true", help="use torch.compile")
    add("--option", metavar="NAME=VALUE", action="append", default=[], help="an option of the model")
    add("--seed", metavar="K", type=_whole, default=0, help="of weights, order and augmentation (default: 0)")
    add("--seeds", metavar="K", type=_whole, default=1, help="train with K seeds; report mean and deviation")
    add("--out", metavar="DIR", help="folder for checkpoints and figures")
    add("--resume", action="store_true", help="go on from DIR/last.ckpt if it is there")
    add("--overwrite", action="store_true", help="remove the run that DIR holds")
    add(
        "--save-every", metavar="K", type=_whole, help="save after every K steps too, not only after an epoch"
    )
    add("--tensorboard", metavar="DIR", help="folder for TensorBoard")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_train)
    parser.epilog = TRAIN_EPILOG


def declare_evaluate(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet evaluate``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of this command alone.
    """
    parser.add_argument("folder", metavar="RUN", help="folder of a run, or its model.ckpt")
    _declare_data(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_evaluate)
    parser.epilog = EVALUATE_EPILOG


def declare_models(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet models``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of this command alone.
    """
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    parser.set_defaults(run=_models)


def _declare_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder with the data (default: $MGNET_DATA, else they are downloaded)")
    add("--dataset", choices=DATASETS, help="cifar10, mnist or synthetic")
    add("--device", metavar="NAME", help="cpu or cuda (default: cuda where there is one)")


# mgnet train


def _train(arguments: argparse.Namespace) -> int:
    options = dict(_option(text) for text in arguments.option)
    if arguments.seeds < 1:
        raise CommandError(USAGE, f"--seeds: got {arguments.seeds}; accepted: at least 1")
    for name in ("resume", "overwrite", "save_every"):
        if getattr(arguments, name) and arguments.out is None:
            raise CommandError(USAGE, f"--{name.replace('_', '-')}: needs --out, the folder of the run")
    from mgnet.parallel import Processes, together

    device = _device(arguments.device)
    with ExitStack() as joined:
        with refused(USAGE):
            joined.enter_context(together(device))
        runs = [_run(arguments, options, arguments.seed + k, device) for k in range(arguments.seeds)]
        if Processes().writes:
            figures = runs[0] if len(runs) == 1 else _means(runs)
            say(json.dumps(figures, allow_nan=False) if arguments.json else table(_readable(figures)))
    return DONE


def _run(arguments: argparse.Namespace, options: dict[str, Any], seed: int, device: Any) -> dict[str, Any]:
    """Train once and return the figures."""
    import torch

    import mgnet
    from mgnet.checks import count
    from mgnet.run_folder import folder
    from mgnet.train import SEEDS

    with refused(USAGE):
        count("seed", seed, 0, SEEDS)
        out = folder(arguments.out)
        sizes = mgnet.models.defaults(arguments.model)
    dataset = arguments.dataset or ("mnist" if sizes["in_channels"] == 1 else "cifar10")
    data = _data(dataset, arguments.data, sizes["image_size"])
    shape = {"num_classes": data.num_classes, "in_channels": data.shape[0], "image_size": data.shape[1]}
    if out and arguments.seeds > 1:
        out = out / f"seed{seed}"
    with refused(USAGE), _failures():
        torch.manual_seed(seed)
        model = mgnet.models.create(arguments.model, **shape, **options)
        history = mgnet.fit(
            model,
            data,
            recipe=arguments.recipe,
            seed=seed,
            device=device,
            out=out,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            save_every=arguments.save_every,
            tensorboard=arguments.tensorboard,
            **{name: value for name, value in vars(arguments).items() if name in FIELDS},
            **({"compile": True} if arguments.compile else {}),
        )
    return _figures(arguments.model, model, data, history)


def _figures(name: str, model: Any, data: Data, history: History) -> dict[str, Any]:
    """Return what --json prints."""
    best = history.best or {}
    return {
        "model": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dataset": data.name,
        "source": data.source,
        "epochs": len(history),
        "train_loss": best.get("train_loss"),
        "val_accuracy": best.get("val_accuracy"),
        "test_accuracy": history.test_accuracy,
        "seconds": history.seconds,
        "images_per_second": history.images_per_second,
    }


def _means(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over seeds, and the standard deviation of the test accuracy."""
    measured = ("train_loss", "val_accuracy", "test_accuracy", "seconds", "images_per_second")
    means: dict[str, Any] = {
        name: statistics.fmean(run[name] for run in runs) if runs[0][name] is not None else None
        for name in measured
    }
    accuracies = [run["test_accuracy"] for run in runs]
    return {
        **runs[0],
        **means,
        "seeds": len(runs),
        "test_accuracies": accuracies,
        "test_accuracy_std": statistics.stdev(accuracies),
    }


def _readable(figures: dict[str, Any]) -> dict[str, Any]:
    def percent(value: Any) -> str:
        return ", ".join(map(percent, value)) if isinstance(value, list) else f"{value:.2%}"

    return {
        name: percent(value) if "accurac" in name and value is not None else value
        for name, value in figures.items()
    }


def _option(text: str) -> tuple[str, Any]:
    """Return name and value of 'name=value': a word, a number, or several with commas between."""
    name, sign, value = text.strip().partition("=")
    if not sign or not name.isidentifier() or not value:
        raise CommandError(USAGE, f"--option: got {text!r}; accepted: NAME=VALUE")
    parts = [_word(part.strip()) for part in value.split(",")]
    return name, parts[0] if len(parts) == 1 else parts


def _word(text: str) -> Any:
    known = {"true": True, "false": False, "none": None}
    if text.lower() in known:
        return known[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# mgnet evaluate


def _evaluate(arguments: argparse.Namespace) -> int:
    import mgnet
    from mgnet import checkpoint
    from mgnet.history import History
    from mgnet.train import BEST

    path = Path(arguments.folder)
    path = path / BEST if path.is_dir() else path
    device = _device(arguments.device)
    with _failures():
        state = checkpoint.load(path)
        if not state.get("spec"):
            raise CommandError(USAGE, f"{path}: holds a model that mgnet cannot build by name")
        model = mgnet.models.create(**state["spec"]).to(device)
        model.load_state_dict(state["model"])
        data = _data(arguments.dataset or state["dataset"], arguments.data, state["spec"]["image_size"])
        _require_fit(state["spec"], data)
        history = History()
        history.load_state_dict(state["history"])
        test = data.test.normalised_by(state["mean"], state["std"]).to(device)
        history.test_accuracy = mgnet.evaluate(model, test)
    figures = _figures(state["spec"]["name"], model, data, history)
    say(json.dumps(figures, allow_nan=False) if arguments.json else table(_readable(figures)))
    return DONE


def _require_fit(spec: dict[str, Any], data: Data) -> None:
    """Refuse images that the model does not take."""
    channels, size, classes = (spec[name] for name in ("in_channels", "image_size", "num_classes"))
    if (channels, size, classes) != (data.shape[0], data.shape[1], data.num_classes):
        raise CommandError(
            USAGE,
            f"--dataset: {data.name} has images of {data.shape[0]}×{data.shape[1]}×{data.shape[2]} in"
            f" {data.num_classes} classes; {spec['name']} accepts {channels}×{size}×{size} in {classes}",
        )


# mgnet models


def _models(arguments: argparse.Namespace) -> int:
    import mgnet

    rows: list[dict[str, Any]] = []
    for name in mgnet.models.names():
        parameters, multiply_adds = mgnet.models.summary(name)
        sizes = mgnet.models.defaults(name)
        shape = [sizes["in_channels"], sizes["image_size"], sizes["image_size"]]
        rows.append({"name": name, "parameters": parameters, "multiply_adds": multiply_adds, "input": shape})
    if arguments.json:
        say(json.dumps(rows))
        return DONE
    say(f"{'name':<16}{'parameters':>14}{'multiply-adds':>18}  input")
    for row in rows:
        image = " × ".join(map(str, row["input"]))
        say(f"{row['name']:<16}{row['parameters']:>14,}{row['multiply_adds']:>18,}  {image}")
    return DONE


# What all of them need


def _device(name: str | None) -> Any:
    with telling(lambda: "loading torch"):
        import torch

        from mgnet.checks import find_device

    local = os.environ.get("LOCAL_RANK", "0")
    with refused(USAGE):
        device = find_device(name or (f"cuda:{local}" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def _data(dataset: str, root: str | None, image_size: int) -> Data:
    """Return a data set; the digits get a margin where the model wants images of 32 pixels."""
    from mgnet import data

    more = {"pad": 2} if dataset == "mnist" and image_size == 32 else {}
    try:
        with telling(lambda: f"reading {dataset}"):
            return data.load(dataset, root, **more)
    except data.DataError as error:
        raise CommandError(DAMAGED, str(error)) from error


@contextmanager
def _failures() -> Iterator[None]:
    """Give the ends of a training run their exit codes."""
    from mgnet.checkpoint import CheckpointError
    from mgnet.train import DivergedError

    try:
        yield
    except CheckpointError as error:
        raise CommandError(DAMAGED, str(error)) from error
    except DivergedError as error:
        raise CommandError(NOT_CONVERGED, f"diverged: {error}") from error
    except ImportError as error:
        if error.name != "tensorboard":  # the extra that an option asks for
            raise
        raise CommandError(USAGE, str(error)) from error
