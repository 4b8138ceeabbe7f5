"""Which cells of a box are the domain, which nodes are held inside of it, and the pieces that float."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from ..core.arrays import array, first_bad, require_finite, to_numpy
from ..core.checks import number, shown
from ..core.kinds import hidden, is_number, tracked

__all__ = ["Region"]

MASK = "True or False for each"


class Region:
    """The cells that are the domain, and the nodes that are held, of a box.

    Parameters
    ----------
    cells : array of bool, optional
        Which cells are the domain; all by default.
    fixed : (array of bool, data), optional
        Which nodes are held, and the values there; none by default.
    joined : sequence of bool
        Which axes of the box are periodic.
    shape : sequence of int
        Number of cells along each axis.
    """

    def __init__(self, cells: Any, fixed: Any, joined: Sequence[bool], shape: Sequence[int]) -> None:
        self.joined, self.shape = tuple(joined), tuple(shape)
        self.nodes = tuple(n + 1 for n in shape)
        self.active = None if cells is None else _mask("cells", cells, self.shape, "cell")
        if self.active is not None and not self.active.any():
            raise ValueError("cells: got a mask that is False everywhere; accepted: at least one cell")
        self.fixed: Tensor | None = None
        self.values: Any = 0.0
        if fixed is not None:
            self.fixed, self.values = self._held(fixed)

    def _held(self, fixed: Any) -> tuple[Tensor, Any]:
        if not isinstance(fixed, tuple | list) or len(fixed) != 2:
            raise TypeError(f"fixed: got {shown(fixed)}; accepted: a pair (mask of the nodes, values)")
        mask = _mask("fixed: the mask", fixed[0], self.nodes, "node")
        return self._joined(mask), self._values(mask, fixed[1])

    def _values(self, mask: Tensor, values: Any) -> Any:
        """Return the values as a number, a function, or of all nodes, zero at those that are not held."""
        if callable(values):
            return values
        if is_number(values) and not tracked(values):
            return number("fixed: the values", values)
        if is_number(values):
            values = values.expand(self.nodes)
        count = int(mask.sum())
        what = f"one value for each node, or for each of the {count} that are held"
        x = array("fixed: the values", values, (self.nodes, (count,)), what)
        if tuple(x.shape[-len(self.nodes) :]) == self.nodes:
            x = torch.where(mask.to(x.device), x, x.new_zeros(()))
        elif not count:  # nothing is held, but there may be a batch
            x = x.new_zeros((*x.shape[:-1], *self.nodes))
        else:
            place = torch.cumsum(mask.flatten(), 0).sub_(1).clamp_(0).reshape(self.nodes).to(x.device)
            x = torch.where(mask.to(x.device), x[..., place], x.new_zeros(()))
        require_finite("fixed: the values", x, len(self.nodes))
        return self._both(x, mask)

    def _both(self, x: Tensor, mask: Tensor) -> Tensor:
        """Give both of two joined nodes the value of the one that is held."""
        for place, joined in enumerate(self.joined, -len(self.joined)):
            if joined:
                low, high = (mask.narrow(place, i, 1).to(x.device) for i in (0, mask.shape[place] - 1))
                ends = x.narrow(place, 0, 1), x.narrow(place, x.shape[place] - 1, 1)
                if not hidden(x) and bool((low & high & (ends[0] != ends[1])).any()):
                    got = "two values at nodes of joined sides, which are one"
                    raise ValueError(f"fixed: the values: got {got}; accepted: one value for each")
                end = torch.where(low, ends[0], ends[1])
                inner = x.narrow(place, 1, x.shape[place] - 2)
                x = torch.cat((end, inner, end), place)
                both = low | high
                mask = torch.cat((both, mask.narrow(place, 1, mask.shape[place] - 2), both), place)
        return x

    def _joined(self, mask: Tensor) -> Tensor:
        """Let both of two joined nodes have what one has."""
        mask = mask.clone()
        for place, joined in enumerate(self.joined, -len(self.joined)):
            if joined:
                both = mask.select(place, 0) | mask.select(place, -1)
                mask.select(place, 0).copy_(both)
                mask.select(place, -1).copy_(both)
        return mask

    @property
    def whole(self) -> bool:
        """Whether all cells are the domain, and no node inside is held."""
        return self.active is None and self.fixed is None

    @cached_property
    def present(self) -> Tensor | None:
        """Which nodes have a cell, shape ``(*nodes)``; None where all have."""
        if self.active is None:
            return None
        return self._joined(self._of_cells(self.active))

    def _of_cells(self, x: Tensor) -> Tensor:
        """Give each node the largest of what its cells have."""
        for place in range(-x.ndim, 0):
            zero = torch.zeros_like(x.narrow(place, 0, 1))
            x = torch.maximum(torch.cat((x, zero), place), torch.cat((zero, x), place))
        return x

    @cached_property
    def free(self) -> Tensor | None:
        """Which nodes have a cell and are not held, shape ``(*nodes)``; None where all are such."""
        if self.whole:
            return None
        free = torch.ones(self.nodes, dtype=torch.bool, device="cpu")
        if self.present is not None:
            free = free & self.present
        return free if self.fixed is None else free & ~self.fixed

    def inside(self, x: Tensor, value: float, of_cells: bool = False) -> Tensor:
        """Return data of nodes, shape ``(..., *nodes)``, or of cells, with a value where there is no cell.

        Along joined axes each node may stand once.
        """
        if self.active is None or self.present is None:
            return x
        sizes = x.shape[x.ndim - len(self.shape) :]
        mask = self.active if of_cells else self.present[tuple(slice(0, n) for n in sizes)]
        return torch.where(mask.to(x.device), x, x.new_full((), value))

    def pieces(self, holding: Tensor) -> Tensor:
        """Number the pieces of the domain that nothing holds, shape ``(*nodes)``, from 1; elsewhere 0.

        Cells that share a node are of one piece. ``holding`` says which nodes hold theirs: those that are
        given, and those at which there is some c or alpha.
        """
        cells = np.ones(self.shape, bool) if self.active is None else self.active.numpy()
        labels, count = scipy.ndimage.label(cells, np.ones([3] * len(self.shape)))
        at_nodes = self._of_cells(torch.from_numpy(labels.astype(np.int64))).numpy()
        at_nodes = self._merged(count, at_nodes)
        held = np.zeros(at_nodes.max() + 1, bool)
        held[at_nodes[holding.cpu().numpy()]] = True
        held[0] = True
        numbers = np.where(held, 0, np.cumsum(~held))
        return torch.from_numpy(numbers[at_nodes])

    def _merged(self, count: int, at_nodes: np.ndarray) -> np.ndarray:
        """Make one piece of those that meet at joined nodes, which get one number."""
        pairs = [np.zeros((2, 0), np.int64)]
        for place, joined in enumerate(self.joined):
            if joined:
                ends = np.stack([np.take(at_nodes, end, place) for end in (0, -1)])
                pairs.append(ends.reshape(2, -1))
                # Both are seen along the axes to come: a corner of two joined axes is one node.
                for end in (0, -1):
                    at_nodes[(slice(None),) * place + (end,)] = ends.max(0)
        low, high = np.concatenate(pairs, 1)
        both = (low > 0) & (high > 0)
        ones = np.ones(int(both.sum()))
        graph = scipy.sparse.coo_array((ones, (low[both], high[both])), shape=(count + 1, count + 1))
        merged = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
        # The nodes without a cell keep the number 0.
        order = np.where(merged == merged[0], 0, merged + 1)
        return np.unique(order, return_inverse=True)[1][at_nodes]


def _mask(name: str, value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """Return a mask of its own from booleans, or from zeros and ones."""
    if hidden(value):
        raise ValueError(f"{name}: got a mask hidden by vmap; accepted: one that can be looked at")
    x = torch.from_numpy(np.array(to_numpy(name, value)))
    if tuple(x.shape) != shape:
        hint = f" (with dim={x.ndim})" if len(shape) == 1 and x.ndim in (2, 3) else ""
        accepted = f"{shape}, {MASK} {what}{hint}"
        raise ValueError(f"{name}: got shape {tuple(x.shape)}; accepted: {accepted}")
    bad = (x != 0) & (x != 1)
    if bad.any():
        raise ValueError(f"{name}: got {first_bad(x, bad, x.ndim)}; accepted: {MASK} {what}")
    return x != 0
