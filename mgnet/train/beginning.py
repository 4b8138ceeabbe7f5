"""What a run begins from: the weights of another one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint
from ..checkpoint import blamed
from ..core.checks import entry, shown
from ..data import Data
from ..operators.kernels import KernelOperator
from . import runs
from .run_folder import result

__all__ = ["Beginning", "Source", "beginning", "noted", "read", "require_apart"]

# Parts of a spec that weights speak for themselves, by their shapes.
SIZES = ("num_classes", "in_channels", "image_size")


@dataclass(frozen=True)
class Source:
    """Weights to begin from, and what belongs to them."""

    name: str  # as a message calls it
    weights: dict[str, Tensor]
    spec: dict[str, Any] | None
    classes: list[str] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Beginning:
    """What is taken over from a source: weights by name, by what they are known again, what is to be said."""

    weights: dict[str, Tensor]
    digest: str
    said: tuple[str, ...]
    name: str = ""  # as a message calls the source


def read(init: Any, out: Path | None) -> Source:
    """Return what there is to begin from: a run that was read, the folder of one, or a checkpoint."""
    if isinstance(init, runs.Run):
        made = init.spec["name"] if init.spec else "a run"
        kept = {name: x.detach().clone() for name, x in init.model.state_dict().items()}
        return Source(made, kept, init.spec, init.classes, tuple(init.mean), tuple(init.std))
    path = require_apart(init, out)
    state = runs.saved(path)
    with blamed(path):
        weights = entry(state, "model", dict, "a dictionary of tensors")
        for name, x in weights.items():
            if not isinstance(name, str) or not isinstance(x, Tensor):
                raise TypeError(f"model: got {shown(x)} as {shown(name)}; accepted: tensors by name")
        spec = entry(state, "spec", dict | None, "a dictionary")
        classes, mean, std = runs.belongings(state)
    return Source(str(init), weights, spec, classes, tuple(mean), tuple(std))


def require_apart(init: Any, out: Path | None) -> Path:
    """Return the checkpoint to begin from, which does not lie in the folder of the run that begins."""
    path = result("init", init)
    if out is not None and path.resolve().parent == out.resolve():
        raise ValueError(f"init: got {init}, where out is; accepted: another folder, or resume to go on")
    return path


def beginning(source: Source, model: nn.Module, data: Data) -> Beginning:
    """Return what a model takes over: all, or all but the last layer where the classes are others."""
    if len(source.mean) != data.shape[0]:
        got = f"{source.name}, for images of {len(source.mean)} channels"
        raise ValueError(f"init: got {got}; accepted: of {data.shape[0]}, as the data have")
    last, weights = _last(model), _mixing(source.weights, model)
    why = _why_new(replace(source, weights=weights), model, data, last)
    said = []
    if why:
        weights = {name: x for name, x in weights.items() if name not in last}
        if not weights:
            raise ValueError(
                f"init: got {source.name}, of which nothing fits: {why}; accepted: other weights"
            )
        if frozen_ones := [n for n, p in model.named_parameters() if n in last and not p.requires_grad]:
            accepted = "layers whose weights are taken over"
            raise ValueError(f"freeze: got {frozen_ones[0]}, which is new, since {why}; accepted: {accepted}")
        said.append(f"the last layer ({', '.join(last)}) is new, since {why}")
    for name, p in model.named_parameters():
        if name in weights and not weights[name].to(p.dtype).isfinite().all():
            got = f"{source.name}, whose {name} has numbers that are not finite"
            raise ValueError(f"init: got {got}; accepted: finite ones")
    if (data.mean, data.std) != (source.mean, source.std):
        theirs = f"mean {_short(source.mean)} and deviation {_short(source.std)}"
        mine = f"{_short(data.mean)} and {_short(data.std)}"
        said.append(f"images are normalised as its weights expect, by {theirs}, not by the data's own {mine}")
    for name, theirs in (source.spec or {}).items():
        mine = (getattr(model, "spec", None) or {}).get(name, theirs)
        if name not in (*SIZES, "name") and mine != theirs:
            said.append(f"it was made with {name}={shown(theirs)}, this model with {name}={shown(mine)}")
    told = tuple(f"init {source.name}: {text}" for text in said)
    return Beginning(weights, _digest(source.weights), told, source.name)


def _mixing(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return weights in which kernels of each channel alone are between all channels, as the model's are.

    So a fixed operator of an MgNet is what a learned one begins with.
    """
    found = dict(weights)
    for name, module in model.named_modules(remove_duplicate=False):
        x = found.get(f"{name}.weight")
        if isinstance(module, KernelOperator) and x is not None and x.ndim > 2:
            channels, size = len(x), x.shape[2:]
            if x.shape[1] == 1 and module.weight.shape == (channels, channels, *size):
                eye = torch.eye(channels, dtype=x.dtype, device=x.device)
                found[f"{name}.weight"] = x * eye.view(channels, channels, *[1] * len(size))
    return found


def noted(path: Path, data: Data) -> tuple[Beginning | None, Data]:
    """Return what the run of a checkpoint was begun from, as it notes, and data normalised as its own were.

    The source may be gone: what it gave is in the run's weights, and only its digest is compared. All else
    that the checkpoint holds is looked at where it is taken up.
    """
    state = checkpoint.load(path)
    digest = state.get("init")
    if not isinstance(digest, str):
        return None, data
    with blamed(path):
        _, mean, std = runs.belongings(state)
    same = len(mean) == data.shape[0]  # or the run is another one's, which is said later
    return Beginning({}, digest, ()), data.normalised_by(mean, std) if same else data


def _why_new(source: Source, model: nn.Module, data: Data, last: Sequence[str]) -> str:
    """Say why the last layer cannot be taken over, if so; refuse weights that differ elsewhere."""
    mine, theirs = model.state_dict(), source.weights
    wrong = [name for name in {**mine, **theirs} if _kind(mine.get(name)) != _kind(theirs.get(name))]
    for name in wrong:
        others = (mine.get(name), theirs.get(name))
        in_rows = name in last and all(x is not None and x.ndim for x in others)
        if not in_rows or mine[name].shape[1:] != theirs[name].shape[1:]:
            got = f"{source.name} ({_made(source.spec)}), in which {name} is {_kind(theirs.get(name))}"
            accepted = f"{_kind(mine.get(name))}, as in this model ({_made(getattr(model, 'spec', None))})"
            raise ValueError(f"init: got {got}; accepted: {accepted}")
    if wrong:
        return f"it has {len(theirs[wrong[0]])} outputs there and {len(mine[wrong[0]])} here"
    if source.classes is None or source.classes == list(data.classes):
        return ""
    few = max(len(source.classes), data.num_classes)
    if not last or any(mine[name].ndim and len(mine[name]) < few for name in last):
        got = f"{source.name}, whose classes are others, and a model whose last layer has no row for each"
        raise ValueError(f"init: got {got}; accepted: data of the same classes")
    return f"the classes are others: {_listed(source.classes)} there and {_listed(data.classes)} here"


def _last(model: nn.Module) -> list[str]:
    """Return the names of the tensors of the last module that has some, which gives the scores."""
    names = ""
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            names = name
    own = model.state_dict()
    return [name for name in own if name.rpartition(".")[0] == names]


def _kind(x: Tensor | None) -> str:
    if x is None:
        return "missing"
    return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"


def _made(spec: Any) -> str:
    if not isinstance(spec, dict) or not all(name in spec for name in (*SIZES, "name")):
        return "not made by name"
    channels, size = shown(spec["in_channels"]), shown(spec["image_size"])
    return f"{str(spec['name'])[:100]}, images of {channels}×{size}×{size}"


def _short(values: Sequence[float]) -> str:
    return ", ".join(f"{x:.4g}" for x in values)


def _listed(names: Sequence[str]) -> str:
    first = ", ".join(names[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


def _digest(weights: dict[str, Tensor]) -> str:
    hashed = hashlib.sha256()
    for name, x in sorted(weights.items()):
        hashed.update(repr((name, _kind(x))).encode())
        hashed.update(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"SHA-256 {hashed.hexdigest()}"
