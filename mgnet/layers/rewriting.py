"""Networks whose layers are rewritten, and compute what they computed: folded norms, a sliding classifier."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F  # noqa: N812

from ..core.checks import count, instance
from ..operators.convolutions import Stencil
from .graphs import shapes, trace
from .scratch import NORMS, BatchNorm, Dropout

__all__ = ["fold_batchnorm", "foldable", "linear_to_conv"]

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def foldable(model: nn.Module) -> list[tuple[str, str]]:
    """Return which batch normalisations can be folded into which layers.

    Such a norm gets all its inputs from one convolution or linear layer, and nothing else gets that layer's
    outputs or has its kernel. In an MgNet the norm of f − A u gets no convolution's output, and a kernel
    that several iterations share feeds several norms.

    Parameters
    ----------
    model : torch.nn.Module
        A network; its forward pass must take the same path for every input.

    Returns
    -------
    list of (str, str)
        The names of layer and norm, in the order of the calls.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    graph = trace(model)
    calls: dict[nn.Module, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls.setdefault(model.get_submodule(node.target), []).append(node)
    names = {module: name for name, module in model.named_modules()}
    # Those of fixed kernels are not among them: they stay what they are.
    parameters = [id(p) for module in model.modules() for p in module._parameters.values()]
    used = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    pairs = []
    for layer, nodes in calls.items():
        norm = _only_norm(model, nodes)
        if (
            isinstance(layer, LINEAR)
            and norm is not None
            and {node.all_input_nodes[0] for node in calls[norm]} == set(nodes)
            and parameters.count(id(layer.weight)) == 1
            and (layer.bias is None or parameters.count(id(layer.bias)) == 1)
            and used.isdisjoint((names[layer], names[norm]))
        ):
            pairs.append((names[layer], names[norm]))
    return pairs


def _only_norm(model: nn.Module, nodes: list[fx.Node]) -> nn.Module | None:
    """Give the norm with running statistics that alone uses these values, if there is one."""
    users = {user for node in nodes for user in node.users}
    found = {model.get_submodule(str(u.target)) if u.op == "call_module" else None for u in users}
    norm = found.pop() if len(found) == 1 else None
    return norm if isinstance(norm, NORMS) and norm.running_mean is not None else None


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """Return a copy in which batch normalisation is folded into the layers before it, where it can be.

    In evaluation a norm is a scale and a shift per channel; the layer before it takes both into its kernel
    and its bias, :eq:`folding`. :func:`foldable` says which: ``len(foldable(model))`` norms become
    identities.

    Parameters
    ----------
    model : torch.nn.Module
        A network in evaluation mode. Its linear layers act on (N, features), where norms follow them.

    Returns
    -------
    torch.nn.Module
        The same function with fewer operations, without the ``spec`` that made the original.

    Raises
    ------
    ValueError
        For a network in training mode, where norms depend on the batch.
    TypeError
        For one whose forward pass depends on the numbers in it.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    if any(module.training for module in model.modules()):
        raise ValueError("model: got training mode; accepted: evaluation mode, after model.eval()")
    folded = copy.deepcopy(model)
    folded.__dict__.pop("spec", None)  # it would rebuild the network with its norms
    by_name = dict(folded.named_modules(remove_duplicate=False))
    for layer, name in foldable(model):
        norm = by_name[name]
        _fold(by_name[layer], norm)
        for other, module in by_name.items():
            if module is norm:
                folded.set_submodule(other, nn.Identity())
    return folded.eval()


@torch.no_grad()
def _fold(layer: Any, norm: Any) -> None:
    """Take the scale and the shift of a norm into a layer, :eq:`folding`."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale if layer.bias is None else (layer.bias - norm.running_mean) * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    kernel = layer.weight
    kernel.copy_(kernel * scale.view(-1, *[1] * (kernel.ndim - 1)))  # eq: folding
    layer.bias = nn.Parameter(shift.to(kernel.dtype), requires_grad=kernel.requires_grad)


FLATTENING = (torch.flatten, torch.reshape, "flatten", "view", "reshape")
POOLS = {
    nn.AdaptiveAvgPool1d: nn.AvgPool1d,
    nn.AdaptiveAvgPool2d: nn.AvgPool2d,
    nn.AdaptiveAvgPool3d: nn.AvgPool3d,
}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# What acts on every number alone, or on every channel: it does not mind that there are pixels now.
POINTWISE = (
    *(nn.Identity, nn.Dropout, Dropout, BatchNorm, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU),
    *(nn.Softplus, nn.Tanh, nn.Sigmoid),
)
POINTWISE_CALLS = (
    *(F.relu, F.dropout, torch.relu, torch.tanh, torch.sigmoid),
    *("relu", "relu_", "tanh", "sigmoid", "float", "double", "to"),
)


def linear_to_conv(model: nn.Module, image_shape: Sequence[int] | None = None) -> fx.GraphModule:
    """Return a classifier as convolutions, which slide over larger images.

    The first linear layer behind the flattening becomes a convolution whose kernel is as large as what was
    flattened, :eq:`linear-as-convolution`, the others become 1×1, and adaptive average pooling gets a window
    of the size that it has on an image of the original shape. On such an image the result, of shape
    (N, classes, 1, 1), is what the model gave. On a larger one each pixel of the result is what the model
    gives on a window of the original size, and the windows are the product of all strides apart. That holds
    where no layer pads its input: the model sees zeros outside of a window, the convolutions see its
    neighbours.

    Parameters
    ----------
    model : torch.nn.Module
        A network that ends with linear layers behind a flattening. Its forward pass must take the same path
        for every input.
    image_shape : sequence of int, optional
        Shape (C, ...) of the images that it was made for. By default what its ``spec`` says; else the
        channels of the last convolution and a square are taken.

    Returns
    -------
    torch.fx.GraphModule
        A network with copies of all numbers.

    Raises
    ------
    ValueError
        For a model that does not end so, or where the shape is needed and cannot be told.
    TypeError
        For one whose forward pass depends on the numbers in it.
    """
    instance("model", model, nn.Module, "a torch.nn.Module")
    if image_shape is not None:
        instance("image_shape", image_shape, (tuple, list, torch.Size), "a shape (channels, ...)")
        image_shape = [count("image_shape", size) for size in image_shape]
        if len(image_shape) < 2:
            raise ValueError(f"image_shape: got {tuple(image_shape)}; accepted: (channels, ...)")
    spec = getattr(model, "spec", None)
    if image_shape is None and spec is not None:
        image_shape = (spec["in_channels"], *[spec["image_size"]] * spec.get("dim", 2))
    model = copy.deepcopy(model)
    traced = fx.GraphModule(model, trace(model), type(model).__name__)
    return _Sliding(traced, image_shape).rewritten()


class _Sliding:
    """The rewriting of one classifier: flat features, node by node, become pixels again."""

    def __init__(self, model: fx.GraphModule, image_shape: Sequence[int] | None) -> None:
        self.model = model
        self.shapes = {} if image_shape is None else shapes(model, image_shape)
        # From what is flat to what was flattened, or None where that has become one pixel.
        self.flat: dict[fx.Node, fx.Node | None] = {}
        self.dim = 0

    def rewritten(self) -> fx.GraphModule:
        for node in list(self.model.graph.nodes):
            kind = self._kind(node)
            flat = [source for source in node.all_input_nodes if source in self.flat]
            if isinstance(kind, nn.Linear):
                self._convolve(node, kind, flat)
            elif self._flattens(node, kind):
                self.flat[node] = node.args[0]
            elif flat and node.op != "output":
                self._follow(node, kind, flat[0])
            elif type(kind) in POOLS:
                self._pool(node)
        return self._finished()

    def _kind(self, node: fx.Node) -> Any:
        """Give the module, the function or the name of the method that a node calls."""
        return self.model.get_submodule(str(node.target)) if node.op == "call_module" else node.target

    def _flattens(self, node: fx.Node, kind: Any) -> bool:
        if not isinstance(kind, nn.Flatten) and (node.op == "get_attr" or kind not in FLATTENING):
            return False
        return len(self.shapes.get(node.name, (1, 1))) == 2

    def _convolve(self, node: fx.Node, linear: nn.Linear, flat: list[fx.Node]) -> None:
        if not flat:
            got = f"the linear layer {node.target!r}"
            raise ValueError(f"model: got {got}; accepted: one behind a flattening")
        window = self._window(self.flat[flat[0]], linear.in_features)
        self.dim = len(window)
        kernel = linear.weight.detach()
        convolution = Stencil(
            kernel.reshape(len(kernel), -1, *window),  # eq: linear-as-convolution
            boundary="valid",
            learned=True,
            bias=linear.bias is not None,
            dim=self.dim,
            dtype=kernel.dtype,
            device=kernel.device,
        )
        if convolution.bias is not None:
            convolution.bias.data.copy_(linear.bias.detach())
        self.model.set_submodule(str(node.target), convolution.train(linear.training))
        self.flat[node] = None

    def _window(self, source: fx.Node | None, features: int) -> tuple[int, ...]:
        """Give the size of the images that were flattened into these features."""
        if source is None:
            return (1,) * self.dim
        if source.name in self.shapes:
            return tuple(self.shapes[source.name][2:])
        before: fx.Node | None = source
        while before is not None and not isinstance(kind := self._kind(before), LINEAR[1:]):
            before = next(iter(before.all_input_nodes), None)
        if before is None:
            raise ValueError("image_shape: got None; accepted here: the shape (C, ...) of the images")
        dim = kind.weight.ndim - 2
        return (round((features / kind.out_channels) ** (1 / dim)),) * dim

    def _follow(self, node: fx.Node, kind: Any, source: fx.Node) -> None:
        one = self.flat[source] is None
        pointwise = isinstance(kind, POINTWISE) or (node.op != "call_module" and kind in POINTWISE_CALLS)
        if isinstance(kind, nn.BatchNorm1d) and one:
            norm = BATCH_NORMS[self.dim](kind.num_features, kind.eps, kind.momentum, kind.affine)
            norm.__dict__.update(kind.__dict__)
            self.model.set_submodule(str(node.target), norm)
        elif not pointwise or (isinstance(kind, BatchNorm) and not one):
            raise ValueError(
                f"model: got {node.target!r} behind the flattening; accepted there: linear layers, batch"
                " normalisation behind one of them, and what acts on every number alone"
            )
        self.flat[node] = self.flat[source]

    def _pool(self, node: fx.Node) -> None:
        """Give adaptive pooling the window that it has on an image of the original shape."""
        if not self.shapes:
            accepted = f"accepted here, for the window of {node.target!r}: the shape (C, ...) of the images"
            raise ValueError(f"image_shape: got None; {accepted}")
        fine, coarse = (self.shapes[n.name][2:] for n in (node.all_input_nodes[0], node))
        if any(n % m for n, m in zip(fine, coarse, strict=True)):
            return  # its windows differ from each other: it cannot slide
        window = tuple(n // m for n, m in zip(fine, coarse, strict=True))
        step = 1 if max(coarse) == 1 else window
        pool = POOLS[type(self._kind(node))](window, step)
        self.model.set_submodule(str(node.target), pool)

    def _finished(self) -> fx.GraphModule:
        graph = self.model.graph
        if None not in self.flat.values():
            raise ValueError("model: got no linear layer behind a flattening; accepted: one that has some")
        for node, source in self.flat.items():
            if source is not None and self._flattens(node, self._kind(node)):
                node.replace_all_uses_with(source)
                graph.erase_node(node)
        graph.eliminate_dead_code()
        graph.lint()
        self.model.delete_all_unused_submodules()
        self.model.recompile()
        return self.model
