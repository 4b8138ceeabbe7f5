"""A network looked at without numbers: the graph of its calls, and a copy that has shapes only."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

__all__ = ["image", "meta_copy", "modules_called", "shapes", "trace"]


class _Tracer(fx.Tracer):
    """Follows calls down to modules without children: those may do in Python what they like."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(True for _ in m.children()) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.Graph:
    """Return the graph of a forward pass: every module without children is one node per call.

    Nothing is computed, and the network is left as it is. When the path through it depends on the numbers in
    it, that is a TypeError.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    try:
        return _Tracer().trace(model, concrete_args=defaults or None)
    except Exception as error:  # the forward pass is the user's, and may fail in any way
        raise TypeError(
            f"model: got {type(model).__name__}, whose forward pass torch.fx cannot follow ({error});"
            " accepted: one that takes the same path for every input"
        ) from error


def modules_called(model: nn.Module, graph: fx.Graph) -> dict[nn.Module, list[fx.Node]]:
    """Return every module that the graph calls, with its calls; both in the order of the calls."""
    calls: dict[nn.Module, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls.setdefault(model.get_submodule(node.target), []).append(node)
    return calls


def meta_copy(model: nn.Module) -> nn.Module:
    """Return a copy whose tensors have shapes but no numbers, so that it takes no memory and no time.

    They are on the device ``"meta"``.
    """
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
    """Return the shape of every tensor in a forward pass of one image, by the name of its node.

    The image's own shape is (C, ...).
    """
    run = _Shapes(cast(fx.GraphModule, meta_copy(model).eval()))
    run.run(image(model, image_shape))
    return run.shapes


def image(model: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return one image without numbers, on the device ``"meta"``, in the precision of a network.

    From its shape (C, ...) it gets (1, C, ...).
    """
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return torch.empty(1, *shape, dtype=dtype, device="meta")
