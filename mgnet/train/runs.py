"""A run that was trained, read from its checkpoint: the model, and what belongs to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .. import checkpoint, models
from ..checkpoint import CheckpointError
from ..core.checks import entry, flag, instance, number, positive, shown
from ..core.resources import is_shortage
from .history import History
from .preflight import require_finite

__all__ = ["Run", "blamed", "read"]

# What is read here is the same in all of them.
FORMATS = (1, 2)
# Columns of the history that every row has a number in.
MEASURED = ("epoch", "seconds", "images_per_second")
# Letters of a message: what it quotes is a stranger's.
SAID = 400


@dataclass(frozen=True)
class Run:
    """A trained model, and what belongs to it.

    Attributes
    ----------
    model : torch.nn.Module
        With its weights, on the CPU, in evaluation mode, in the memory order that it was trained in.
    spec : dict
        By which :func:`mgnet.models.create` makes such a model.
    dataset : str
        Name of the data.
    classes : list of str or None
        The name of each label; older runs do not say.
    mean, std : list of float
        Normalisation of the images, per channel.
    digests : dict of str to str
        By which each part of the data is known again; older runs have none.
    recipe : dict
        Fields of the recipe by name.
    history : History
        The figures of the training.
    """

    model: nn.Module
    spec: dict[str, Any]
    dataset: str
    classes: list[str] | None
    mean: list[float]
    std: list[float]
    digests: dict[str, str]
    recipe: dict[str, Any]
    history: History


def read(path: str | os.PathLike[str]) -> Run:
    """Read a run from a checkpoint of it, which need not be trusted; all of the run fits together.

    The file is what :func:`mgnet.fit` left: its ``model.ckpt``, or its ``last.ckpt``. When it is damaged or
    no checkpoint, or when something in it is missing, of another kind, or does not fit the rest, a
    :class:`mgnet.CheckpointError` names what. When nobody has registered the model, that is a ValueError;
    when there is no such file, a FileNotFoundError.
    """
    state = checkpoint.load(path)
    with blamed(path):
        if type(state.get("format")) is not int or state["format"] not in FORMATS:
            raise ValueError(f"format: got {shown(state.get('format'))}; accepted: one of {FORMATS}")
        spec = _spec(state)
    if spec is None or spec["name"] not in models.names():
        made = (
            "not made by name"
            if spec is None
            else f"called {spec['name'][:100]!r}, which nobody has made known"
        )
        raise ValueError(
            f"{path}: got a model {made}; accepted: one that mgnet.models.create makes, under a name of"
            " mgnet.models.register (from the shell: --import MODULE, where that is called)"
        )
    with blamed(path):
        return _run(state, spec)


@contextmanager
def blamed(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say that it is a file's fault if something is wrong, by a :class:`mgnet.CheckpointError`.

    That is for whatever shows that the checkpoint holds something else.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_shortage(error):
            raise
        raise CheckpointError(f"{path}: {' '.join(str(error).split())[:SAID]}") from error


def _spec(state: Mapping[str, Any]) -> dict[str, Any] | None:
    spec = entry(state, "spec", dict | None, "a dictionary")
    if spec is not None:
        entry(spec, "name", str, "a string", "spec")
    return spec


def _run(state: Mapping[str, Any], spec: dict[str, Any]) -> Run:
    weights = entry(state, "model", dict, "a dictionary of tensors")
    recipe = entry(state, "recipe", dict, "a dictionary")
    channels_last = flag("recipe: channels_last", recipe.get("channels_last", False))
    dataset = entry(state, "dataset", str, "a string")
    mean = _numbers(state, "mean", number)
    std = _numbers(state, "std", positive)
    if len(mean) != len(std):
        raise ValueError(f"mean: got {len(mean)} numbers; accepted: {len(std)}, as std has")
    history = _history(entry(state, "history", dict, "a dictionary"))
    model: Any = models.restore(spec, weights).eval()  # torch declares that attributes are tensors
    require_finite(model)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    classes = _classes(state, model.spec["num_classes"])
    return Run(model, model.spec, dataset, classes, mean, std, _digests(state), recipe, history)


def _numbers(state: Mapping[str, Any], name: str, kind: Callable[[str, Any], float]) -> list[float]:
    values = entry(state, name, list, "a list of numbers")
    if not values:
        raise ValueError(f"{name}: got an empty list; accepted: a number for each channel")
    return [kind(name, value) for value in values]


def _classes(state: Mapping[str, Any], most: int) -> list[str] | None:
    classes = state.get("classes")
    if classes is not None:
        instance("classes", classes, list, "a list of names")
        for name in classes:
            instance("classes", name, str, "a list of names")
        if len(classes) > most:
            raise ValueError(f"classes: got {len(classes)}; accepted: up to {most}, as the model has")
    return classes


def _digests(state: Mapping[str, Any]) -> dict[str, str]:
    digests = state.get("digests", {})
    instance("digests", digests, dict, "a dictionary of strings")
    for digest in digests.values():
        instance("digests", digest, str, "a dictionary of strings")
    return digests


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
