"""A run that was trained, read from its checkpoint: the model, and what belongs to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .. import checkpoint, models
from ..checkpoint import blamed
from ..core.checks import entry, flag, instance, number, positive, shown
from .history import History
from .preflight import require_finite

__all__ = ["Run", "belongings", "read", "saved"]

# What is read here is the same in all of them.
FORMATS = (1, 2, 3)
# Columns of the history that every row has a number in.
MEASURED = ("epoch", "seconds", "images_per_second")


@dataclass(frozen=True)
class Run:
    """A trained model, and what belongs to it."""

    model: nn.Module  # on the CPU, in evaluation mode, in the memory order that it was trained in
    spec: dict[str, Any]  # by which mgnet.models.create makes such a model
    dataset: str  # the name of the data
    classes: list[str] | None  # the name of each label; older runs do not say
    mean: list[float]  # normalisation of the images, per channel
    std: list[float]
    digests: dict[str, str]  # by which each part of the data is known again; older runs have none
    recipe: dict[str, Any]  # its fields by name
    history: History


def read(path: str | os.PathLike[str]) -> Run:
    """Read a run from a checkpoint of it, which need not be trusted; all of the run fits together.

    What is damaged or does not fit the rest is a :class:`mgnet.CheckpointError`, a model that nobody has
    registered a ValueError, and a file that is not there a FileNotFoundError.
    """
    state = saved(path)
    with blamed(path):
        spec = entry(state, "spec", dict | None, "a dictionary")
        name = None if spec is None else entry(spec, "name", str, "a string", "spec")
    if name not in models.names():
        made = "not made by name" if name is None else f"called {name[:100]!r}, which nobody has made known"
        raise ValueError(
            f"{path}: got a model {made}; accepted: one that mgnet.models.create makes, under a name of"
            " mgnet.models.register (from the shell: --import MODULE, where that is called)"
        )
    with blamed(path):
        return _run(state, spec)


def saved(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a checkpoint of a run holds, in one of the forms that are read here."""
    state = checkpoint.load(path)
    with blamed(path):
        if type(state.get("format")) is not int or state["format"] not in FORMATS:
            raise ValueError(f"format: got {shown(state.get('format'))}; accepted: one of {FORMATS}")
    return state


def belongings(state: Mapping[str, Any]) -> tuple[list[str] | None, list[float], list[float]]:
    """Return what belongs to weights: the names of the classes, and mean and deviation of the images."""
    mean = _numbers(state, "mean", number)
    std = _numbers(state, "std", positive)
    if len(mean) != len(std):
        raise ValueError(f"mean: got {len(mean)} numbers; accepted: {len(std)}, as std has")
    classes = state.get("classes")
    _require_strings("classes", classes, list | None, "a list of names")
    return classes, mean, std


def _run(state: Mapping[str, Any], spec: dict[str, Any]) -> Run:
    weights = entry(state, "model", dict, "a dictionary of tensors")
    recipe = entry(state, "recipe", dict, "a dictionary")
    channels_last = flag("recipe: channels_last", recipe.get("channels_last", False))
    dataset = entry(state, "dataset", str, "a string")
    classes, mean, std = belongings(state)
    history = _history(entry(state, "history", dict, "a dictionary"))
    model: Any = models.restore(spec, weights).eval()  # torch declares that attributes are tensors
    require_finite(model)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    digests = state.get("digests", {})
    _require_strings("digests", digests, dict, "a dictionary of strings")
    if classes and len(classes) > (most := model.spec["num_classes"]):
        raise ValueError(f"classes: got {len(classes)}; accepted: up to {most}, as the model has")
    return Run(model, model.spec, dataset, classes, mean, std, digests, recipe, history)


def _numbers(state: Mapping[str, Any], name: str, kind: Callable[[str, Any], float]) -> list[float]:
    values = entry(state, name, list, "a list of numbers")
    if not values:
        raise ValueError(f"{name}: got an empty list; accepted: a number for each channel")
    return [kind(name, value) for value in values]


def _require_strings(name: str, values: Any, kind: Any, what: str) -> None:
    instance(name, values, kind, what)
    for value in values.values() if isinstance(values, dict) else values or ():
        instance(name, value, str, what)


def _history(figures: Mapping[str, Any]) -> History:
    """Return the figures of a run, each of whose epochs has been measured."""
    history = History()
    history.load_state_dict(dict(figures))
    for i, row in enumerate(history.rows, 1):
        for name in MEASURED:
            number(f"history: row {i}: {name}", row[name])
    number("history: seconds", history.seconds)
    number("history: images_per_second", history.images_per_second)
    return history
