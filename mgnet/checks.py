"""Bad input gets a clear error before any work: argument, value, and what is accepted."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

__all__ = [
    "ResourceError",
    "array",
    "count",
    "find_device",
    "float_type",
    "number",
    "probability",
    "require_finite",
]

# Kinds of devices that the tests run on.
DEVICES = ("cpu", "cuda")


class ResourceError(MemoryError):
    """The problem does not fit into this machine's memory; raised before any is taken."""


def hidden(x: Any) -> bool:
    """Say whether the numbers of a tensor cannot be looked at, as under ``torch.func.vmap``."""
    if not isinstance(x, Tensor) or not x.numel():
        return False
    # Trying to read one would wait for a GPU.
    while _functorch.is_gradtrackingtensor(x):
        x = _functorch.get_unwrapped(x)
    return _functorch.is_batchedtensor(x)


def tracked(*tensors: Any) -> bool:
    """Say whether derivatives by one of these tensors, or a vmap over it, are under way."""
    known = [x for x in tensors if isinstance(x, Tensor)]
    return (
        any(torch.is_grad_enabled() and x.requires_grad for x in known)
        or any(forward_ad.unpack_dual(x).tangent is not None for x in known)
        or any(map(hidden, known))
    )


def is_number(value: Any) -> bool:
    """Say whether a value is one number, of whatever kind."""
    if isinstance(value, np.ndarray | np.generic):
        return value.ndim == 0 and value.dtype.kind in "fiubc"
    return value.ndim == 0 if isinstance(value, Tensor) else isinstance(value, numbers.Number)


def shown(value: Any) -> str:
    """Show a value in a message; NumPy's scalars as plain numbers."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def number(name: str, value: Any) -> float:
    """Return a finite float, or say what the argument should have been.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given.

    Returns
    -------
    float
        Its value.

    Raises
    ------
    TypeError
        When it is no real number.
    ValueError
        When it is not finite.
    """
    try:
        unreal = value.is_complex() if isinstance(value, Tensor) else np.iscomplexobj(value)
        if not is_number(value) or unreal or isinstance(value, bool | np.bool_):
            raise TypeError
        result = float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TypeError(f"{name}: got {shown(value)}; accepted: a real number") from None
    if not math.isfinite(result):
        raise ValueError(f"{name}: got {shown(value)}; accepted: a finite number")
    return result


def probability(name: str, value: Any) -> float:
    """Return a number from 0 to 1, or say what the argument should have been.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given.

    Returns
    -------
    float
        Its value.

    Raises
    ------
    TypeError
        When it is no real number.
    ValueError
        When it is outside.
    """
    p = number(name, value)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: got {value!r}; accepted: a probability from 0 to 1")
    return p


def array(name: str, value: Any, sizes: Sequence[int | tuple[int, ...]], what: str) -> Tensor:
    """Return a contiguous tensor of float32 or float64, or say what the argument should have been.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given.
    sizes : sequence of int or tuple of int
        Accepted lengths of the last axis, or shapes of the last axes.
    what : str
        What such a length counts, for the message.

    Returns
    -------
    torch.Tensor, shape (..., size)
        Integers and other floats become float64. NumPy arrays are shared, not copied, where torch can.

    Raises
    ------
    TypeError
        When it is no array of real numbers.
    ValueError
        For another length, or an empty axis.
    """
    if not isinstance(value, Tensor):
        value = from_numpy(name, value)
    if value.dtype.is_complex:
        raise TypeError(f"{name}: got dtype {value.dtype}; accepted: real numbers")
    shapes = [(size,) if isinstance(size, int) else size for size in sizes]
    fitting = [shape for shape in shapes if value.shape[max(value.ndim - len(shape), 0) :] == shape]
    if not fitting:
        between = ") or (..., " if max(map(len, shapes)) > 1 else " or "
        accepted = between.join(", ".join(map(str, shape)) for shape in shapes)
        raise ValueError(f"{name}: got shape {tuple(value.shape)}; accepted: (..., {accepted}), {what}")
    if 0 in value.shape[: value.ndim - len(fitting[0])]:
        raise ValueError(f"{name}: got shape {tuple(value.shape)}; accepted: no empty leading axis")
    if value.dtype not in (torch.float32, torch.float64):
        value = value.to(torch.float64)
    return value.contiguous()


def from_numpy(name: str, value: Any) -> Tensor:
    x = to_numpy(name, value)
    # torch shares neither negative strides nor read-only memory.
    return torch.from_numpy(x if x.flags.c_contiguous and x.flags.writeable else x.copy(order="C"))


def to_numpy(name: str, value: Any) -> np.ndarray:
    """Return an array of float32 or float64, or say what the argument should have been."""
    if isinstance(value, Tensor):
        value = known_values(value)
    try:
        x = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise TypeError(
            f"{name}: got {type(value).__name__}; accepted: an array of numbers ({error})"
        ) from None
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{name}: got dtype {x.dtype}; accepted: real numbers")
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float32 if x.dtype == np.dtype(">f4") else np.float64)
    return x


def transforming() -> bool:
    """Say whether ``torch.func`` takes derivatives at the moment, so that even new tensors are wrapped."""
    try:
        torch.zeros(1).numpy()
    except RuntimeError:
        return True
    return False


def known_values(x: Tensor) -> np.ndarray:
    """Return a tensor's values; inside of ``torch.func`` it does not share its memory."""
    x = x.detach().cpu()
    try:
        return x.numpy()
    except RuntimeError:
        return np.array(x.tolist(), dtype=str(x.dtype).removeprefix("torch.")).reshape(x.shape)


def first_bad(x: Tensor, bad: Tensor, axes: int = 1) -> str:
    """Name the first entry marked bad: its index, its row where there is a batch, and its value."""
    index = tuple(int(i) for i in bad.nonzero()[0])
    row, place = index[: len(index) - axes], index[len(index) - axes :]
    at = f"index {place[0] if axes == 1 else place}"
    at += f" of row {row[0] if len(row) == 1 else row}" if row else ""
    return f"{x[index].item()!r} at {at}"


def require_finite(name: str, x: Tensor, axes: int = 1) -> None:
    """Raise the error that names the first NaN or infinity, if there is one.

    Parameters
    ----------
    name : str
        What the message calls it.
    x : torch.Tensor
        Where to search.
    axes : int, default 1
        How many of its last axes are no batch.

    Raises
    ------
    ValueError
        When there is one; the message gives index and row.
    """
    if not hidden(x) and not math.isfinite(x.sum().item()):
        bad = ~x.isfinite()
        if bad.any():
            raise ValueError(f"{name}: got {first_bad(x, bad, axes)}; accepted: finite numbers")


def count(name: str, value: Any, least: int = 1) -> int:
    """Return an integer that is large enough, or say what the argument should have been.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given.
    least : int, default 1
        The smallest accepted.

    Returns
    -------
    int
        Its value.

    Raises
    ------
    TypeError
        When it is no integer; True and False are none.
    ValueError
        When it is too small.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: got {value!r}; accepted: an integer of at least {least}")
    if value < least:
        raise ValueError(f"{name}: got {value!r}; accepted: an integer of at least {least}")
    return int(value)


def float_type(dtype: Any) -> torch.dtype:
    """Return torch's float32 or float64, or say what is accepted.

    Parameters
    ----------
    dtype : object
        A dtype of torch or NumPy, or its name.

    Returns
    -------
    torch.dtype
        One of the two.

    Raises
    ------
    ValueError
        For any other.
    """
    name = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype | str) else None
    if name is None:
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = repr(dtype)
    if name not in ("float32", "float64") or dtype is None:
        raise ValueError(f"dtype: got {dtype!r}; accepted: torch.float32 or torch.float64")
    return torch.float32 if name == "float32" else torch.float64


def find_device(device: Any) -> torch.device:
    """Return the device, or say why there is none.

    Parameters
    ----------
    device : str, torch.device or None
        None is the CPU.

    Returns
    -------
    torch.device
        A CPU or a CUDA device.

    Raises
    ------
    ValueError
        For another kind of device, or where there is no CUDA device.
    """
    try:
        found = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in DEVICES:
        raise ValueError(f"device: got {device!r}; accepted: 'cpu' or 'cuda'")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: got {device!r}, but torch finds no CUDA device here; accepted: 'cpu'")
    return found


def require_memory(cells: int, n: Any = None) -> None:
    # Three vectors at least: the load, the solution, and the coarse grids with what is in flight.
    need = 3 * 8 * cells
    if need < 2**30:
        return
    have = _free_memory()
    if need > have:
        raise ResourceError(
            f"n: got {cells if n is None else n!r}, which needs about {need / 2**30:,.0f} GiB of memory;"
            f" accepted: what fits into the {have / 2**30:,.0f} GiB that are free"
        )


def _free_memory() -> float:
    """Return the bytes that can be had without swapping, or infinity where the system does not say."""
    try:
        with open("/proc/meminfo") as lines:
            sizes = dict(line.split(":") for line in lines)
        return 1024 * int(sizes["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        names = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" not in names:
            return math.inf
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
