"""A device that is only pretended: its tensors hold CPU memory, and what a GPU would refuse raises.

Operations compute what the CPU's do, so answers agree to the last bits, but nothing gets past the device: a
CPU tensor among the arguments, or its memory handed to NumPy, is an error as on a GPU. Launches and waits of
the host are counted, by operation and by the line of the package that asked. This is no test of times, of
what CUDA's own kernels round or lack, nor of autocast, torch.compile, vmap, forward-mode derivatives and
torch.save.

torch keeps the name of a device that is registered for good: a process that has this one does nothing else.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

import mgnet

NAME = "pretended"
PACKAGE = Path(mgnet.__file__).parent

# Operations that only look at memory in another way, or take some: no kernel.
VIEWS = """alias as_strided detach diagonal expand lift_fresh narrow permute select slice split
    split_with_sizes squeeze t transpose unbind unfold unsqueeze view _reshape_alias _unsafe_view""".split()
MEMORY = "empty empty_like empty_strided new_empty new_empty_strided".split()
FREE = {*VIEWS, *MEMORY}
# Operations whose results the host must have before it goes on.
READS = {"_local_scalar_dense", "_linalg_check_errors", "equal", "is_nonzero", "masked_select", "nonzero"}
COPIES = {"copy_", "_to_copy"}
GATHERS = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Module(_DummyBackendModule):
    """What torch asks of a device besides operations: the state of its two random generators, for one."""

    states = [torch.zeros(1, dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8)]

    def device_count(self) -> int:
        return len(self.states)

    def device(self, device: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.states[torch.device(device).index or 0].clone()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.states[torch.device(device).index or 0] = state.clone()

    def manual_seed(self, seed: int) -> None:
        self.states[0].fill_(seed % 256)

    def manual_seed_all(self, seed: int) -> None:
        for state in self.states:
            state.fill_(seed % 256)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend(NAME, Module())


@dataclass
class Counts:
    """What was asked of the device, by operation and line."""

    launches: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        """Begin anew."""
        self.launches.clear()
        self.waits.clear()


class OnDevice(Tensor):
    """A tensor that says it is on the device; ``memory`` has its values."""

    memory: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, x: Tensor) -> OnDevice:
        self = Tensor._make_wrapper_subclass(
            cls,
            x.size(),
            strides=x.stride(),
            storage_offset=x.storage_offset(),
            dtype=x.dtype,
            device=torch.device(NAME, 0),
        )
        self.memory = x
        return self

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy")

    def __repr__(self) -> str:
        return f"OnDevice({self.memory!r})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _Call(f, args, kwargs or {}).run(Counts())


class _Call:
    """One operation and its arguments, of which some may be on the device."""

    def __init__(self, f: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.f, self.args, self.kwargs = f, args, kwargs
        self.name = f._schema.name.partition("::")[2]
        self.named = {a.name: x for a, x in zip(f._schema.arguments, args, strict=False)} | kwargs
        self.tensors = list(_tensors((*args, *kwargs.values())))
        self.ours = [x for x in self.tensors if isinstance(x, OnDevice)]

    @property
    def onto(self) -> bool:
        """Whether the result is on the device."""
        if self.name == "copy_":
            return isinstance(self.named["self"], OnDevice)
        target = self.kwargs.get("device")
        return bool(self.ours) if target is None else _is_ours(target)

    @property
    def wait(self) -> str:
        """What the host waits for, if for anything."""
        if self.name in COPIES and self.onto != isinstance(self._source, OnDevice):
            # Copies to the host are waited for, whatever they were asked: what is read too early is wrong.
            async_upload = self.onto and self.named.get("non_blocking") and hasattr(self._source, "pinned")
            return "" if async_upload else "upload" if self.onto else "download"
        if any(not isinstance(i, OnDevice) for i in self._indices()):
            return "upload"
        masks = any(i.dtype == torch.bool for i in self._indices())
        return "read" if self.name in READS or masks else ""

    @property
    def _source(self) -> Tensor:
        return self.named["src" if self.name == "copy_" else "self"]

    def _indices(self) -> list[Tensor]:
        return [i for i in self.named["indices"] if i is not None] if self.name in GATHERS else []

    def refuse_mixtures(self) -> None:
        """Raise as a GPU does: only copies, indices and single numbers may be on the host."""
        allowed = {id(i) for i in self._indices()}
        there = [x for x in self.tensors if x.ndim and not isinstance(x, OnDevice) and id(x) not in allowed]
        if there and self.name not in COPIES:
            raise RuntimeError(f"Expected all tensors to be on the same device: {self.f} got one on the CPU")

    def run(self, counts: Counts) -> Any:
        """Compute on the CPU and give the result a device."""
        onto, wait = self.onto, self.wait
        self.refuse_mixtures()
        if self.name == "as_strided_":  # convolutions ask for other strides of axes of one entry
            return self.args[0]
        line = _line()
        if wait:
            counts.waits[f"{wait} {line}"] += 1
        elif self.name not in FREE:
            counts.launches[f"{self.name} {line}"] += 1
        kwargs = {k: torch.device("cpu") if k == "device" and onto else x for k, x in self.kwargs.items()}
        out = self.f(*_inside(self.args), **{k: _inside(x) for k, x in kwargs.items()})
        return self._given(_outside(out) if onto else out)

    def _given(self, out: Any) -> Any:
        """Return what the caller expects: the tensors written into, or new ones that know what they view."""
        schema = self.f._schema
        outs = [a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write]
        written = [self.named[name] for name in outs if name in self.named]
        if written:
            several = tuple(written) if len(written) > 1 else written[0]
            return several if schema.returns else None
        if self.name in FREE and self.ours:
            for x in _tensors(out):
                torch._functionalize_unsafe_set(x, self.ours[0])
        return out


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, list | tuple):
        for y in x:
            yield from _tensors(y)


def _inside(x: Any) -> Any:
    """Give the memory of tensors, however they are nested."""
    if isinstance(x, OnDevice):
        return x.memory
    return type(x)(map(_inside, x)) if isinstance(x, list | tuple) else x


def _outside(x: Any) -> Any:
    """Put tensors on the device, however they are nested."""
    if isinstance(x, Tensor):
        return OnDevice(x)
    return type(x)(map(_outside, x)) if isinstance(x, list | tuple) else x


class _Mode(TorchDispatchMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if f is torch.ops.aten._pin_memory.default:
            copy = args[0].clone()
            copy.pinned = True
            return copy
        if OnDevice not in types and not _is_ours(kwargs.get("device")):
            return f(*args, **kwargs)
        return _Call(f, args, kwargs).run(self.counts)


def _is_ours(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _line() -> str:
    """Name the line of the package that asked."""
    frame: Any = sys._getframe(1)
    while frame and not _module(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{_module(frame.f_code.co_filename)}:{frame.f_lineno}" if frame else "outside"


@cache
def _module(file: str) -> str:
    """Name a file of the package; give nothing for others."""
    return Path(file).name if PACKAGE in Path(file).parents else ""


@contextlib.contextmanager
def pretended() -> Iterator[Counts]:
    """Let ``device="pretended"`` work; give the counts."""
    counts, before = Counts(), torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) copies where a mode can see it
    try:
        with _Mode(counts):
            yield counts
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
