"""The models by name: how to register one, how to make one, and how it remembers how it was made."""

from __future__ import annotations

import inspect
import numbers
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from ..core.checks import count, flag, new_name, shown
from ..core.resources import is_shortage

__all__ = ["create", "defaults", "names", "register"]

# What every model takes, and what it is where a model does not say otherwise: CIFAR-10.
SIZES = {"num_classes": 10, "in_channels": 3, "image_size": 32}

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class Entry:
    """A model under its name: what makes it, what the name fixes, and the defaults of the rest."""

    factory: Callable[..., nn.Module]
    fixed: Mapping[str, Any]
    defaults: Mapping[str, Any]


# Every model that was made known, by its name.
MODELS: dict[str, Entry] = {}


def register(name: str, **fixed: Any) -> Callable[[Factory], Factory]:
    """Return a decorator that makes a model known under a name.

    Parameters
    ----------
    name : str
        A new one.
    **fixed
        Arguments that belong to the name, as the depth belongs to ``"resnet20"``; sizes among them are the
        name's defaults.

    Returns
    -------
    callable
        Takes a class or a function of ``num_classes``, ``in_channels``, ``image_size`` and options of its
        own, which returns a model, and gives it back.

    Raises
    ------
    ValueError
        For a name that is taken.
    TypeError
        For a factory that does not take those arguments by their names.

    Examples
    --------
    >>> @register("tiny")
    ... def tiny(num_classes, in_channels, image_size, bias=True):
    ...     features = in_channels * image_size**2
    ...     return nn.Sequential(nn.Flatten(), nn.Linear(features, num_classes, bias))
    >>> create("tiny", image_size=8, bias=False).spec["image_size"]
    8
    """
    new_name(name, MODELS)

    def decorator(factory: Factory) -> Factory:
        defaults = _defaults(factory, fixed)
        rest = {key: value for key, value in fixed.items() if key not in defaults}
        MODELS[name] = Entry(factory, rest, defaults)
        return factory

    return decorator


def _defaults(factory: Callable[..., nn.Module], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of a factory that its name leaves open, with their defaults."""
    parameters = inspect.signature(factory).parameters
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    wanting = [n for n in (*SIZES, *fixed) if n not in named]
    bare = [n for n, p in named.items() if p.default is p.empty and n not in SIZES and n not in fixed]
    if wanting or bare or len(named) < len(parameters):
        got = f"{getattr(factory, '__name__', factory)!r} with the arguments {list(parameters)}"
        accepted = f"one that takes {', '.join(SIZES)} and options with defaults, each by its name"
        raise TypeError(f"factory: got {got}; accepted: {accepted}")
    own = {name: p.default for name, p in named.items() if p.default is not p.empty and name not in fixed}
    return {**SIZES, **own, **{name: value for name, value in fixed.items() if name in SIZES}}


def names() -> list[str]:
    """Return the names of all models.

    Returns
    -------
    list of str
        In the order of the alphabet and of the numbers: ``"resnet56"`` stands before ``"resnet110"``.
    """
    # Numbers by their value, all else by the alphabet.
    parts = {name: re.split(r"(\d+)", name) for name in MODELS}
    return sorted(MODELS, key=lambda name: [(int(p) if p.isdigit() else -1, p) for p in parts[name]])


def defaults(name: str) -> dict[str, Any]:
    """Return the sizes and options that :func:`create` takes where none are given.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    dict
        num_classes, in_channels, image_size, and the model's own options.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    return dict(_entry(name).defaults)


def _entry(name: str) -> Entry:
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(f"name: got {name!r}; accepted: one of {', '.join(names())}")
    return MODELS[name]


# Letters of torch's own message that are passed on, and the largest integer that all of its parts take.
SAID, LARGEST = 200, 2**31 - 1


def create(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
    **options: Any,
) -> nn.Module:
    """Return a new model with random parameters.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    num_classes, in_channels, image_size : int, optional
        Length of the answer for an image; its channels, its width and height. By default they are the model's
        own, mostly 10, 3 and 32.
    **options
        The model's own options; where the default is a list, one number stands for a list of it.

    Returns
    -------
    torch.nn.Module
        Takes images (N, channels, size, size) and gives one row of numbers (logits) for each. Its attribute
        ``spec`` is a dictionary of plain values from which ``create(**spec)`` makes such a model again.

    Raises
    ------
    ValueError
        For an unknown name, a size that is too small, or an option's value that is not accepted.
    TypeError
        For an unknown option, or a value of the wrong kind.

    Examples
    --------
    >>> create("lenet5").spec
    {'name': 'lenet5', 'num_classes': 10, 'in_channels': 1, 'image_size': 32}
    """
    entry = _entry(name)
    known = [option for option in entry.defaults if option not in SIZES]
    for option, value in options.items():
        if option not in known:
            accepted = ", ".join(known) or "no option"
            raise TypeError(f"{option}: got {value!r}; accepted by {name!r}: {accepted}")
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    given = {key: count(key, value) for key, value in sizes.items() if value is not None} | options
    arguments = {
        key: _plain(key, _fitted(key, given.get(key, default), default))
        for key, default in entry.defaults.items()
    }
    try:
        made = entry.factory(**arguments, **entry.fixed)
    except (OverflowError, RuntimeError) as error:  # of torch, where sizes are beyond all measure
        if is_shortage(error) or "meta" in str(error):
            raise
        said = str(error).partition("\n")[0][:SAID]
        raise ValueError(f"{name}: no model can be made of {shown(arguments)} ({said})") from error
    if not isinstance(made, nn.Module):
        raise TypeError(f"factory: {name!r} made a {type(made).__name__}; accepted: a torch.nn.Module")
    model: Any = made  # torch declares that attributes of modules are tensors
    model.spec = {"name": name, **arguments}
    return made


def _fitted(name: str, value: Any, default: Any) -> Any:
    """Refuse what is neither true nor false where the default is; give a list of one for a number."""
    if isinstance(default, bool):
        try:
            return flag(name, value)
        except TypeError:
            raise ValueError(f"{name}: got {shown(value)}; accepted: one of (True, False)") from None
    single = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return [value] if single and isinstance(default, list | tuple) else value


def _plain(name: str, value: Any) -> Any:
    """Give a value as a checkpoint can hold it: numbers, strings, None, and lists of these."""
    if isinstance(value, list | tuple):
        return [_plain(name, entry) for entry in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return count(name, value, -LARGEST, LARGEST)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{name}: got {value!r}; accepted: a number, a string, None, or a list of these")
