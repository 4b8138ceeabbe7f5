"""Checkpoints that were made to do harm: to run code, to fill memory, to hang, to end in a traceback."""

from __future__ import annotations

import builtins
import ctypes
import functools
import importlib
import io
import os
import pathlib
import pickle
import pydoc
import random
import runpy
import shutil
import subprocess
import timeit
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import serialization, storage

from mgnet import checkpoint


class Call:
    """What a pickle calls when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.what = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.what


def executing(canary: str) -> dict[str, Any]:
    """Give objects whose reading would make the file ``canary``, if it were done by pickle alone."""
    touch, make = f"touch {canary}", f"open({canary!r}, 'x').close()"
    script = pathlib.Path(f"{canary}.py")
    script.write_text(make)
    inner = pickle.dumps(Call(os.mkdir, canary))
    return {
        "os.mkdir": Call(os.mkdir, canary),
        "os.system": Call(os.system, touch),
        "os.popen": Call(os.popen, touch),
        "os.open": Call(os.open, canary, os.O_CREAT),
        "os.mkfifo": Call(os.mkfifo, canary),
        "os.symlink": Call(os.symlink, "x", canary),
        "os.makedirs": Call(os.makedirs, canary),
        "os.posix_spawn": Call(os.posix_spawn, "/bin/mkdir", ["mkdir", canary], {}),
        "os.spawnv": Call(os.spawnv, os.P_WAIT, "/bin/mkdir", ["mkdir", canary]),
        "subprocess.Popen": Call(subprocess.Popen, ["mkdir", canary]),
        "subprocess.call": Call(subprocess.call, ["mkdir", canary]),
        "subprocess.check_output": Call(subprocess.check_output, ["mkdir", canary]),
        "subprocess.getoutput": Call(subprocess.getoutput, touch),
        "exec": Call(builtins.exec, make),
        "eval": Call(builtins.eval, make),
        "open": Call(builtins.open, canary, "x"),
        "getattr": Call(builtins.getattr, Call(importlib.import_module, "os"), "mkdir"),
        "__import__": Call(builtins.__import__, "antigravity"),
        "map": Call(builtins.list, Call(builtins.map, os.mkdir, [canary])),
        "partial": Call(functools.reduce, Call(functools.partial, os.mkdir), [canary, 511]),
        "pathlib.Path.touch": Call(pathlib.Path.touch, pathlib.Path(canary)),
        "pathlib.Path.mkdir": Call(pathlib.Path.mkdir, pathlib.Path(canary)),
        "shutil.copy": Call(shutil.copy, str(script), canary),
        "shutil.move": Call(shutil.move, str(script), canary),
        "runpy.run_path": Call(runpy.run_path, str(script)),
        "timeit.timeit": Call(timeit.timeit, make, "pass", timeit.default_timer, 1),
        "pydoc.pipepager": Call(pydoc.pipepager, "", touch),
        "ctypes.CDLL": Call(ctypes.CDLL, str(script)),
        "numpy.save": Call(np.save, canary, 1),
        "numpy.savetxt": Call(np.savetxt, canary, [1]),
        "numpy.fromfile": Call(np.fromfile, "/dev/zero"),
        "numpy.load": Call(functools.partial(np.load, allow_pickle=True), io.BytesIO(inner)),
        "torch.save": Call(torch.save, 1, canary),
        "torch.load": Call(functools.partial(torch.load, weights_only=False), io.BytesIO(inner)),
        "torch.storage._load_from_bytes": Call(storage._load_from_bytes, inner),
        "torch.UntypedStorage.from_file": Call(torch.UntypedStorage.from_file, canary, True, 8),
        "torch.serialization.add_safe_globals": [
            Call(serialization.add_safe_globals, [os.mkdir]),
            Call(os.mkdir, canary),
        ],
        "pickle.loads": Call(pickle.loads, inner),
        "mgnet.checkpoint.save": Call(checkpoint.save, canary, {}),
    }


# Pickles are put together by hand where pickle itself would not write them.

PROTOCOL = b"\x80\x02"
PLAIN = pickle.dumps({"model": 1}, 2)


def called(module: str, name: str, arguments: bytes) -> bytes:
    """Return the pickle of a call."""
    return PROTOCOL + f"c{module}\n{name}\n".encode() + arguments + b"R."


def number(value: int) -> bytes:
    """Return the opcodes of a whole number."""
    digits = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(digits)]) + digits


def tensor(elements: int, sizes: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    """Return the pickle of a tensor that says so of itself; its storage is the entry ``0``."""
    kept = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    kept += number(elements) + b"tQ"
    shape = b"(" + b"".join(map(number, sizes)) + b"t"
    steps = b"(" + b"".join(map(number, strides)) + b"t"
    rest = b"\x89ccollections\nOrderedDict\n)R"
    arguments = b"(" + kept + number(offset) + shape + steps + rest + b"t"
    return called("torch._utils", "_rebuild_tensor_v2", arguments)


def archive(
    content: bytes, entries: Mapping[str, bytes] | None = None, packing: int = zipfile.ZIP_STORED
) -> bytes:
    """Return the archive that torch would write around a pickle and storages."""
    buffer = io.BytesIO()
    everything = {"data.pkl": content, "byteorder": b"little", **(entries or {}), "version": b"3\n"}
    with zipfile.ZipFile(buffer, "w", packing) as file:
        for name, entry in everything.items():
            file.writestr(f"archive/{name}", entry)
    return buffer.getvalue()


def sealed(payload: bytes) -> bytes:
    """Return a checkpoint file with a payload and its right hash."""
    return checkpoint.MAGIC + checkpoint.hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def _doubled(levels: int, opcode: bytes) -> bytes:
    """Return the pickle of lists that hold the next one twice: small, and endless to walk through."""
    content = PROTOCOL + b"]q\x00"
    for level in range(levels):
        content += opcode + b"(h" + bytes([level]) + b"h" + bytes([level]) + b"eq" + bytes([level + 1])
    return content + b"."


def _zip_with(change: Callable[[bytearray], None]) -> bytes:
    content = bytearray(archive(PLAIN))
    change(content)
    return bytes(content)


def _declared(size: int) -> Callable[[bytearray], None]:
    """Let the directory of an archive declare another size of its last entry."""

    def change(content: bytearray) -> None:
        place = content.rindex(b"PK\x01\x02")
        content[place + 20 : place + 28] = size.to_bytes(4, "little") * 2

    return change


def _encrypted(content: bytearray) -> None:
    content[content.rindex(b"PK\x01\x02") + 8] |= 1


def _duplicates() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as file:
        warnings.simplefilter("ignore")
        for content in (PLAIN, pickle.dumps(Call(os.mkdir, "canary"), 2)):
            file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
    return buffer.getvalue()


MUCH = 3 * 10**9


def filling() -> dict[str, bytes]:
    """Give payloads that would fill memory, never end, or end in an exception that nobody expects."""
    return {**_pickles(), **_tensors(), **_archives()}


def _pickles() -> dict[str, bytes]:
    much = number(MUCH) + b"\x85"
    array = called("builtins", "bytearray", much)
    digits = (10**6).to_bytes(4, "little") + b"\x7f" * 10**6
    contents = {
        "bytearray(3e9)": array,
        "a set of 3e9": called("builtins", "set", much),
        "torch.Size of a call": called("torch", "Size", array[len(PROTOCOL) : -1] + b"\x85"),
        "a list 1e5 deep": PROTOCOL + b"]" * 100_000 + b"a" * 99_999 + b".",
        "a tuple 1e5 deep": PROTOCOL + b")" + b"\x85" * 100_000 + b".",
        "lists doubled 28 times": _doubled(28, b"]"),
        "lists doubled 200 times": _doubled(200, b"]"),
        "a number of 1e6 digits": PROTOCOL + b"\x8b" + digits + b".",
        "a string that says it has 3e9 bytes": PROTOCOL + b"X" + MUCH.to_bytes(4, "little") + b"x.",
        "no end": PROTOCOL + b"}",
        "an empty pickle": b"",
        "a stack that is empty": PROTOCOL + b".",
        "an opcode that is none": PROTOCOL + b"\xff.",
        "a memory that was never filled": PROTOCOL + b"h\x05.",
        "a dictionary with a list as key": PROTOCOL + b"}(]K\x01u.",
        "a list that holds itself": PROTOCOL + b"]q\x00h\x00a.",
        "a dictionary that holds itself": PROTOCOL + b"}q\x00X\x05\x00\x00\x00modelh\x00s.",
        "not a dictionary": pickle.dumps([1, 2], 2),
        "a number": pickle.dumps(1, 2),
    }
    return {name: archive(content) for name, content in contents.items()}


def _tensors() -> dict[str, bytes]:
    one = {"data/0": bytes(4)}
    return {
        "a tensor of 3e9 numbers from 4 bytes": archive(tensor(10**9, (10**9,), (1,)), one),
        "a tensor of one number, 3e9 times": archive(tensor(1, (MUCH,), (0,)), one),
        "a tensor of 1e18 numbers": archive(tensor(1, (10**18,), (0,)), one),
        "a tensor of 1e30 numbers": archive(tensor(1, (10**10,) * 3, (0, 0, 0)), one),
        "a tensor that begins before its storage": archive(tensor(1, (1,), (1,), -100), one),
        "a tensor that ends behind its storage": archive(tensor(1, (9,), (1,)), one),
        "a tensor with a negative stride": archive(tensor(9, (9,), (-1,)), {"data/0": bytes(36)}),
        "a tensor without its storage": archive(tensor(1, (1,), (1,))),
    }


def _archives() -> dict[str, bytes]:
    zeros = bytes(2**26)
    many = {f"data/{i}": b"" for i in range(20_000)}
    large = pickle.dumps({"model": zeros}, 2)
    return {
        "nothing": b"",
        "a text": b"no archive at all\n" * 100,
        "deflated": archive(large, packing=zipfile.ZIP_DEFLATED),
        "a deflated storage": archive(tensor(2**24, (2**24,), (1,)), {"data/0": zeros}, zipfile.ZIP_DEFLATED),
        "an entry compressed by bzip2": archive(large, packing=zipfile.ZIP_BZIP2),
        "an entry compressed by lzma": archive(large, packing=zipfile.ZIP_LZMA),
        "an entry that says it has 3e9 bytes": _zip_with(_declared(MUCH)),
        "an entry that says it has nothing": _zip_with(_declared(0)),
        "an encrypted entry": _zip_with(_encrypted),
        "a pickle twice": _duplicates(),
        "20,000 entries": archive(PLAIN, many),
        "an entry that leads out": archive(PLAIN, {"../../../mgnet-evil": b"evil"}),
        "a model compiled by torch.jit": archive(PLAIN, {"constants.pkl": b"x", "code/x.py": b"x"}),
        "a byte order that is none": archive(PLAIN, {"byteorder": b"middle"}),
        "an old pickle of torch": _legacy(),
        "a tar of torch": b"\x00" * 257 + b"ustar\x00" + bytes(10_000),
    }


def _legacy() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": torch.zeros(3)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


# What is a checkpoint, and not of this package's form.

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**8, 10**18, 2**70, 1e308, float("nan"), "", "x" * 1000, "\x1b[2J\n", b"x", [], [[]],
    [10**8], [-1], ["x"], {}, {"a": 1}, {1: 2}, (), [1.5] * 1000, torch.zeros(3), torch.zeros(0),
    torch.zeros(2, dtype=torch.complex64), torch.zeros(1, dtype=torch.float64).expand(10**6),
    torch.full((10,), float("nan")), torch.zeros(3).to_sparse(),
)  # fmt: skip


def mutated(state: Any, draw: random.Random) -> Any:
    """Return a state in which something is missing, added, or another."""
    if isinstance(state, dict | list) and state and draw.random() < 0.75:
        places = list(state) if isinstance(state, dict) else list(range(len(state)))
        place = draw.choice(places)
        changed = state.copy()
        if draw.random() < 0.15:
            del changed[place]
        elif draw.random() < 0.1 and isinstance(changed, dict):
            changed[draw.choice(["extra", 5, None, "nu", "depth"])] = draw.choice(VALUES)
        else:
            changed[place] = mutated(state[place], draw)
        return changed
    return draw.choice(VALUES)
