"""``mgnet evaluate``: the share of test images that the network of a run classifies correctly."""

from __future__ import annotations

import argparse
import warnings
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from .networks import declare_data, failures, figures_of, find_device, import_modules, read_data, say_figures
from .shell import DAMAGED, DONE, CommandError, refused

if TYPE_CHECKING:
    from ..data import Data
    from ..train.runs import Run

__all__ = ["declare_evaluate"]

EPILOG = """\
RUN is a folder that 'mgnet train --out' wrote, or its model.ckpt. The figure
is that of the training.

A model or data of one's own: --import the module that makes them known, by
mgnet.models.register and mgnet.data.register.

exit codes: 0 done, 2 usage, 4 damaged data or checkpoint, 5 resources
"""


def declare_evaluate(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet evaluate`` to the parser of this command alone."""
    parser.add_argument("folder", metavar="RUN", help="folder of a run, or its model.ckpt")
    declare_data(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_evaluate)
    parser.epilog = EPILOG


def _evaluate(arguments: argparse.Namespace) -> int:
    import_modules(arguments.modules)
    device = find_device(arguments.device)
    import mgnet

    from ..train import runs
    from ..train.run_folder import result

    with refused(), failures():
        path = result("RUN", arguments.folder)
        run = runs.read(path)
        dataset = _dataset(arguments.dataset, run, path)
        data = read_data(dataset, arguments, run.spec)
        run.model.to(device)
        # Whose fault it is that images do not fit: a name says which they are, but for those of a folder.
        blamed = "--data" if arguments.dataset is None or dataset == "folder" else "--dataset"
        _require_fit(run, data, path, blamed)
        test = data.test.normalised_by(run.mean, run.std)
        digest = test.digest()
        if data.name == run.dataset and run.digests.get("test", digest) != digest:
            warnings.warn(f"the test images of {data.name} are not those of the run", stacklevel=2)
        try:
            run.history.test_accuracy = mgnet.evaluate(run.model, test)
        except mgnet.DivergedError as error:  # no run ends so: it is the file's fault
            raise CommandError(f"{path}: {error}", DAMAGED) from error
    figures = figures_of(run.spec["name"], run.model, data, run.history)
    say_figures(figures, arguments.json)
    return DONE


def _dataset(asked: str | None, run: Run, path: Path) -> str:
    from .. import data

    if asked is None and run.dataset not in data.names():
        raise CommandError(
            f"{path}: got a run on data called {run.dataset[:100]!r}, which nobody has made known; accepted:"
            " --import MODULE that does, by mgnet.data.register, or --dataset NAME of the same images"
        )
    return asked or run.dataset


def _require_fit(run: Run, data: Data, path: Path, blamed: str) -> None:
    """Refuse images that the model does not take; where they are as it says, that is the file's fault."""
    from ..checkpoint import CheckpointError
    from ..train import preflight

    channels, size, classes = (run.spec[name] for name in ("in_channels", "image_size", "num_classes"))
    fits = len(run.mean) == data.shape[0] and data.num_classes <= classes
    try:
        if fits:
            there = preflight.place_of(run.model, data.test.images.device)
            preflight.require_answer(run.model, data.test.subset([0]).to(there))
    except (ValueError, TypeError) as error:
        if (channels, size) == data.shape[:2]:
            raise CheckpointError(f"{path}: {error}") from error
        fits = False
    if not fits:
        got = f"{data.name} has images of {'×'.join(map(str, data.shape))} in {data.num_classes} classes"
        accepted = f"{run.spec['name']} accepts {channels}×{size}×{size} in {classes}"
        raise CommandError(f"{blamed}: {got}; {accepted}")
    _require_classes(run.classes, data, blamed)


def _require_classes(classes: list[str] | None, data: Data, blamed: str) -> None:
    """Refuse images of classes with other names than those of the run, or in another order."""
    from ..core.checks import shown

    if classes is None or data.classes == classes:
        return
    for label, (own, others) in enumerate(zip_longest(classes, data.classes)):
        if own != others:
            got = f"class {label} of {data.name} is {shown(others)}, and {shown(own)} in the run"
            raise CommandError(f"{blamed}: got other classes: {got}; accepted: {shown(classes)}")
