"""Bad input gets a clear error before any work: argument, value, and what is accepted."""

from __future__ import annotations

import contextlib
import errno
import math
import numbers
import os
import reprlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

__all__ = [
    "NonFiniteError",
    "ResourceError",
    "array",
    "choice",
    "count",
    "data",
    "find_device",
    "flag",
    "float_type",
    "held",
    "instance",
    "is_shortage",
    "number",
    "positive",
    "probability",
    "refuse_masked",
    "refuse_tracked",
    "require_finite",
    "shown",
    "sweep_counts",
    "to_numpy",
    "within_memory",
]

# Kinds of devices that the tests run on.
DEVICES = ("cpu", "cuda")


MOST_SWEEPS = 1_000_000
# Entries of an array that a message shows; of more it shows the shape.
FEW = 4


class ResourceError(MemoryError):
    """The problem does not fit into this machine's memory; raised before any is taken, where that can be."""


class NonFiniteError(ArithmeticError):
    """The loads or the solution hold NaN or infinity; the caller, who knows the data, says where."""


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
    return bool(known) and (
        any(torch.is_grad_enabled() and x.requires_grad for x in known)
        or any(forward_ad.unpack_dual(x).tangent is not None for x in known)
        or any(map(hidden, known))
    )


def is_number(value: Any) -> bool:
    """Say whether a value is one number, of whatever kind."""
    if type(value) is float:
        return True
    if isinstance(value, Tensor):
        return value.ndim == 0
    if hasattr(value, "__array__"):
        x = np.empty(1) if getattr(value, "ndim", 0) else np.asarray(value)
        return x.ndim == 0 and x.dtype.kind in "fiubc"
    return isinstance(value, numbers.Number)


def is_array(value: Any) -> bool:
    """Say whether a value is meant as an array, of whatever kind, rather than as one number."""
    if hasattr(value, "__array__"):
        return not is_number(value)
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


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
            return f"{_kind(x)} of shape {tuple(shape)}"
        return super().repr_instance(x, level)


_SHOWN = _Shown()


def shown(value: Any) -> str:
    """Show a value in a message, in one short line."""
    return " ".join(_SHOWN.repr(value).split())


def _kind(value: Any) -> str:
    """Name the type of a value, as its own package calls it."""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}".removeprefix("builtins.")


def flag(name: str, value: Any) -> bool:
    """Return True or False, or say that only those are accepted.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given.

    Returns
    -------
    bool
        Its value.

    Raises
    ------
    TypeError
        For anything else: the text "no" would be true.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: got {shown(value)}; accepted: True or False")
    return bool(value)


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
        When it is not finite, or when a gradient by it would be lost.
    """
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


def instance(name: str, value: Any, kind: type | tuple[type, ...], what: str) -> None:
    """Say what is accepted, unless a value is of a kind.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given.
    kind : type or tuple of type
        The kind.
    what : str
        What the message calls the kind.

    Raises
    ------
    TypeError
        For another kind.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name}: got {shown(value)}; accepted: {what}")


def positive(name: str, value: Any) -> float:
    """Return a finite number above zero, or say what the argument should have been.

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
        When it is not above zero.
    """
    result = number(name, value)
    if not result > 0:
        raise ValueError(f"{name}: got {shown(value)}; accepted: a positive number")
    return result


def sweep_counts(sweeps: Any) -> tuple[int, int]:
    """Return the sweeps before and after a coarse correction, or say what the argument should have been.

    Parameters
    ----------
    sweeps : object
        What was given.

    Returns
    -------
    (int, int)
        Their values.

    Raises
    ------
    ValueError
        Unless there are two integers up to a million, at least one of them above zero.
    """
    try:
        before, after = (count("sweeps", sweep, 0, MOST_SWEEPS) for sweep in sweeps)
    except (TypeError, ValueError):
        raise ValueError(
            f"sweeps: got {shown(sweeps)}; accepted: two integers of at least 0, at most {MOST_SWEEPS:,}"
        ) from None
    if before + after == 0:
        raise ValueError(f"sweeps: got {shown(sweeps)}; accepted: at least one sweep")
    return before, after


def choice(name: str, value: Any, accepted: Collection[str]) -> None:
    """Say what is accepted, unless a value is one of some words.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given.
    accepted : collection of str
        The words.

    Raises
    ------
    ValueError
        For anything else.
    """
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{name}: got {shown(value)}; accepted: one of {tuple(accepted)}")


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
        raise ValueError(f"{name}: got {shown(value)}; accepted: a probability from 0 to 1")
    return p


def array(
    name: str, value: Any, sizes: Sequence[int | tuple[int, ...]], what: str, batch: bool = True
) -> Tensor:
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
    batch : bool, default True
        Whether there may be leading axes.

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
    x = data(name, value)
    if isinstance(x, np.ndarray):
        # torch shares neither negative strides nor read-only memory.
        x = torch.from_numpy(x if x.flags.c_contiguous and x.flags.writeable else x.copy(order="C"))
    shapes = [(size,) if isinstance(size, int) else size for size in sizes]
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


def data(name: str, value: Any) -> Tensor | np.ndarray:
    """Return numbers of whatever kind as float32 or float64: a tensor as a tensor, all else for NumPy.

    That is the one door through which numbers come in: lists, tuples and ranges, NumPy's arrays of any layout
    and byte order, tensors of any layout, and what turns into a NumPy array, as those of pandas and xarray
    do, by its values.

    Parameters
    ----------
    name : str
        What a message calls it.
    value : object
        What was given.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        Integers and other floats become float64. Memory is shared where it can be.

    Raises
    ------
    TypeError
        When it is no array of real numbers, or has a mask.
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
        raise TypeError(
            f"{name}: got {_kind(value)} ({shown(value)}); accepted: real numbers in one array{hint}: {error}"
        ) from None
    # Kinds of float that NumPy does not have itself, as bfloat16, are void to it.
    own = x.dtype.kind == "V" and not issubclass(x.dtype.type, np.void)
    if not own and x.dtype.kind not in ("fiub" if x.ndim else "fiu"):  # True alone is no number
        got = "" if x.ndim else f" ({shown(value)})"
        raise TypeError(f"{name}: got dtype {x.dtype}{got}; accepted: real numbers")
    if x.dtype not in (np.float32, np.float64):
        with np.errstate(over="ignore"):  # beyond float64 is not finite, which is looked for elsewhere
            x = x.astype(np.float32 if x.dtype == np.dtype(">f4") else np.float64)
    return x


def refuse_masked(name: str, value: Any) -> None:
    """Raise the error that tells what to do with a mask, which the values alone would lose.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given; lists are searched for rows with a mask.

    Raises
    ------
    TypeError
        For a masked array of NumPy or a masked tensor.
    """
    if isinstance(value, list | tuple):
        for entry in value:
            if not isinstance(entry, float | int):
                refuse_masked(name, entry)
    elif isinstance(value, np.ma.MaskedArray | torch.masked.MaskedTensor):
        raise TypeError(
            f"{name}: got a masked array of shape {tuple(value.shape)}; accepted: an array without a mask,"
            " values filled in where it hides them, as numpy.ma.filled(array, value) does"
        )


def refuse_tracked(name: str, value: Any) -> None:
    """Raise an error where derivatives by a value are asked for and there are none.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given.

    Raises
    ------
    ValueError
        For a tensor that requires a gradient or is under a transform of ``torch.func``.
    """
    if tracked(value):
        raise ValueError(
            f"{name}: got a tensor by which derivatives are taken; accepted: one without, such as"
            " tensor.detach(), since there is no derivative by it"
        )


def to_numpy(name: str, value: Any) -> np.ndarray:
    """Return an array of float32 or float64, or say what the argument should have been.

    Parameters
    ----------
    name : str
        What a message calls it.
    value : object
        What was given, as for :func:`data`.

    Returns
    -------
    numpy.ndarray
        The numbers.

    Raises
    ------
    TypeError, ValueError
        As for :func:`data`, and where a gradient would be lost.
    """
    refuse_tracked(name, value)
    x = data(name, value)
    return known_values(x) if isinstance(x, Tensor) else x


def transforming() -> bool:
    """Say whether ``torch.func`` takes derivatives at the moment, so that even new tensors are wrapped."""
    try:
        torch.zeros(1, device="cpu").numpy()
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


def held(name: str, value: float, dtype: torch.dtype, room: float = 1.0) -> float:
    """Return a number that a type can hold, or say what the argument should have been.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : float
        The number.
    dtype : torch.dtype
        The type.
    room : float, default 1.0
        What it is to be multiplied with later.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        When it, or what becomes of it, is beyond the largest of the type.
    """
    largest = torch.finfo(dtype).max / room
    if not abs(value) <= largest:
        kind = str(dtype).removeprefix("torch.")
        raise ValueError(f"{name}: got {value!r}; accepted: what {kind} holds, up to {largest:.3g}")
    return value


def count(name: str, value: Any, least: int = 1, most: float = math.inf) -> int:
    """Return an integer in a range, or say what the argument should have been.

    Parameters
    ----------
    name : str
        What the message calls it.
    value : object
        What was given.
    least : int, default 1
        The smallest accepted.
    most : int, optional
        The largest accepted.

    Returns
    -------
    int
        Its value.

    Raises
    ------
    TypeError
        When it is no integer; True and False are none.
    ValueError
        When it is too small or too large.
    """
    accepted = f"an integer of at least {least}" if most == math.inf else f"an integer from {least} to {most}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: got {shown(value)}; accepted: {accepted}")
    if not least <= int(value) <= most:
        raise ValueError(f"{name}: got {shown(value)}; accepted: {accepted}")
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
        raise ValueError(f"dtype: got {shown(dtype)}; accepted: torch.float32 or torch.float64")
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
        raise ValueError(f"device: got {shown(device)}; accepted: 'cpu' or 'cuda'")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: got {shown(device)}, but torch finds no CUDA device here; accepted: 'cpu'")
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


@contextlib.contextmanager
def within_memory(n: Any) -> Iterator[None]:
    """Turn what the system, NumPy or torch say when memory runs out into a :class:`ResourceError`.

    Parameters
    ----------
    n : object
        Size of the problem, for the message.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        if isinstance(error, ResourceError) or not is_shortage(error):
            raise
        raise ResourceError(
            f"n: got {shown(n)}, for which memory ran out; accepted: what fits into the memory that is free"
        ) from error


def is_shortage(error: Exception) -> bool:
    """Say whether an error of the system, of NumPy or of torch means that there is no more memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # On a CPU torch has no error of its own for it.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


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
