"""``mgnet evaluate``: the share of test images that the network of a run classifies correctly."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgnet.cli_networks import declare_data, failures, figures_of, find_device, read_data, readable
from mgnet.shell import DONE, USAGE, CommandError, say, table

if TYPE_CHECKING:
    from mgnet.data import Data

__all__ = ["declare_evaluate"]

EPILOG = """\
RUN is a folder that 'mgnet train --out' wrote, or its model.ckpt.

exit codes: 0 done, 2 usage, 4 damaged data or checkpoint, 5 resources
"""


def declare_evaluate(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet evaluate``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of this command alone.
    """
    parser.add_argument("folder", metavar="RUN", help="folder of a run, or its model.ckpt")
    declare_data(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_evaluate)
    parser.epilog = EPILOG


def _evaluate(arguments: argparse.Namespace) -> int:
    import mgnet
    from mgnet import checkpoint
    from mgnet.history import History
    from mgnet.train import BEST

    path = Path(arguments.folder)
    path = path / BEST if path.is_dir() else path
    device = find_device(arguments.device)
    with failures():
        state = checkpoint.load(path)
        if not state.get("spec"):
            raise CommandError(USAGE, f"{path}: holds a model that mgnet cannot build by name")
        model = mgnet.models.create(**state["spec"]).to(device)
        model.load_state_dict(state["model"])
        data = read_data(arguments.dataset or state["dataset"], arguments.data, state["spec"]["image_size"])
        _require_fit(state["spec"], data)
        history = History()
        history.load_state_dict(state["history"])
        test = data.test.normalised_by(state["mean"], state["std"]).to(device)
        history.test_accuracy = mgnet.evaluate(model, test)
    figures = figures_of(state["spec"]["name"], model, data, history)
    say(json.dumps(figures, allow_nan=False) if arguments.json else table(readable(figures)))
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
