"""A network looked at without numbers: the graph of its calls, and a copy that has shapes only."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

__all__ = ["image", "meta_copy", "shapes", "trace"]


class _Tracer(fx.Tracer):
    """Follows calls down to modules without children: those may do in Python what they like."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(True for _ in m.children()) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.Graph:
    """Return the graph of a forward pass: every module without children is one node per call."""
    parameters = inspect.signature(model.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    try:
        return _Tracer().trace(model, concrete_args=defaults or None)
    except Exception as error:  # the forward pass is the user's, and may fail in any way
        got = f"{type(model).__name__}, whose forward pass torch.fx cannot follow ({error})"
        accepted = "one that takes the same path for every input"
        raise TypeError(f"model: got {got}; accepted: {accepted}") from error


def meta_copy(model: nn.Module) -> nn.Module:
    """Return a copy on the device ``"meta"``: its tensors have shapes, no numbers, and take no memory."""
    empty: dict[int, Tensor] = {id(b): b.to("meta") for b in model.buffers()}
    empty |= {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, empty)  # what deepcopy finds in its memo it takes for copied


class _Shapes(fx.Interpreter):
    def __init__(self, model: fx.GraphModule) -> None:
        super().__init__(model)
        self.shapes: dict[str, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n.name] = value.shape
        return value


def shapes(model: fx.GraphModule, image_shape: Sequence[int]) -> dict[str, torch.Size]:
    """Return the shape of every tensor in a forward pass of one image (C, ...), by the name of its node."""
    run = _Shapes(cast(fx.GraphModule, meta_copy(model).eval()))
    run.run(image(model, image_shape))
    return run.shapes


def image(model: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return one image (1, C, ...) on the device ``"meta"``, in the precision of a network."""
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return torch.empty(1, *shape, dtype=dtype, device="meta")
