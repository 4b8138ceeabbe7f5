"""Bad input gets a clear error before any work: argument, value, and what is accepted.

What is given comes back in the form that is computed with; another kind is a TypeError, what is out of its
bounds a ValueError.
"""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from types import UnionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .kinds import is_number, refuse_masked, refuse_tracked

__all__ = ["choice", "count", "entry", "find_device", "flag", "float_type", "held", "instance", "kind_of"]
__all__ += ["new_name", "number", "positive", "probability", "shown", "sweep_counts"]

# Kinds of devices that the tests run on.
DEVICES = ("cpu", "cuda")
MOST_SWEEPS = 1_000_000
# Entries of an array that a message shows; of more it shows the shape.
FEW = 4


class _Shown(reprlib.Repr):
    """Values in messages: arrays by their shape, NumPy's scalars as plain numbers, long ones cut short."""

    def __init__(self) -> None:
        super().__init__()
        self.maxother, self.maxstring, self.maxlong, self.maxlevel = 100, 100, 60, 3

    def repr_instance(self, x: Any, level: int) -> str:
        if isinstance(x, np.number):
            return repr(x.item())
        shape = getattr(x, "shape", ())
        if isinstance(shape, tuple) and math.prod(shape) > FEW:
            return f"{kind_of(x)} of shape {tuple(shape)}"
        return super().repr_instance(x, level)


_SHOWN = _Shown()


def shown(value: Any) -> str:
    """Show a value in a message, in one short line."""
    return " ".join(_SHOWN.repr(value).split())


def kind_of(value: Any) -> str:
    """Name the type of a value, as its own package calls it."""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}".removeprefix("builtins.")


def instance(name: str, value: Any, kind: type | UnionType | tuple[type, ...], what: str) -> None:
    """Say what is accepted, unless a value is of a kind; ``what`` is what the message calls the kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: got {shown(value)}; accepted: {what}")


def entry(state: Mapping[str, Any], key: str, kind: type | UnionType, what: str, inside: str = "") -> Any:
    """Return what stands under a key of a mapping that was read, which a message calls ``inside``."""
    name = f"{inside}: {key}" if inside else key
    if key not in state:
        raise ValueError(f"{name}: it is missing; accepted: {what}")
    instance(name, state[key], kind, what)
    return state[key]


def flag(name: str, value: Any) -> bool:
    """Return True or False; all else is a TypeError: the text "no" would be true."""
    if value is not True and value is not False and not isinstance(value, np.bool_):
        raise TypeError(f"{name}: got {shown(value)}; accepted: True or False")
    return bool(value)


def choice(name: str, value: Any, accepted: Collection[str]) -> str:
    """Return one of some words."""
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{name}: got {shown(value)}; accepted: one of {tuple(accepted)}")
    return str(value)


def new_name(value: Any, taken: Collection[str]) -> None:
    """Refuse to register something under what is no name, or under one that is taken."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"name: got {value!r}; accepted: a string")
    if value in taken:
        raise ValueError(f"name: got {value!r}, which is registered already; accepted: a new name")


def number(name: str, value: Any) -> float:
    """Return a finite float; a gradient by the value that would be lost is a ValueError."""
    if type(value) is float and math.isfinite(value):  # the common case, in no time
        return value
    refuse_masked(name, value)
    refuse_tracked(name, value)
    try:
        unreal = value.is_complex() if isinstance(value, Tensor) else np.iscomplexobj(value)
        if not is_number(value) or unreal or isinstance(value, bool | np.bool_):
            raise TypeError
        foreign = hasattr(value, "__array__") and not isinstance(value, Tensor)
        result = float(np.asarray(value)[()] if foreign else value)
    except OverflowError:
        result = math.inf
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: got {shown(value)}; accepted: a real number") from None
    if not math.isfinite(result):
        raise ValueError(f"{name}: got {shown(value)}; accepted: a finite number")
    return result


def positive(name: str, value: Any) -> float:
    """Return a finite number above zero."""
    result = number(name, value)
    if not result > 0:
        raise ValueError(f"{name}: got {shown(value)}; accepted: a positive number")
    return result


def probability(name: str, value: Any) -> float:
    """Return a number from 0 to 1."""
    p = number(name, value)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: got {shown(value)}; accepted: a probability from 0 to 1")
    return p


def count(name: str, value: Any, least: int = 1, most: float = math.inf) -> int:
    """Return an integer from ``least`` to ``most``; True and False are none."""
    if type(value) is int and least <= value <= most:  # the common case, in no time
        return value
    accepted = f"an integer of at least {least}" if most == math.inf else f"an integer from {least} to {most}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: got {shown(value)}; accepted: {accepted}")
    if not least <= int(value) <= most:
        raise ValueError(f"{name}: got {shown(value)}; accepted: {accepted}")
    return int(value)


def sweep_counts(sweeps: Any) -> tuple[int, int]:
    """Return the sweeps before and after a coarse correction: two integers, not both zero."""
    try:
        before, after = (count("sweeps", sweep, 0, MOST_SWEEPS) for sweep in sweeps)
    except (TypeError, ValueError):
        raise ValueError(
            f"sweeps: got {shown(sweeps)}; accepted: two integers of at least 0, at most {MOST_SWEEPS:,}"
        ) from None
    if before + after == 0:
        raise ValueError(f"sweeps: got {shown(sweeps)}; accepted: at least one sweep")
    return before, after


def held(name: str, value: float, dtype: torch.dtype, room: float = 1.0) -> float:
    """Return a number that a type can hold, and its product with ``room`` as well."""
    largest = torch.finfo(dtype).max / room
    if not abs(value) <= largest:
        kind = str(dtype).removeprefix("torch.")
        raise ValueError(f"{name}: got {value!r}; accepted: what {kind} holds, up to {largest:.3g}")
    return value


def float_type(dtype: Any) -> torch.dtype:
    """Return torch's float32 or float64, by a dtype of torch or NumPy or by its name."""
    name = str(dtype).removeprefix("torch.")
    if not isinstance(dtype, torch.dtype | str | None):
        with suppress(TypeError):
            name = np.dtype(dtype).name
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype: got {shown(dtype)}; accepted: torch.float32 or torch.float64")
    return torch.float32 if name == "float32" else torch.float64


def find_device(device: Any) -> torch.device:
    """Return a CPU, which None is, or a CUDA device that is there."""
    try:
        found = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in DEVICES:
        raise ValueError(f"device: got {shown(device)}; accepted: 'cpu' or 'cuda'")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: got {shown(device)}, but torch finds no CUDA device here; accepted: 'cpu'")
    return found
