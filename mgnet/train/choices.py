"""What a caller chooses beside the recipe: what is frozen, how much a class counts, who hears of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..core.checks import number, shown
from ..core.kinds import is_array
from ..data import Data
from ..layers.scratch import TRACKING
from .beginning import Beginning

__all__ = ["Choices", "class_weights", "frozen", "names_of"]

# Names that a message lists.
LISTED = 20


@dataclass(frozen=True)
class Choices:
    """What a caller chooses beside the recipe; ``named`` are the fields of it that the caller has given."""

    freeze: tuple[str, ...] = ()
    class_weights: tuple[float, ...] | None = None
    init: Beginning | None = None
    on_epoch: Callable[[dict[str, Any]], Any] | None = None
    named: frozenset[str] = frozenset()


def names_of(freeze: Any) -> tuple[str, ...]:
    """Return the names that an argument gives, one or several."""
    names = [freeze] if isinstance(freeze, str) else [] if freeze is None else freeze
    is_list = isinstance(names, list | tuple | set | frozenset)
    if not is_list or not all(isinstance(name, str) for name in names):
        raise TypeError(f"freeze: got {shown(freeze)}; accepted: names of modules or parameters")
    return tuple(sorted(set(names)))


@contextmanager
def frozen(model: nn.Module, names: Sequence[str]) -> Iterator[list[nn.Module]]:
    """Freeze parameters, and yield the norms among what is named; what required a gradient does so again.

    A name is that of a module, with all that is in it, or of a parameter.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    before = [(p, p.requires_grad) for p in parameters.values()]
    still: list[nn.Module] = []
    chosen: list[nn.Parameter] = []
    for name in names:
        if name in parameters:
            chosen.append(parameters[name])
            continue
        inside = modules.get(name) if name else None
        if inside is None:
            raise ValueError(f"freeze: got {shown(name)}; accepted: {_there(name, modules, parameters)}")
        chosen += inside.parameters()
        still += [m for m in inside.modules() if isinstance(m, TRACKING)]
    if names and not chosen and not still:
        accepted = f"one with parameters: {_there('', modules, parameters)}"
        raise ValueError(f"freeze: got {', '.join(names)}, which has none; accepted: {accepted}")
    try:
        for p in chosen:
            p.requires_grad = False  # by its method a lazy one cannot be asked yet
        yield still
    finally:
        for p, wanted in before:
            p.requires_grad = wanted


def _there(name: str, modules: dict[str, nn.Module], parameters: dict[str, nn.Parameter]) -> str:
    """Say what could have been meant: what is in the module that the first words of a name are."""
    inside = name
    while inside and not any(p.startswith(f"{inside}.") for p in parameters):
        inside = inside.rpartition(".")[0]
    start = f"{inside}." if inside else ""
    within = dict.fromkeys(
        start + p.removeprefix(start).partition(".")[0] for p in parameters if p.startswith(start)
    )
    found = [n for n in within if n in modules or n in parameters]
    # A list of bare numbers, as in Sequential, would not say what they are.
    kind = "modules" if all(n in modules for n in found) else "parameters"
    return f"{kind} of the model, as model.named_{kind}() names them: {_cut(found)}"


def _cut(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def class_weights(wanted: Any, data: Data) -> tuple[float, ...] | None:
    """Return a weight for each class, so that their mean over the training images is 1; None for None.

    A class without training images has the weight 1 where "balanced" is wanted.
    """
    if wanted is None:
        return None
    counts = torch.bincount(data.train.labels.cpu(), minlength=data.num_classes).tolist()
    if isinstance(wanted, str) and wanted == "balanced":
        given = [1 / n if n else 0.0 for n in counts]
    elif is_array(wanted) and len(wanted) == len(counts):
        given = [number("class_weights", weight) for weight in wanted]
    else:
        accepted = f"'balanced', or {len(counts)} numbers, one for each class"
        raise (ValueError if is_array(wanted) or isinstance(wanted, str) else TypeError)(
            f"class_weights: got {shown(wanted)}; accepted: {accepted}"
        )
    # Only ratios count, and a sum of large ones would overflow; a power of two rounds nothing.
    exponent = math.frexp(max(given))[1]
    given = [math.ldexp(weight, -exponent) for weight in given]
    mean = sum(n * weight for n, weight in zip(counts, given, strict=True)) / sum(counts)
    if min(given) < 0 or not mean > 0:
        accepted = "numbers of at least 0, and above 0 for a class that has training images"
        raise ValueError(f"class_weights: got {shown(wanted)}; accepted: {accepted}")
    # eq: class-weights
    weights = [weight / mean for weight in given]
    if isinstance(wanted, str):
        weights = [weight if n else 1.0 for n, weight in zip(counts, weights, strict=True)]
    return tuple(weights)
