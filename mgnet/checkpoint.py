"""Checkpoints: plain types and tensors under a hash, written whole or not at all.

The hash finds damage. It is no signature: who writes a file can hash it. So a file with the right hash is
still a stranger's, and is looked through before torch unpacks it, see :mod:`mgnet.core.untrusted`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .core.checks import find_device, shown
from .core.files import regular, replacing
from .core.resources import is_shortage
from .core.untrusted import OPCODES, STORAGES, TENSORS, entries, is_legacy, legacy, outline

__all__ = ["CheckpointError", "load", "require_plain", "save"]

MAGIC = b"mgnet checkpoint 1\n"
DIGEST = 64  # hexadecimal digits of SHA-256
HEAD = len(MAGIC) + DIGEST + 1

# Bytes of a file, where zips get another form, and of its tensors.
LARGEST, MEMORY = 2**32 - 1, 2**32 - 2**26
# How deep lists and dictionaries stand in each other, bits of an integer, characters of all strings.
DEPTH, BITS, CHARACTERS = 32, 64, 2**20

# Letters of a message: what it quotes is a stranger's.
SAID = 400
ACCEPTED = "tensors, numbers, strings, None, and lists, tuples and dictionaries of them"


class CheckpointError(ValueError):
    """A checkpoint is damaged, or is none."""


def save(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a checkpoint.

    It takes about as much memory as the tensors, for their copy.

    Parameters
    ----------
    path : path
        Where; its folder is made. What stands there is replaced in one step, when the new file is complete
        and on the disk.
    state : dict
        Tensors, numbers, strings and lists, tuples and dictionaries of them.

    Raises
    ------
    TypeError, ValueError
        For what :func:`load` would not read, as :func:`require_plain` says.
    """
    require_plain(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(_head(payload))
        file.write(payload)


def _head(payload: bytes | memoryview) -> bytes:
    return MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n"


def require_plain(state: Any) -> None:
    """Raise the error that names what a checkpoint cannot hold, if there is anything.

    Parameters
    ----------
    state : object
        What is to be saved: a dictionary whose keys are strings or integers, of tensors with memory of their
        own, numbers, strings, None, and lists, tuples and dictionaries of them.

    Raises
    ------
    TypeError
        For another type, as a number of NumPy, a path, a set, or a sparse tensor; it names the place, as
        ``state['spec']['nu'][0]``.
    ValueError
        For more than a file may have: 4 GiB, or a million numbers, say, beside the tensors.
    """
    if type(state) is not dict:
        raise TypeError(f"state: got {_shown(state)}; accepted: a dictionary")
    steps = tensors = characters = 0
    strings: set[int] = set()
    memory: dict[tuple[torch.device, int], int] = {}
    for value in _parts((), state):
        steps += _opcodes(value)
        if type(value) is str and id(value) not in strings:  # it is written once
            strings.add(id(value))
            characters += len(value)
        elif isinstance(value, Tensor):
            tensors += 1
            storage = value.untyped_storage()
            memory[value.device, storage.data_ptr()] = storage.nbytes()
        if steps > OPCODES or tensors > TENSORS or characters > CHARACTERS:
            accepted = f"about {OPCODES:,} numbers, {TENSORS:,} tensors and {CHARACTERS:,} characters"
            raise ValueError(f"state: got more than a checkpoint holds; accepted: {accepted}")
    if sum(memory.values()) > MEMORY:
        raise ValueError(f"state: got tensors of {sum(memory.values()):,} bytes; accepted: up to {MEMORY:,}")


def opcodes(state: Any) -> int:
    """Return at least as many opcodes as :func:`save` writes for what :func:`require_plain` lets through."""
    return sum(_opcodes(value) for value in _parts((), state))


def _opcodes(value: Any) -> int:
    """Return at least as many opcodes as torch.save writes for a value, without what is in it."""
    if isinstance(value, Tensor):
        return 50 + 2 * value.ndim
    if isinstance(value, list | tuple | dict):
        return 5 + len(value) // 100  # which it writes by the thousand
    return 2 if isinstance(value, str) else 1


def _parts(keys: tuple[Any, ...], value: Any) -> Iterator[Any]:
    """Yield a value and all that is in it, keys too, as often as it stands there."""
    if len(keys) > DEPTH:
        raise ValueError(f"state: got more than {DEPTH} lists in each other; accepted: fewer")
    kind = type(value)
    if kind not in (list, tuple, dict, OrderedDict):
        _require_leaf(keys, value)
    yield value
    if kind in (list, tuple):
        for i, entry in enumerate(value):
            yield from _parts((*keys, i), entry)
    elif kind in (dict, OrderedDict):
        # Beside the weights of a model, torch keeps what it calls their metadata.
        for key, entry in (*value.items(), *(vars(value).items() if kind is OrderedDict else ())):
            if type(key) not in (str, int):
                raise TypeError(f"{_name(keys)}: got the key {_shown(key)}; accepted: strings and integers")
            _require_leaf(keys, key)
            yield key
            yield from _parts((*keys, key), entry)


def _require_leaf(keys: tuple[Any, ...], value: Any) -> None:
    if type(value) in (Tensor, nn.Parameter):
        _require_own_memory(keys, value)
    elif type(value) is int:
        bits = value.bit_length()
        if bits > BITS:
            raise ValueError(f"{_name(keys)}: got an integer of {bits} bits; accepted: up to {BITS}")
    elif value is not None and type(value) not in (bool, float, str):
        raise TypeError(f"{_name(keys)}: got {_shown(value)}; accepted: {ACCEPTED}")


def _require_own_memory(keys: tuple[Any, ...], x: Tensor) -> None:
    """Refuse tensors that are no plain array, or larger than their memory."""
    refused = {
        "a nested tensor": x.is_nested,
        "a quantised tensor": x.is_quantized,
        "a meta tensor": x.is_meta,
        f"a tensor of layout {x.layout}": x.layout is not torch.strided,
        f"a tensor of {x.dtype}": x.dtype not in STORAGES.values(),
        "a tensor that is to be conjugated or negated": x.is_conj() or x.is_neg(),
        "a tensor with attributes": bool(vars(x)),
    }
    for kind, holds in refused.items():
        if holds:
            raise TypeError(f"{_name(keys)}: got {kind}; accepted: a plain array")
    if x.numel() * x.itemsize > x.untyped_storage().nbytes() - x.storage_offset() * x.itemsize:
        raise TypeError(f"{_name(keys)}: got a tensor that repeats its memory; accepted: x.contiguous()")


def _name(keys: tuple[Any, ...]) -> str:
    return "state" + "".join(f"[{shown(key)}]" for key in keys)


def _shown(value: Any) -> str:
    kind, module = type(value).__qualname__, type(value).__module__
    kind = kind if module.partition(".")[0] in ("builtins", "mgnet") else f"{module}.{kind}"
    return f"{kind} ({shown(value)})"


def load(path: str | os.PathLike[str], device: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint; nothing of it is unpacked before its hash and its structure have been checked.

    The file is read once. Whatever it says, no more memory is taken than twice its size, for the file and for
    the tensors, and 100 MB for what is no tensor.

    Parameters
    ----------
    path : path
        What :func:`save` wrote.
    device : str or torch.device, default "cpu"
        Where the tensors go.

    Returns
    -------
    dict
        What was saved.

    Raises
    ------
    CheckpointError
        When the file is no checkpoint, or not the one that was written; when it is no file but a pipe, say.
    FileNotFoundError
        When there is none.
    """
    place = find_device(device)
    with blamed(path):
        payload = _payload(path)
        with _described("its archive is none of torch"):
            archived = _archived(payload)
        with _described("its structure is none that mgnet writes"):
            require_plain(outline(*archived))
        return _unpacked(payload, place)


def _archived(payload: bytes) -> tuple[bytes, dict[str, int]]:
    """Return the pickle in an archive of torch, and the bytes of each memory that it may name."""
    found = entries(memoryview(payload))
    sizes = {name.removeprefix("data/"): len(entry) for name, entry in found.items()}
    return bytes(found["data.pkl"]), sizes


def _unpacked(payload: bytes, place: torch.device) -> dict[str, Any]:
    with _described("not readable by this version of torch", reason=False):
        return torch.load(io.BytesIO(payload), map_location=place, weights_only=True)


def foreign(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what torch.save wrote elsewhere, in its form of today or that of before 2020, on the CPU.

    It is looked through first, as a checkpoint is, and takes no more memory. What is damaged, or no
    dictionary of tensors and plain types, is a :class:`CheckpointError`; a file that is not there a
    FileNotFoundError.
    """
    with blamed(path):
        with regular(path) as file:
            payload = _bounded(file)
        with _described("it is not what torch.save(model.state_dict(), path) writes"):
            state = legacy(payload) if is_legacy(payload) else outline(*_archived(payload))
            require_plain(dict(state) if isinstance(state, OrderedDict) else state)
        return _unpacked(payload, torch.device("cpu"))


def _payload(path: str | os.PathLike[str]) -> bytes:
    """Return what stands under the hash, if it is that."""
    with regular(path) as file:
        head = file.read(HEAD)
        if not head.startswith(MAGIC):  # before anything else is read
            raise ValueError("got something else; accepted: a checkpoint of mgnet")
        payload = _bounded(file)
    if head != _head(payload):
        raise ValueError("damaged; its SHA-256 is not the one in its first lines")
    return payload


def _bounded(file: BufferedReader) -> bytes:
    """Read the rest of a file, as long as it was when it was opened."""
    size = os.fstat(file.fileno()).st_size
    if size > LARGEST:
        raise ValueError(f"got {size:,} bytes; accepted: less than 4 GiB")
    return file.read(size - file.tell())


@contextmanager
def blamed(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say that it is a file's fault if something is wrong, by a :class:`mgnet.CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_shortage(error):
            raise
        raise CheckpointError(f"{path}: {' '.join(str(error).split())[:SAID]}") from error


@contextmanager
def _described(words: str, reason: bool = True) -> Iterator[None]:
    """Say in words of our own what is wrong, whatever fails: torch's would advise to trust the file."""
    try:
        yield
    except Exception as error:
        if is_shortage(error):
            raise
        raise ValueError(f"{words}: {str(error)[:200]}" if reason else words) from error
