"""Checkpoints: plain types and tensors under a hash, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from .files import replacing

__all__ = ["CheckpointError", "load", "save"]

MAGIC = b"mgnet checkpoint 1\n"
DIGEST = 64  # hexadecimal digits of SHA-256


class CheckpointError(ValueError):
    """A checkpoint is damaged, or is none."""


def save(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    path : path
        Where; its folder is made. What stands there is replaced in one step, when the new file is complete
        and on the disk.
    state : dict
        Tensors, numbers, strings and lists, tuples and dictionaries of them.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def load(path: str | os.PathLike[str], device: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint; nothing of it is unpacked before its hash has been checked.

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
        When the file is no checkpoint, or not the one that was written.
    FileNotFoundError
        When there is none.
    """
    content = Path(path).read_bytes()
    head = len(MAGIC) + DIGEST + 1
    if not content.startswith(MAGIC):
        raise CheckpointError(f"{path}: got something else; accepted: a checkpoint of mgnet")
    digest, payload = content[len(MAGIC) : head - 1].decode("ascii", "replace"), content[head:]
    if hashlib.sha256(payload).hexdigest() != digest:
        raise CheckpointError(f"{path}: damaged; its SHA-256 is not the one in its first lines")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path}: not readable by this version of torch ({error})") from error
    return state
