"""A model from what a file says of it: no larger than the numbers in the file, or none at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module
from torch.nn.parameter import is_lazy

from ..core.checks import shown
from .registry import create

__all__ = ["restore"]

# Bounds of a spec: how many values it has, the largest integer, the longest string; and of its model: how
# many modules, parameters and buffers. ResNet-110 has 1,313 of them, 20,000 are made in a second or two.
VALUES, INTEGER, LETTERS, PARTS = 1000, 2**20, 1000, 20_000
# Bytes of buffers that a model has and does not save.
UNSAVED = 2**24


def restore(spec: Mapping[str, Any], weights: Mapping[str, Any]) -> nn.Module:
    """Return the model that a spec names, with given weights.

    Neither need be trusted. The model is made on torch's meta device at first, where it has shapes only, and
    in earnest when they are known to be those of the weights.

    Parameters
    ----------
    spec : dict
        The model's attribute ``spec``, see :func:`mgnet.models.create`.
    weights : dict of str to torch.Tensor
        What ``state_dict()`` of such a model gives.

    Returns
    -------
    torch.nn.Module
        On the CPU.

    Raises
    ------
    TypeError, ValueError
        For a spec of which no model can be made, or one that is too large, and for weights of another model;
        they name what is missing or differs.

    Examples
    --------
    >>> model = create("logistic")
    >>> restore(model.spec, model.state_dict()).spec["name"]
    'logistic'
    """
    _require_small("spec", dict(spec), [])
    _require_weights(_outlined(spec), weights)
    model = create(**spec)
    model.load_state_dict(dict(weights))
    return model


def _require_small(name: str, value: Any, seen: list[None]) -> None:
    seen.append(None)
    if len(seen) > VALUES:
        raise ValueError(f"spec: got more than {VALUES} values; accepted: fewer")
    if isinstance(value, list | tuple | dict):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            _require_small(f"{name}[{shown(key)}]", entry, seen)
    too_large = isinstance(value, int) and abs(value) > INTEGER
    if too_large or (isinstance(value, str) and len(value) > LETTERS):
        accepted = f"integers up to {INTEGER:,}, and {LETTERS:,} letters"
        raise ValueError(f"{name}: got {shown(value)}; accepted from a file: {accepted}")


def _outlined(spec: Mapping[str, Any]) -> nn.Module:
    """Return the model without numbers; one of a user's own that looks at numbers has them."""
    try:
        with torch.device("meta"):
            return _made(spec)
    except (RuntimeError, TypeError) as error:
        if "meta" not in str(error):
            raise
        return _made(spec)


def _made(spec: Mapping[str, Any]) -> nn.Module:
    try:
        with _few_parts():
            return create(**spec)
    except (ValueError, TypeError, RuntimeError, MemoryError):
        raise
    except Exception as error:  # of a factory that does not look at what it gets
        raise ValueError(f"spec: no model can be made of it ({type(error).__name__}: {error})") from error


@contextmanager
def _few_parts() -> Iterator[None]:
    """Refuse to make a model of very many parts in this thread."""
    left, thread = [PARTS], threading.get_ident()

    def count(*_: Any) -> None:
        left[0] -= threading.get_ident() == thread
        if left[0] < 0:
            raise ValueError(f"spec: asks for more than {PARTS:,} modules and parameters; accepted: fewer")

    with ExitStack() as hooks:
        for kind in ("module", "parameter", "buffer"):
            register = getattr(module, f"register_module_{kind}_registration_hook")
            hooks.callback(register(count).remove)
        yield


def _require_weights(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Refuse weights that are not the model's: name by name, shape by shape, and in memory of their own."""
    own = model.state_dict()
    missing, unknown = own.keys() - weights.keys(), weights.keys() - own.keys()
    if missing or unknown:
        name = min(map(str, missing or unknown))
        raise ValueError(f"model: {shown(name)} is {'missing' if missing else 'no part of the spec'}")
    for name, x in own.items():
        if is_lazy(x):  # it takes the shape that is in the file
            continue
        got, wanted = _kind(weights[name]), _kind(x)
        if got != wanted:
            raise ValueError(f"model: got {got} as {name}; accepted: {wanted}")
    numbers = {id(x): x for x in (*model.parameters(), *model.buffers()) if not is_lazy(x)}
    need = sum(x.nbytes for x in numbers.values())
    tensors = [x for x in weights.values() if isinstance(x, Tensor)]
    have = sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values())
    if need > have + UNSAVED:
        raise ValueError(f"model: has {have:,} bytes of numbers; accepted: the {need:,} of the spec's model")


def _kind(x: Any) -> str:
    if not isinstance(x, Tensor):
        return type(x).__name__
    return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
