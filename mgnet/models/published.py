"""Weights of others: what is published for the thin residual networks, into a model of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .. import checkpoint
from ..checkpoint import blamed
from ..core.checks import shown
from .resnet import ResNet

__all__ = ["import_weights"]

# What the last layer is called, by one author or another, and what all names may begin with.
HEADS, PREFIX = ("linear", "fc"), "module."
# How often a norm was called: it is of no account here, and older files do not say.
COUNTER = "num_batches_tracked"
# Names in a message, after which it says how many more there are.
NAMES = 6


def import_weights(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Read published weights into a thin residual network, ``resnet20`` to ``resnet110``.

    The file is one of ``torch.save``: a ``state_dict``, or a dictionary that has it under that name. Its
    layers are called ``conv1``, ``bn1``, ``layer1.0.conv1`` and so on, and ``linear`` or ``fc`` at the end,
    all of them with or without ``module.`` before it. It may come from a GPU; no code in it is run.

    Parameters
    ----------
    model : torch.nn.Module
        What ``mgnet.models.create("resnet20", padding="both")`` makes; in the published networks half of the
        zeros of a skip stand on either side of its channels, which their weights do not say.
    path : path
        The file.

    Returns
    -------
    torch.nn.Module
        The model itself, with those weights and running statistics, where and in the mode that it was.

    Raises
    ------
    TypeError, ValueError
        For another model.
    CheckpointError
        For a file that is damaged, holds more than tensors and plain types, or has the weights of another
        network, as one of another depth; it names what is missing, left over, or of another shape. The model
        is as it was then.
    FileNotFoundError
        When there is none.

    Notes
    -----
    The images have to be normalised as those were that the weights learned from. Who trained them says by
    which means and standard deviations; :meth:`mgnet.data.Data.normalised_by` does it.
    """
    layers = _layers(model)
    read = checkpoint.foreign(path)
    with blamed(path):
        weights = _renamed(_state_dict(read), layers, model.state_dict())
    model.load_state_dict(weights)
    return model


def _layers(model: Any) -> dict[str, str]:
    """Return our name of each layer with numbers by the published one; their order is the same."""
    accepted = "one that mgnet.models.create('resnet20', padding='both') makes, to 'resnet110'"
    if not isinstance(model, ResNet) or model.block != "thin":
        raise TypeError(f"model: got a {type(model).__name__}; accepted: {accepted}")
    if model.padding != "both":
        raise ValueError(f"model: got padding={model.padding!r}; accepted for published weights: {accepted}")
    blocks = [f"layer{stage}.{i}" for stage, n in enumerate(model.repeats, 1) for i in range(n)]
    parts = [f"{block}.{part}" for block in blocks for part in ("conv1", "bn1", "conv2", "bn2")]
    published = ["conv1", "bn1", *parts, HEADS[0]]
    own = dict.fromkeys(name.rpartition(".")[0] for name in model.state_dict())
    if len(own) != len(published):  # folded, for example
        raise ValueError(f"model: got {len(own)} layers with numbers; accepted: {accepted}")
    return dict(zip(published, own, strict=True))


def _state_dict(read: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of a file by their names, without what stands before all of these."""
    state = read.get("state_dict", read)
    if not isinstance(state, Mapping) or not state or not all(isinstance(name, str) for name in state):
        raise ValueError(f"got {shown(state)}; accepted: a state_dict, or a dictionary with one")
    wrapped = all(name.startswith(PREFIX) for name in state)
    return {name.removeprefix(PREFIX) if wrapped else name: x for name, x in state.items()}


def _renamed(
    published: Mapping[str, Any], layers: Mapping[str, str], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return published weights under our names; all of them are accounted for."""
    head = next((name for name in HEADS if f"{name}.weight" in published), HEADS[0])
    theirs = {ours: head if name in HEADS else name for name, ours in layers.items()}
    places = {f"{theirs[layer]}.{part}": name for name in own for layer, _, part in [name.rpartition(".")]}
    missing = [name for name in places if name not in published and not name.endswith(COUNTER)]
    unknown = [name for name in published if name not in places]
    if missing or unknown:
        lacks = [f"without {_listed(missing)}"] if missing else []
        has = [f"with {_listed(unknown)}"] if unknown else []
        accepted = f"the layers of a network of {len(theirs) // 2 + 1} with skips that have no parameters"
        raise ValueError(f"got a file {' and '.join([*lacks, *has])}; accepted: {accepted}")
    for name, x in published.items():
        _require_like(name, x, own[places[name]])
    return {**own, **{places[name]: x for name, x in published.items()}}


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES
    return ", ".join(map(shown, names[:NAMES])) + (f" and {more} more" if more > 0 else "")


def _require_like(name: str, x: Any, own: Tensor) -> None:
    if not isinstance(x, Tensor) or x.is_floating_point() != own.is_floating_point():
        raise ValueError(f"{name}: got {shown(x)}; accepted: a tensor of {own.dtype}")
    if x.shape != own.shape:
        raise ValueError(f"{name}: got shape {tuple(x.shape)}; accepted: {tuple(own.shape)}")
    if not x.to(own.dtype).isfinite().all():  # as they will be: 1e300 is an infinity in float32
        raise ValueError(f"{name}: got numbers that are not finite in {own.dtype}; accepted: finite ones")
    if name.endswith("running_var") and (x < 0).any():
        raise ValueError(f"{name}: got {float(x.min()):.3g}; accepted: variances of at least 0")
