"""The one door through which arrays come in, of whatever kind, and the look that all of it is finite."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import kind_of, shown
from .kinds import hidden, refuse_masked, refuse_tracked, tracked

__all__ = [
    "NonFiniteError",
    "array",
    "data",
    "first_bad",
    "known_values",
    "require_finite",
    "roomy",
    "sent",
    "to_numpy",
]


class NonFiniteError(ArithmeticError):
    """The loads or the solution hold NaN or infinity; the caller, who knows the data, says where."""


def array(
    name: str, value: Any, sizes: Sequence[int | tuple[int, ...]], what: str, batch: bool = True
) -> Tensor:
    """Return a contiguous tensor of float32 or float64, shape (..., size), or say what was accepted.

    ``sizes`` are the accepted lengths of the last axis, or shapes of the last axes, and ``what`` is what such
    a length counts, for the message. Leading axes there may be with ``batch`` only. Integers and other floats
    become float64; NumPy arrays are shared, not copied, where torch can. What is no array of real numbers is
    a TypeError, another length or an empty axis a ValueError.
    """
    x = data(name, value)
    if isinstance(x, np.ndarray):
        x = _shared(x)
    shapes = [(size,) if isinstance(size, int) else size for size in sizes]
    if x.shape in shapes:  # the common case
        return x.contiguous()
    fitting = [shape for shape in shapes if x.shape[max(x.ndim - len(shape), 0) :] == shape]
    if not fitting or not (batch or x.ndim == len(fitting[0])):
        lead = "..., " if batch else ""
        several = max(map(len, shapes)) > 1 or not batch
        comma = "," if several and not batch and len(shapes[0]) == 1 else ""
        between = f"{comma}) or ({lead}" if several else " or "
        accepted = between.join(", ".join(map(str, shape)) for shape in shapes)
        raise ValueError(f"{name}: got shape {tuple(x.shape)}; accepted: ({lead}{accepted}{comma}), {what}")
    if 0 in x.shape[: x.ndim - len(fitting[0])]:
        raise ValueError(f"{name}: got shape {tuple(x.shape)}; accepted: no empty leading axis")
    return x.contiguous()


def _shared(x: np.ndarray) -> Tensor:
    """Return a tensor that shares the memory of an array, if torch does: not with negative strides.

    Nor what is read-only; but what is mapped from a file is not read for that, and nothing writes into it.
    """
    if x.flags.c_contiguous and x.flags.writeable:
        return torch.from_numpy(x)
    if not (x.flags.c_contiguous and _is_mapped(x)):
        return torch.from_numpy(x.copy(order="C"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # since it is read-only
        return torch.from_numpy(x)


def _is_mapped(x: Any) -> bool:
    """Say whether an array is one in a file, or a part of one."""
    while isinstance(x, np.ndarray) and not isinstance(x, np.memmap):
        x = x.base
    return isinstance(x, np.memmap)


def data(name: str, value: Any) -> Tensor | np.ndarray:
    """Return numbers of whatever kind as float32 or float64: a tensor as a tensor, all else for NumPy.

    That is the one door through which numbers come in: lists, tuples and ranges, NumPy's arrays of any layout
    and byte order, tensors of any layout, and what turns into a NumPy array, as those of pandas and xarray
    do, by its values. Integers and other floats become float64, and memory is shared where it can be. What is
    no array of real numbers, or has a mask, is a TypeError.
    """
    if type(value) is np.ndarray and value.dtype == np.float64 and value.dtype.isnative:
        return value  # the common case
    refuse_masked(name, value)
    return _tensor_data(name, value) if isinstance(value, Tensor) else _numpy_data(name, value)


def _tensor_data(name: str, x: Tensor) -> Tensor:
    if x.is_complex() or x.is_meta or x.is_nested:
        kind = f"dtype {x.dtype}" if x.is_complex() else f"a {'meta' if x.is_meta else 'nested'} tensor"
        raise TypeError(f"{name}: got {kind}; accepted: real numbers")
    x = x.dequantize() if x.is_quantized else x
    x = x if x.layout is torch.strided else x.to_dense()
    return x if x.dtype in (torch.float32, torch.float64) else x.to(torch.float64)


def _numpy_data(name: str, value: Any) -> np.ndarray:
    try:
        x = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        hint = " (torch.stack makes an array of tensors)" if isinstance(error, RuntimeError) else ""
        got = f"{kind_of(value)} ({shown(value)})"
        raise TypeError(f"{name}: got {got}; accepted: real numbers in one array{hint}: {error}") from None
    # Kinds of float that NumPy does not have itself, as bfloat16, are void to it.
    own = x.dtype.kind == "V" and not issubclass(x.dtype.type, np.void)
    if not own and x.dtype.kind not in ("fiub" if x.ndim else "fiu"):  # True alone is no number
        got = "" if x.ndim else f" ({shown(value)})"
        raise TypeError(f"{name}: got dtype {x.dtype}{got}; accepted: real numbers")
    if x.dtype not in (np.float32, np.float64):
        with np.errstate(over="ignore"):  # beyond float64 is not finite, which is looked for elsewhere
            x = x.astype(np.float32 if x.dtype == np.dtype(">f4") else np.float64)
    return x


def to_numpy(name: str, value: Any) -> np.ndarray:
    """Return an array of float32 or float64 from whatever :func:`data` takes.

    Errors are as there, and a gradient that would be lost is a ValueError.
    """
    refuse_tracked(name, value)
    x = data(name, value)
    return known_values(x) if isinstance(x, Tensor) else x


def known_values(x: Tensor) -> np.ndarray:
    """Return a tensor's values; inside of ``torch.func`` it does not share its memory."""
    x = x.detach().cpu()
    try:
        return x.numpy()
    except RuntimeError:
        return np.array(x.tolist(), dtype=str(x.dtype).removeprefix("torch.")).reshape(x.shape)


def require_finite(name: str, x: Tensor, axes: int = 1, start: int = 0) -> None:
    """Raise the error that names the first NaN or infinity, if there is one, by its index and row.

    ``axes`` says how many of the last axes are no batch, ``start`` what the first index along the first of
    them is.
    """
    if not hidden(x) and not math.isfinite(x.sum().item()):
        bad = ~x.isfinite()
        if bad.any():
            raise ValueError(f"{name}: got {first_bad(x, bad, axes, start)}; accepted: finite numbers")


def first_bad(x: Tensor, bad: Tensor, axes: int = 1, start: int = 0) -> str:
    """Name the first entry marked bad: its index, its row where there is a batch, and its value."""
    index = tuple(int(i) for i in bad.nonzero()[0])
    row, place = index[: len(index) - axes], index[len(index) - axes :]
    at = f"index {start + place[0] if axes == 1 else (start + place[0], *place[1:])}"
    at += f" of row {row[0] if len(row) == 1 else row}" if row else ""
    return f"{x[index].item()!r} at {at}"


def sent(x: Tensor, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor on a device, itself where it is there already.

    What a GPU is doing is not waited for.
    """
    if x.device.type != "cpu" or device is None or device.type in ("cpu", "meta") or tracked(x):
        return x.to(device=device, dtype=dtype)
    # A GPU fetches by itself only what is in pinned memory.
    return x.to(dtype=dtype).pin_memory().to(device, non_blocking=True)


def roomy(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a tensor without values, on the device of another and in its precision, float32 or float64.

    NumPy asks for huge pages; touching small ones for the first time costs more than a sweep.
    """
    if like.device.type != "cpu":
        return like.new_empty(tuple(shape))
    return torch.from_numpy(np.empty(tuple(shape), np.float32 if like.dtype == torch.float32 else np.float64))
