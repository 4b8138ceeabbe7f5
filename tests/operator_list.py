"""Every operator of the package, each with the matrix that it should be: what the conformance tests run over.

The expected matrices are built here, cell by cell, from hat functions and quadrature; none of the package's
numbers goes into them. A new operator joins by one line in ``OPERATORS``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mgnet import Prolongation, Restriction, Stencil, Stiffness
from mgnet.layers import Averaging
from mgnet.multigrid.coarsest import TensorSolver
from mgnet.multigrid.exact import Condensation
from mgnet.operators.axes import Axis, Chain
from mgnet.operators.blocks import BlockDiagonal
from mgnet.operators.boxes import Box
from mgnet.operators.cells import CellStiffness
from mgnet.operators.contract import residual
from mgnet.operators.entries import StencilStiffness
from mgnet.operators.interpolation import HatProlongation, NodeProlongation
from mgnet.operators.mass import Mass
from mgnet.operators.varying import HeldChain, VaryingProlongation, VaryingStiffness
from mgnet.operators.weighted import WeightedStiffness

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}
PAIRS = ["dirichlet", "natural", "periodic", ("dirichlet", "natural"), ("natural", "dirichlet")]

Ends = str | tuple[str, str]
Shape = tuple[int, ...]


@dataclass
class Case:
    """An operator and what is known of it.

    ``make`` gives it in a precision, ``shape`` is that of its argument behind the channels, and ``matrix``
    what it should be, or a function that gives it. ``kind`` is the torch module that the operator is, and
    with ``pinned`` its kernel is all there is to it. A ``stiffness`` operator is symmetric and has a diagonal
    and coarse operators, which are R A P if it is ``galerkin``; ``bounded`` says whether it knows a bound of
    D⁻¹ A. An ``inverse`` is a solver. ``slack`` is how many times the rounding of others it may have.
    """

    name: str
    make: Callable[[torch.dtype], Any]
    shape: Shape
    matrix: np.ndarray | Callable[[], np.ndarray]
    channels: int = 1
    kind: type | None = None
    learned: bool = False
    pinned: bool = True
    stiffness: bool = False
    bounded: bool = False
    galerkin: bool = True
    inverse: bool = False
    slack: float = 1.0

    def __str__(self) -> str:
        return self.name

    @cached_property
    def dense(self) -> np.ndarray:
        return self.matrix() if callable(self.matrix) else self.matrix


# How the contract is asked for: a bare convolution, which fits any shape, is told one.


def dense_of(operator: Any, shape: Shape, dtype: torch.dtype, channels: int = 1) -> np.ndarray:
    """Give the matrix, by the operator's own way if it has one."""
    if hasattr(operator, "to_dense"):
        bare = isinstance(operator, nn.Module) and not hasattr(operator, "box")
        found = operator.to_dense(one_or_more(shape)) if bare else operator.to_dense()
        assert found.dtype == dtype
        return found.detach().double().numpy()
    size = channels * math.prod(shape)
    unit = torch.eye(size, dtype=dtype).reshape(size, channels, *shape)
    return operator(unit).flatten(1).T.double().numpy()


def diagonal_of(A: Any, shape: Shape) -> Tensor:
    if isinstance(A, Stiffness) and not hasattr(A, "box"):
        return A.diagonal(one_or_more(shape))
    return A.diagonal().expand(shape)


def known(A: Any, shape: Shape) -> Any:
    """Give an operator that knows its cells."""
    return A.on(A.form.box(shape).cells) if isinstance(A, Stiffness) and not hasattr(A, "box") else A


def bound_of(A: Any) -> float:
    """Give the bound of the eigenvalues of D⁻¹ A."""
    return A.largest


def coarsened(A: Any, shape: Shape) -> tuple[Any, Any, Shape] | None:
    """Give the coarse operator, the interpolation from it, and the coarse shape; None at the end."""
    step = known(A, shape).coarsen()
    return None if step is None else (*step, step[0].box.shape)


def residual_of(A: Any, x: Tensor, b: Tensor) -> Tensor:
    return residual(A, x, b)


def sparse_of(A: Any, shape: Shape) -> np.ndarray:
    return known(A, shape).to_sparse().toarray()


def one_or_more(shape: Shape) -> Any:
    """Give the shape of one axis as a number, as the interface allows."""
    return shape if len(shape) > 1 else shape[0]


def cells_of(unknowns: int, ends: tuple[str, str]) -> int:
    return unknowns if ends[0] == "periodic" else unknowns - 1 + ends.count("dirichlet")


class Inverse:
    """A solver as the symmetric operator that it is."""

    def __init__(self, solve: Callable[[Tensor], Tensor]) -> None:
        self.solve = solve

    def __call__(self, b: Tensor) -> Tensor:
        return self.solve(b)

    @property
    def T(self) -> Inverse:
        return self


# The expected matrices on a line.


def pair(boundary: Ends) -> tuple[str, str]:
    return (boundary, boundary) if isinstance(boundary, str) else boundary


def nodes_of(cells: int, boundary: Ends) -> np.ndarray:
    """Number the nodes that are unknowns, among 0 ... cells."""
    low, high = pair(boundary)
    return np.arange(low == "dirichlet", cells + 1 - (high in ("dirichlet", "periodic")))


def interpolation(cells: int, factor: int, boundary: Ends) -> np.ndarray:
    """Evaluate each coarse hat at each fine node: the matrix of the prolongation."""
    fine, coarse = nodes_of(cells, boundary), nodes_of(cells // factor, boundary) * factor
    P = np.zeros((len(fine), len(coarse)))
    for j, centre in enumerate(coarse):
        for shift in (-cells, 0, cells) if pair(boundary)[0] == "periodic" else (0,):
            P[:, j] += np.interp(
                fine, [centre + shift - factor, centre + shift, centre + shift + factor], [0, 1, 0]
            )
    return P


def convolution(kernel: np.ndarray, shape: tuple[int, ...], stride: int, boundary: Ends) -> np.ndarray:
    """Write the matrix of a convolution, tap by tap; kernel (out, in, *sizes), reach r along each axis."""
    low, high = pair(boundary)
    reach, dim = kernel.shape[2] // 2, len(shape)
    first = stride - 1 if low == "dirichlet" else 0  # the node of the first output
    cells = [n if low == "periodic" else n - 1 + (low, high).count("dirichlet") for n in shape]
    ends = 0 if low == "periodic" else 1 - (low, high).count("dirichlet")
    outputs = [count // stride + ends if n else 0 for count, n in zip(cells, shape, strict=True)]
    A = np.zeros((kernel.shape[0], *outputs, kernel.shape[1], *shape))
    for place in itertools.product(*map(range, outputs)):
        for tap in itertools.product(range(2 * reach + 1), repeat=dim):
            nodes = [first + stride * i + o - reach for i, o in zip(place, tap, strict=True)]
            if low == "periodic":
                nodes = [i % n for i, n in zip(nodes, shape, strict=True)]
            if stride == 1:  # the nearest end node stands for those past a natural end
                nodes = [max(i, 0) if low == "natural" else i for i in nodes]
                nodes = [min(i, n - 1) if high == "natural" else i for i, n in zip(nodes, shape, strict=True)]
            if all(0 <= i < n for i, n in zip(nodes, shape, strict=True)):
                A[(slice(None), *place, slice(None), *nodes)] += kernel[(slice(None), slice(None), *tap)]
    return A.reshape(kernel.shape[0] * int(np.prod(outputs)), kernel.shape[1] * int(np.prod(shape)))


def finite_elements(
    k: Sequence[float], s: Sequence[float], boundary: Ends, robin: Sequence[float] = (0.0, 0.0)
) -> np.ndarray:
    """Assemble cell by cell: conductances of cells, row sums of nodes; then drop or join the ends."""
    n = len(k)
    A = np.diag(np.asarray(s, dtype=float))
    for i in range(n):
        A[i : i + 2, i : i + 2] += k[i] * np.array([[1, -1], [-1, 1]])
    A[0, 0] += robin[0]
    A[n, n] += robin[1]
    if boundary == "periodic":
        A[0] += A[n]
        A[:, 0] += A[:, n]
    keep = nodes_of(n, boundary)
    return A[np.ix_(keep, keep)]


def poisson(
    cells: int, h: float, a: float, c: float, boundary: Ends, robin: Sequence[float] = (0.0, 0.0)
) -> np.ndarray:
    """Assemble −(a u′)′ + c u from the element matrices of stiffness and mass."""
    s = np.zeros(cells + 1)
    s[:-1] += c * h / 2
    s[1:] += c * h / 2
    return finite_elements([a / h - c * h / 6] * cells, s, boundary, robin)


def schur_interpolation(A: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Interpolate by eliminating the new unknowns of a dense matrix."""
    old = np.setdiff1d(np.arange(len(A)), new)
    P = np.zeros((len(A), len(old)))
    P[old, np.arange(len(old))] = 1
    P[new] = -np.linalg.solve(A[np.ix_(new, new)], A[np.ix_(new, old)])
    return P


def kron(*matrices: np.ndarray) -> np.ndarray:
    return reduce(np.kron, matrices)


# The expected matrices in a box.


def widths_of(axis: Axis) -> list[float]:
    if axis.nodes is not None:
        return list(np.diff(axis.nodes))
    return [axis.h] * (axis.cells - 1) + [axis.h if axis.last is None else axis.last]


def joined(axis: Axis) -> np.ndarray:
    """The matrix to the values at all nodes from those at all but the second of two joined ends."""
    n = axis.cells
    return np.vstack((np.eye(n), np.eye(n)[:1])) if axis.ends[0] == "periodic" else np.eye(n + 1)


def held(axis: Axis) -> np.ndarray:
    """The matrix to the values at these nodes from those at the unknowns."""
    size = joined(axis).shape[1]
    return np.eye(size)[:, int(axis.ends[0] == "dirichlet") : size - int(axis.ends[1] == "dirichlet")]


def unknowns_of(axis: Axis) -> np.ndarray:
    """The matrix to the values at all nodes from those at the unknowns."""
    return joined(axis) @ held(axis)


def matrices_of(axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """The stiffness and the mass matrix of an axis, one cell after the other."""
    K, M = np.zeros((2, axis.cells + 1, axis.cells + 1))
    for i, h in enumerate(widths_of(axis)):
        K[i : i + 2, i : i + 2] += np.array([[1, -1], [-1, 1]]) / h
        M[i : i + 2, i : i + 2] += np.array([[2, 1], [1, 2]]) * h / 6
    K[0, 0] += axis.robin[0]
    K[-1, -1] += axis.robin[1]
    E = unknowns_of(axis)
    return E.T @ K @ E, E.T @ M @ E


def product(axes: Sequence[Axis], a: float, c: float, lumped: bool = False) -> np.ndarray:
    """Write the stiffness matrix of a box of equal cells as a sum of Kronecker products."""
    pairs = [matrices_of(axis) for axis in axes]
    masses = [M for _, M in pairs]
    stiff = sum(kron(*masses[:i], K, *masses[i + 1 :]) for i, (K, _) in enumerate(pairs))
    if lumped:
        masses = [np.diag(unknowns_of(axis).T @ np.convolve(widths_of(axis), [0.5, 0.5])) for axis in axes]
    return a * stiff + c * kron(*masses)


def hats_between(fine: Axis, coarse: Axis) -> np.ndarray:
    """Values at the fine unknowns from those at the coarse ones, by NumPy's interpolation."""
    x, y = (np.cumsum([0.0, *widths_of(axis)]) for axis in (fine, coarse))
    P = np.stack([np.interp(x, y, unit) for unit in np.eye(len(y))], -1) @ unknowns_of(coarse)
    return np.linalg.pinv(unknowns_of(fine)) @ P


def at_all_nodes(
    h: Sequence[float], a: np.ndarray, c: np.ndarray | None, robin: Sequence[tuple[float, float]]
) -> np.ndarray:
    """The matrix between all nodes: one cell after the other, two-point Gauss quadrature in each."""
    dim, nodes = a.ndim, tuple(n + 1 for n in a.shape)
    A = np.zeros((math.prod(nodes),) * 2)
    corners = list(itertools.product((0, 1), repeat=dim))
    points = np.array([0.5 - 1 / math.sqrt(12), 0.5 + 1 / math.sqrt(12)])

    def hats(t: Sequence[float], corner: Shape, along: int | None = None) -> float:
        """A corner's hat at local coordinates, or its slope along an axis."""
        return math.prod(
            (2 * high - 1) / h[i] if i == along else (t[i] if high else 1 - t[i])
            for i, high in enumerate(corner)
        )

    stiff, mass = np.zeros((2, len(corners), len(corners)))
    for t in itertools.product(points, repeat=dim):
        for i in range(dim):
            slope = np.array([hats(t, corner, i) for corner in corners])
            stiff += np.outer(slope, slope)
        value = np.array([hats(t, corner) for corner in corners])
        mass += np.outer(value, value)
    volume = math.prod(h) / 2**dim
    for cell in np.ndindex(a.shape):
        at = [np.ravel_multi_index(tuple(np.add(cell, corner)), nodes) for corner in corners]
        A[np.ix_(at, at)] += volume * a[cell] * stiff
        if c is not None:
            A[np.ix_(at, at)] += volume * c[cell] * mass
        for axis, end in itertools.product(range(dim), (0, 1)):
            if robin[axis][end] and cell[axis] == (0, a.shape[axis] - 1)[end]:
                # On the side: the other axes' quadrature.
                here = [k for k, corner in enumerate(corners) if corner[axis] == end]
                side = np.zeros((len(here), len(here)))
                for t in itertools.product(points, repeat=dim - 1):
                    place = [*t[:axis], float(end), *t[axis:]]
                    value = np.array([hats(place, corners[k]) for k in here])
                    side += np.outer(value, value)
                area = math.prod(h) / h[axis] / 2 ** (dim - 1)
                these = [at[k] for k in here]
                A[np.ix_(these, these)] += robin[axis][end] * area * side
    return A


def lump(M: np.ndarray) -> np.ndarray:
    """The row sums on the diagonal."""
    return np.diag(M.sum(1))


def entries_of(box: Box, M: np.ndarray) -> StencilStiffness:
    """The same matrix as entries between neighbours; of a diagonal one there are none."""
    nodes = tuple(n + 1 for n in box.cells)
    if np.array_equal(M, np.diag(np.diag(M))):
        return StencilStiffness(box, torch.from_numpy(np.diag(M).reshape(nodes).copy()), {})
    steps = [s for s in itertools.product((-1, 0, 1), repeat=box.dim) if s > (0,) * box.dim]
    fields = {step: torch.zeros(nodes, dtype=torch.float64) for step in steps}
    for node, (step, field) in itertools.product(np.ndindex(nodes), fields.items()):
        other = tuple(np.add(node, step))
        if all(0 <= k < n for k, n in zip(other, nodes, strict=True)):
            field[node] = M[np.ravel_multi_index(node, nodes), np.ravel_multi_index(other, nodes)]
    return StencilStiffness(box, torch.from_numpy(np.diag(M).reshape(nodes).copy()), fields)


def equilibria(box: Box, whole: np.ndarray) -> np.ndarray:
    """Interpolate so that each new node is in balance with its neighbours along the axes on which it is new.

    Along the others the rows of the matrix, which is between all nodes, are summed; in a last cell of three
    the place of a node counts.
    """
    chosen = box.coarsening()
    J = kron(*map(joined, box.axes))
    W, sizes = J.T @ whole @ J, tuple(joined(axis).shape[1] for axis in box.axes)
    coarse = [axis.coarse if some else axis for axis, some in zip(box.axes, chosen, strict=True)]
    parents = [parents_of(*pair) for pair in zip(box.axes, coarse, strict=True)]
    columns = tuple(joined(axis).shape[1] for axis in coarse)
    P = np.zeros((*sizes, math.prod(columns)))
    where = np.array(list(np.ndindex(sizes)))

    def fresh(node: Shape) -> dict[int, float | None]:
        """Give the axes on which a node is new."""
        return {i: new[k] for i, (k, (_, new)) in enumerate(zip(node, parents, strict=True)) if k in new}

    for node in sorted(np.ndindex(sizes), key=lambda node: len(fresh(node))):
        placed = fresh(node)
        pulled = [i for i, t in placed.items() if t is None]
        if not placed:
            at = [old[k] for k, (old, _) in zip(node, parents, strict=True)]
            P[(*node, np.ravel_multi_index(at, columns))] = 1
        elif pulled:
            row = W[np.ravel_multi_index(node, sizes)]
            # What lies beside the axes counts as if the function did not vary along the others.
            others = np.tile(node, (len(where), 1))
            others[:, pulled] = where[:, pulled]
            own = (others == node).all(1)
            if row[own].sum():
                P[node] = -np.where(own, 0, row) @ P[tuple(others.T)] / row[own].sum()
            else:  # without an equation it is half way between two others
                axis, n = pulled[-1], sizes[pulled[-1]]
                beside = ((*node[:axis], (node[axis] + s) % n, *node[axis + 1 :]) for s in (-1, 1))
                P[node] = sum(P[each] for each in beside) / 2
        else:
            i, t = next(iter(placed.items()))
            low, high = ((*node[:i], k, *node[i + 1 :]) for k in last_cell(box.axes[i]))
            P[node] = (1 - t) * P[low] + t * P[high]
    E, E_H = kron(*map(held, box.axes)), kron(*map(held, coarse))
    return E.T @ P.reshape(-1, math.prod(columns)) @ E_H


def parents_of(fine: Axis, coarse: Axis) -> tuple[dict[int, int], dict[int, float | None]]:
    """Give the coarse nodes among the fine ones, and the new ones, with their place in a cell of three."""
    x, y = (np.cumsum([0.0, *widths_of(axis)]) for axis in (fine, coarse))
    near = np.abs(x[:, None] - y).argmin(1)
    old = {i: int(j) for i, j in enumerate(near) if abs(x[i] - y[j]) < 1e-9 * x[-1]}
    new: dict[int, float | None] = {}
    for i in set(range(len(x))) - set(old):
        # Between two old ones, or one of two in the last cell.
        alone = i - 1 in old and i + 1 in old
        new[i] = None if alone else float((x[i] - y[-2]) / (y[-1] - y[-2]))
    if fine.ends[0] == "periodic":
        del old[fine.cells]
    return old, new


def last_cell(axis: Axis) -> tuple[int, int]:
    """Give the ends of a last coarse cell of three; joined ends are the first node."""
    return axis.cells - 3, 0 if axis.periodic else axis.cells


# The operators on a line, and the convolutions.


def transfers() -> Iterator[Case]:
    for boundary, factor in itertools.product(PAIRS, (2, 3, 32)):
        cells = 3 * factor
        P = interpolation(cells, factor, boundary)
        label = f"{factor}-{boundary}"
        keywords = {"factor": factor, "boundary": boundary}
        yield Case(f"R-{label}", partial(Restriction, **keywords), P.shape[:1], P.T, kind=nn.Conv1d)
        yield Case(f"P-{label}", partial(Prolongation, **keywords), P.shape[1:], P, kind=nn.ConvTranspose1d)
    for boundary, dim, learned in itertools.product(PAIRS, (2, 3), (False, True)):
        counts = (4, 6, 8)[:dim]
        axes = [interpolation(cells, 2, boundary) for cells in counts]
        P, label = kron(*axes), f"{dim}d-{boundary}{'-learned' * learned}"
        keywords = {"boundary": boundary, "dim": dim, "learned": learned}
        fine, coarse = (tuple(axis.shape[i] for axis in axes) for i in (0, 1))
        yield Case(f"R-{label}", partial(Restriction, **keywords), fine, P.T, 1, CONVOLUTIONS[dim], learned)
        yield Case(f"P-{label}", partial(Prolongation, **keywords), coarse, P, 1, TRANSPOSED[dim], learned)
    for boundary, dim in itertools.product(PAIRS, (1, 2, 3)):
        axes = [interpolation(cells, 2, boundary) for cells in (4, 6, 8)[:dim]]
        make, fine = partial(Averaging, 2, boundary, dim=dim), tuple(len(axis) for axis in axes)
        dense = kron(*axes).T / 2**dim
        yield Case(f"averaging-{dim}d-{boundary}", make, fine, dense, kind=CONVOLUTIONS[dim])


def convolutions() -> Iterator[Case]:
    rng = np.random.default_rng(7)
    shapes = {1: (11,), 2: (5, 7), 3: (3, 5, 3)}
    for dim, boundary, stride in itertools.product((1, 2, 3), [*PAIRS, "same"], (1, 2)):
        kernel = rng.normal(size=(1, 1, *[3] * dim))
        # All of these sizes are odd; joined ends, and different ones, need an even number of nodes.
        even = boundary == "periodic" or isinstance(boundary, tuple)
        shape = tuple(n + even for n in shapes[dim])
        dense = convolution(kernel, shape, stride, boundary)
        make = partial(Stencil, kernel[0, 0], stride, boundary, dim=dim)
        yield Case(f"stencil-{dim}d-{boundary}-{stride}", make, shape, dense, 1, CONVOLUTIONS[dim])
    for dim, learned, stride in itertools.product((1, 2, 3), (False, True), (1, 2)):
        kernel = rng.normal(size=(2, 3, *[3] * dim))
        make = partial(Stencil, kernel, stride, "same", dim=dim, learned=learned)
        label = f"stencil-{dim}d-channels-{stride}{'-learned' * learned}"
        dense = convolution(kernel, shapes[dim], stride, "same")
        yield Case(label, make, shapes[dim], dense, 3, CONVOLUTIONS[dim], learned)
    for size, boundary in itertools.product((1, 5, 7), ("dirichlet", "periodic", "same")):
        kernel = rng.normal(size=(1, 1, size))
        make = partial(Stencil, kernel[0, 0], 1, boundary)
        yield Case(
            f"stencil-size-{size}-{boundary}",
            make,
            (9,),
            convolution(kernel, (9,), 1, boundary),
            1,
            nn.Conv1d,
        )


def lines_of_equal_cells() -> Iterator[Case]:
    for boundary, c, robin, cells in itertools.product(
        PAIRS, (0.0, 3.0), ((0.0, 0.0), (5.0, 0.25)), (1, 2, 9, 16)
    ):
        if any(robin) and "natural" not in pair(boundary):
            continue
        given = tuple(r if end == "natural" else 0.0 for r, end in zip(robin, pair(boundary), strict=True))
        if cells == 1 and boundary == "dirichlet":  # no unknowns
            continue
        dense = poisson(cells, 0.3, 2.0, c, boundary, given)
        make = partial(Stiffness, 0.3, 2.0, c, boundary, robin=given)
        label = f"{boundary}-{cells}-c{c:g}-robin{robin[0]:g}"
        plain = "natural" not in pair(boundary) or not (c or any(given))
        kept: dict[str, Any] = {"kind": nn.Conv1d, "stiffness": True, "bounded": cells > 1}
        yield Case(f"A-{label}", make, (len(dense),), dense, pinned=plain and cells > 2, **kept)
        if cells > 2 and np.linalg.matrix_rank(dense) == len(dense):
            yield inverse_on_a_line(make, cells, boundary, dense, label)
    for boundary in PAIRS:
        make = partial(Stiffness, 0.3, 2.0, 3.0, boundary, lumped=True)
        dense = lumped_line(8, 0.3, 2.0, 3.0, boundary)
        kept = {
            "pinned": "natural" not in pair(boundary),
            "stiffness": True,
            "bounded": True,
            "galerkin": False,
        }
        yield Case(f"A-{boundary}-lumped", make, (len(dense),), dense, kind=nn.Conv1d, **kept)


def lumped_line(cells: int, h: float, a: float, c: float, boundary: Ends) -> np.ndarray:
    s = np.full(cells + 1, c * h)
    s[[0, -1]] /= 2
    return finite_elements([a / h] * cells, s, boundary)


def inverse_on_a_line(
    make: Callable[[torch.dtype], Any], cells: int, boundary: Ends, dense: np.ndarray, label: str
) -> Case:
    solve = partial(condensation, make, cells, pair(boundary))
    return Case(f"condensation-{label}", solve, (len(dense),), np.linalg.inv(dense), inverse=True, slack=100)


def lines_of_cells() -> Iterator[Case]:
    rng = np.random.default_rng(8)
    for boundary, reacts, cells in itertools.product(PAIRS, (False, True), (1, 2, 9, 10)):
        robin = (0.0 if pair(boundary)[0] != "natural" else 3.0, 0.0)
        if cells == 1 and boundary == "dirichlet":  # no unknowns
            continue
        k, s = rng.uniform(0.1, 9, cells), rng.uniform(0, 2, cells + 1) * reacts
        dense = finite_elements(k, s, boundary, robin)
        label = f"varying-{boundary}-{cells}{'-c' * reacts}"
        given = (k, s if reacts else None, pair(boundary))
        make = partial(varying_stiffness, *given, robin)
        yield Case(f"A-{label}", make, (len(dense),), dense, stiffness=True, bounded=cells > 1)
        if cells > 2 and np.linalg.matrix_rank(dense) == len(dense):
            yield inverse_on_a_line(make, cells, boundary, dense, label)
        if cells > 3:
            new = np.searchsorted(nodes_of(cells, boundary), np.arange(1, cells - cells % 2, 2))
            P = schur_interpolation(finite_elements(k, s, boundary), new)
            make = partial(varying_prolongation, *given)
            yield Case(f"P-{label}", make, P.shape[1:], P)
            yield Case(f"R-{label}", adjoint_of(make), P.shape[:1], P.T)


def held_chain(
    k: Any, s: Any, ends: Any, robin: Any, free: np.ndarray, first: np.ndarray, dtype: torch.dtype
) -> HeldChain:
    whole = varying_stiffness(k, s, ends, robin, dtype)
    return HeldChain(whole, torch.from_numpy(free), torch.from_numpy(first))


def lines_with_held_nodes() -> Iterator[Case]:
    """Some nodes without an equation; where cells have no conductance there are nodes that nothing ties."""
    rng = np.random.default_rng(11)
    for boundary, reacts, holes, cells in itertools.product(PAIRS, (False, True), (False, True), (5, 12)):
        ends = pair(boundary)
        robin = (0.0 if ends[0] != "natural" else 3.0, 0.0 if ends[1] != "natural" else 0.5)
        there = np.ones(cells, bool)
        there[[2, 3]] = not holes
        k, s = there * rng.uniform(0.1, 9, cells), rng.uniform(0, 2, cells + 1) * reacts
        free = np.pad(there, (0, 1)) | np.pad(there, (1, 0))
        free[-2] = False
        if ends[0] == "periodic":
            free[-1] = free[0]
        whole = finite_elements(k, s, "natural", robin) * np.outer(free, free) + np.diag(~free)
        E = np.eye(cells + 1)[:, nodes_of(cells, boundary)]
        E[-1, 0] += ends[0] == "periodic"
        dense, label = E.T @ whole @ E, f"held-{boundary}-{cells}{'-c' * reacts}{'-holes' * holes}"
        make = partial(held_chain, k, s if reacts else None, ends, robin, free, np.zeros(cells + 1, bool))
        yield Case(f"A-{label}", make, (len(dense),), dense, stiffness=True, bounded=True)
        yield inverse_on_a_line(make, cells, boundary, dense, label)


# The operators in a box.


ENDS = {
    "held": ("dirichlet", "dirichlet"),
    "free": ("natural", "natural"),
    "held-free": ("dirichlet", "natural"),
    "free-held": ("natural", "dirichlet"),
    "joined": ("periodic", "periodic"),
}
MOST = {2: 7, 3: 5}


def combinations(dim: int) -> list[list[tuple[str, tuple[str, str]]]]:
    """Give ends to the axes, so that every two ends meet: in the plane in either order, in space in one."""
    if dim == 2:
        found = list(itertools.product(range(5), repeat=2))
    else:  # all joined come first: no c and no alpha holds them
        found = [(i, (i + s) % 5, (i + 2 * s) % 5) for s in range(3) for i in (4, 0, 1, 2, 3)]
    return [[list(ENDS.items())[k] for k in each] for each in found]


def random_axis(
    rng: np.random.Generator, ends: tuple[str, str], most: int, robin: bool = True, equal: bool = False
) -> Axis:
    h = float(rng.uniform(0.5, 0.7))
    last = None if rng.random() < 0.4 or equal else h * float(rng.uniform(0.5, 1.5))
    alpha = tuple(float(rng.uniform(0, 2) * (end == "natural" and robin)) for end in ends)
    least = 2 if ends == ENDS["held"] else 1
    return Axis(int(rng.integers(least, most + 1)), h, ends, (alpha[0], alpha[1]), last)


def lone(box: Box) -> bool:
    """Say whether a node is its own neighbour: then D⁻¹ A has no bound that is the same for all."""
    return any(axis.periodic and axis.cells == 1 for axis in box.axes)


def boxes_of_equal_cells() -> Iterator[Case]:
    rng = np.random.default_rng(1)
    for dim in (2, 3):
        for count, each in enumerate(combinations(dim)):
            axes = [random_axis(rng, ends, MOST[dim], count % 3 > 0) for _, ends in each]
            box, a = Box(axes), 1.7
            c, lumped = (0.0 if count % 2 else 0.6), count % 4 == 2
            label = f"{dim}d-{','.join(name for name, _ in each)}"
            more = f"{'-c' * bool(c)}{'-lumped' * lumped}"
            make = partial(Stiffness.of, box, a, c, lumped=lumped)
            dense = lazily(product, axes, a, c, lumped)
            free = any("natural" in ends for _, ends in each) or any(axis.last for axis in axes)
            yield Case(
                f"A-{label}{more}",
                make,
                box.shape,
                dense,
                kind=CONVOLUTIONS[dim],
                pinned=not free and not lone(box),
                stiffness=True,
                bounded=not lone(box),
                galerkin=not lumped,
            )
            if any(box.coarsening()):
                yield from transfers_of_hats(box, label, count % 3 == 0)
            if count % 2 == 0 or "dirichlet" in str(box.ends) or any(map(any, (axis.robin for axis in axes))):
                yield solver_by_eigenvectors(box, a, c, label)
    for dim, (name, ends), c in itertools.product((2, 3), ENDS.items(), (0.0, 3.0)):
        axes = [Axis(n, h, ends) for n, h in zip((6, 4, 5)[:dim], (0.5, 0.25, 0.4), strict=False)]
        h = tuple(axis.h for axis in axes)
        make = partial(Stiffness, h, 0.7, c, (ends,) * dim, dim=dim)
        yield Case(
            f"A-{dim}d-{name}-equal-c{c:g}",
            make,
            Box(axes).shape,
            product(axes, 0.7, c),
            kind=CONVOLUTIONS[dim],
            pinned=ends[0] != "natural" != ends[1],
            stiffness=True,
            bounded=True,
        )


def transfers_of_hats(box: Box, label: str, both: bool) -> Iterator[Case]:
    chosen = box.coarsening()
    coarse = box.coarse(chosen)
    parts = zip(box.axes, coarse.axes, chosen, strict=True)
    P = kron(*(hats_between(*pair) if some else np.eye(pair[0].unknowns) for *pair, some in parts))
    yield Case(f"box-P-{label}", partial(hats_along, box, chosen), coarse.shape, P)
    if both:
        yield Case(f"box-R-{label}", adjoint_of(partial(hats_along, box, chosen)), box.shape, P.T)


def hats_along(box: Box, chosen: Sequence[bool], dtype: torch.dtype) -> HatProlongation:
    return HatProlongation(box, chosen, dtype=dtype)


def solver_by_eigenvectors(box: Box, a: float, c: float, label: str) -> Case:
    return Case(
        f"tensor-solver-{label}",
        lambda dtype: Inverse(TensorSolver(box, a, c, {"dtype": dtype})),
        box.shape,
        lambda: np.linalg.inv(product(box.axes, a, c)),
        inverse=True,
        slack=100,
    )


@dataclass
class Cells:
    """A box whose coefficients vary, and the matrix between all its nodes."""

    box: Box
    a: np.ndarray
    c: np.ndarray | None
    lumped: bool
    robin: list[tuple[float, float]]

    @cached_property
    def added(self) -> np.ndarray | None:
        """What c and alpha add, if there are any; c may be lumped."""
        h, none = [axis.h for axis in self.box.axes], [(0.0, 0.0)] * self.box.dim
        found = at_all_nodes(h, 0 * self.a, None, self.robin) if np.any(self.robin) else None
        if self.c is None:
            return found
        M = at_all_nodes(h, 0 * self.a, self.c, none)
        M = lump(M) if self.lumped else M
        return M if found is None else M + found

    @cached_property
    def reaction(self) -> StencilStiffness | None:
        return None if self.added is None else entries_of(self.box, self.added)

    @cached_property
    def whole(self) -> np.ndarray:
        A = at_all_nodes([axis.h for axis in self.box.axes], self.a, None, [(0.0, 0.0)] * self.box.dim)
        return A if self.added is None else A + self.added

    def dense(self) -> np.ndarray:
        E = kron(*map(unknowns_of, self.box.axes))
        return E.T @ self.whole @ E

    @cached_property
    def interpolation(self) -> np.ndarray:
        return equilibria(self.box, self.whole)

    def operator(self, dtype: torch.dtype) -> CellStiffness:
        return CellStiffness(self.box, torch.from_numpy(self.a).to(dtype), in_kind(self.reaction, dtype))


def in_kind(entries: StencilStiffness | None, dtype: torch.dtype) -> StencilStiffness | None:
    """Round entries to a precision."""
    return None if entries is None else entries.replaced(*(x.to(dtype) for x in entries.numbers))


def boxes_of_cells() -> Iterator[Case]:
    rng = np.random.default_rng(2)
    for dim in (2, 3):
        for count, each in enumerate(combinations(dim)):
            axes = [random_axis(rng, ends, MOST[dim] - (dim == 3), False, True) for _, ends in each]
            robin = [
                tuple(float(rng.uniform(0, 2) * (end == "natural" and count % 3 > 0)) for end in ends)
                for _, ends in each
            ]
            counts = [axis.cells for axis in axes]
            a = 10 ** rng.uniform(-1, 1, counts)
            c = 10 ** rng.uniform(-1, 1, counts) if count % 2 else None
            cells = Cells(Box(axes), a, c, count % 4 == 3, robin)
            more = f"{'-c' * (count % 2)}{'-lumped' * (count % 4 == 3)}{'-robin' * (count % 3 > 0)}"
            yield from operators_of_cells(cells, f"{dim}d-{','.join(name for name, _ in each)}{more}", count)


def operators_of_cells(cells: Cells, label: str, count: int) -> Iterator[Case]:
    box = cells.box
    kept: dict[str, Any] = {"stiffness": True, "bounded": not lone(box)}
    yield Case(f"cells-A-{label}", cells.operator, box.shape, cells.dense, **kept)
    if count % 3 == 0:
        entries = lambda dtype: cells.operator(dtype).assembled()  # noqa: E731
        yield Case(f"assembled-A-{label}", entries, box.shape, cells.dense, **kept)
    chosen = box.coarsening()
    if any(chosen):
        coarse = box.coarse(chosen)

        def interpolate(dtype: torch.dtype) -> NodeProlongation:
            return NodeProlongation(cells.operator(dtype), chosen)

        yield Case(f"node-P-{label}", interpolate, coarse.shape, lambda: cells.interpolation, slack=4)
        if count % 3 == 0:
            restrict = adjoint_of(interpolate)
            yield Case(f"node-R-{label}", restrict, box.shape, lambda: cells.interpolation.T, slack=4)
    if count % 2 and not lone(box):
        yield inverse_of_blocks(cells, label)


def inverse_of_blocks(cells: Cells, label: str) -> Case:
    """Along the last axis: the entries that tie nodes of one line to each other, inverted."""
    box = cells.box
    thin = (*[False] * (box.dim - 1), True)

    def expected() -> np.ndarray:
        lines = kron(*(np.eye(n) for n in box.shape[:-1]), np.ones((box.shape[-1],) * 2))
        return np.linalg.inv(cells.dense() * lines)

    def make(dtype: torch.dtype) -> Inverse:
        return Inverse(BlockDiagonal(cells.operator(dtype), thin).reciprocal())

    return Case(f"blocks-{label}", make, box.shape, expected, inverse=True, slack=100)


def nodes_that_are_free(rng: np.random.Generator, box: Box, cells: np.ndarray) -> np.ndarray:
    """Draw which nodes have an equation, among those that some cells have; both of joined ends, or none."""
    shape = tuple(n + 1 for n in cells.shape)
    corners = itertools.product((0, 1), repeat=cells.ndim)
    at = [np.ravel_multi_index((np.argwhere(cells) + corner).T, shape) for corner in corners]
    free = np.isin(np.arange(math.prod(shape)), at)
    J = kron(*map(joined, box.axes)) > 0
    there = (J & free[:, None]).any(0)
    return (J @ (there & (rng.random(len(there)) < 0.85))).reshape(shape)


@dataclass
class Weighted:
    """A box whose cells have a weight for each axis, what c and alpha add, and which nodes are free."""

    cells: Cells
    weights: list[np.ndarray]
    free: np.ndarray | None

    @cached_property
    def all_nodes(self) -> np.ndarray:
        """The matrix between all nodes, free or not: one cell after the other."""
        nodes = tuple(n + 1 for n in self.weights[0].shape)
        A = np.zeros((math.prod(nodes),) * 2) if self.cells.added is None else self.cells.added.copy()
        K, M = np.array([[1, -1], [-1, 1]]), np.array([[2, 1], [1, 2]]) / 6
        for cell in np.ndindex(self.weights[0].shape):
            at = [
                np.ravel_multi_index(each, nodes) for each in itertools.product(*((i, i + 1) for i in cell))
            ]
            for axis, weight in enumerate(self.weights):
                matrices = [K if i == axis else M for i in range(len(nodes))]
                A[np.ix_(at, at)] += weight[cell] * kron(*matrices)
        return A

    @cached_property
    def whole(self) -> np.ndarray:
        if self.free is None:
            return self.all_nodes
        return self.all_nodes * np.outer(self.free, self.free)

    def dense(self) -> np.ndarray:
        E = kron(*map(unknowns_of, self.cells.box.axes))
        return E.T @ self.whole @ E

    @cached_property
    def interpolation(self) -> np.ndarray:
        return equilibria(self.cells.box, self.whole)

    def operator(self, dtype: torch.dtype) -> WeightedStiffness:
        weights = [torch.from_numpy(weight).to(dtype) for weight in self.weights]
        free = None if self.free is None else torch.from_numpy(self.free)
        return WeightedStiffness(self.cells.box, weights, in_kind(self.cells.reaction, dtype), free)


def random_weights(dim: int, seed: int) -> Iterator[tuple[Weighted, str]]:
    """An operator for every two ends that meet: all nodes free, some, and some cells with no weight."""
    rng = np.random.default_rng(seed)
    for count, each in enumerate(combinations(dim)):
        axes = [random_axis(rng, ends, MOST[dim] - (dim == 3), False, True) for _, ends in each]
        reacts, lumps, sides, kind = count % 2 == 1, count % 4 == 3, count % 5 in (1, 2), count % 3
        robin = [
            tuple(float(rng.uniform(0, 2) * (end == "natural" and sides)) for end in ends) for _, ends in each
        ]
        box = Box(axes)
        inside = (rng.random(box.cells) < 0.8) | (kind < 2)
        inside.flat[0] = True
        c = inside * 10 ** rng.uniform(-1, 1, box.cells) if reacts else None
        spread = 1.0 if count % 4 < 2 else 0.2
        weights = [inside * 10 ** rng.uniform(-spread, spread, box.cells) for _ in axes]
        free = nodes_that_are_free(rng, box, inside) if kind else None
        cells = Cells(box, np.ones(box.cells), c, lumps, robin)
        more = f"{'-c' * reacts}{'-lumped' * lumps}{'-robin' * sides}{('', '-held', '-holes')[kind]}"
        yield Weighted(cells, weights, free), f"{dim}d-{','.join(name for name, _ in each)}{more}"


def boxes_of_weights() -> Iterator[Case]:
    for it, label in (*random_weights(2, 8), *random_weights(3, 12)):
        box = it.cells.box
        kept: dict[str, Any] = {"stiffness": True, "bounded": not lone(box)}
        yield Case(f"weights-A-{label}", it.operator, box.shape, it.dense, **kept)
        chosen = box.coarsening()
        if any(chosen):

            def interpolate(dtype: torch.dtype, it: Weighted = it, chosen: Any = chosen) -> NodeProlongation:
                return NodeProlongation(it.operator(dtype), chosen)

            P = lazily(lambda it: it.interpolation, it)
            yield Case(f"weights-P-{label}", interpolate, box.coarse(chosen).shape, P, slack=4)


def boxes_of_entries() -> Iterator[Case]:
    """Any entries between neighbours, with a last cell of any width: what coarse operators are."""
    rng = np.random.default_rng(3)
    for dim in (2, 3):
        for count, each in enumerate(combinations(dim)):
            counts = rng.integers(4, 8 if dim == 2 else 6, dim).tolist()
            lasts = rng.uniform(0.25, 0.75, dim).tolist()
            axes = [
                Axis(n, 0.5, ends, last=last) for n, (_, ends), last in zip(counts, each, lasts, strict=True)
            ]
            box, label = Box(axes), f"{dim}d-{','.join(name for name, _ in each)}"
            nodes = tuple(n + 1 for n in box.cells)
            whole = -rng.uniform(0.1, 1, (math.prod(nodes),) * 2)
            whole = near(nodes) * (whole + whole.T)
            np.fill_diagonal(whole, 0.1 - whole.sum(1) + np.diag(whole))
            yield from operators_of_entries(box, whole, label, count % 3 == 0)


def near(nodes: Shape) -> np.ndarray:
    """Say which nodes are neighbours, corners included, or the same."""
    return kron(*(np.abs(np.subtract.outer(np.arange(n), np.arange(n))) < 2 for n in nodes))


def operators_of_entries(box: Box, whole: np.ndarray, label: str, both: bool) -> Iterator[Case]:
    E, chosen = kron(*map(unknowns_of, box.axes)), box.coarsening()

    entries = cache(lambda: entries_of(box, whole))

    def make(dtype: torch.dtype) -> StencilStiffness:
        return entries().replaced(*(number.to(dtype) for number in entries().numbers))

    def interpolate(dtype: torch.dtype) -> NodeProlongation:
        return NodeProlongation(make(dtype), chosen)

    kept: dict[str, Any] = {"stiffness": True, "bounded": True}
    yield Case(f"entries-A-{label}", make, box.shape, lambda: E.T @ whole @ E, **kept)
    coarse, P = box.coarse(chosen).shape, lazily(equilibria, box, whole)
    yield Case(f"entries-P-{label}", interpolate, coarse, P, slack=4)
    if both:
        yield Case(f"entries-R-{label}", adjoint_of(interpolate), box.shape, lambda: P().T, slack=4)


# The ends, as torch continues past them.


def padded(x: Tensor, operator: Any) -> Tensor:
    """Continue past the ends, one axis after the other, by torch's own padding."""
    r, stride = operator.kernel_size[0] // 2, operator.stride[0]
    modes = {"natural": "replicate" if stride == 1 else "constant"}
    for axis, ends in enumerate(operator.pairs, 2):
        x = x.movedim(axis, -1)
        shape = x.shape
        x = x.reshape(1, -1, shape[-1])
        if ends[0] == "periodic":
            x = F.pad(x, (r, r - stride + 1 if stride > 1 else r), mode="circular")
        else:
            for side, end in enumerate(ends):
                width = r - stride + 1 if end == "dirichlet" else r
                x = F.pad(x, (0, width) if side else (width, 0), mode=modes.get(end, "constant"))
        x = x.reshape(*shape[:-1], -1).movedim(-1, axis)
    return x


# What makes them.


def partial(make: Callable[..., Any], *args: Any, **keywords: Any) -> Callable[[torch.dtype], Any]:
    return lambda dtype: make(*args, **keywords, dtype=dtype)


def lazily(make: Callable[..., np.ndarray], *args: Any) -> Callable[[], np.ndarray]:
    return cache(lambda: make(*args))


def adjoint_of(make: Callable[[torch.dtype], Any]) -> Callable[[torch.dtype], Any]:
    return lambda dtype: make(dtype).T


def varying_stiffness(k: Any, s: Any, ends: Any, robin: Any, dtype: torch.dtype) -> VaryingStiffness:
    return VaryingStiffness(
        torch.tensor(k, dtype=dtype), None if s is None else torch.tensor(s, dtype=dtype), ends, robin
    )


def varying_prolongation(k: Any, s: Any, ends: Any, dtype: torch.dtype) -> VaryingProlongation:
    return varying_stiffness(k, s, ends, (0.0, 0.0), dtype).coarsen()[1]


def condensation(A: Callable[[torch.dtype], Any], cells: int, ends: Any, dtype: torch.dtype) -> Inverse:
    operator = A(dtype)
    solver = Condensation(operator.on(cells) if isinstance(operator, Stiffness) else operator)
    return Inverse(lambda b: Chain(ends).unknowns(solver.solve(b[:, 0]))[:, None])


def some_cells_weigh(axes: Sequence[Axis], cells: np.ndarray, lumped: bool) -> np.ndarray:
    """Write the mass matrix of some cells of a box, one cell after the other."""
    nodes = [axis.cells + 1 for axis in axes]
    M = np.zeros((math.prod(nodes),) * 2)
    line = np.eye(2) / 2 if lumped else np.array([[2, 1], [1, 2]]) / 6
    for cell in np.argwhere(cells):
        ends = [(i, i + 1) for i in cell]
        at = [np.ravel_multi_index(corner, nodes) for corner in itertools.product(*ends)]
        widths = [widths_of(axis)[i] for axis, i in zip(axes, cell, strict=True)]
        M[np.ix_(at, at)] += kron(*(h * line for h in widths))
    E = kron(*map(unknowns_of, axes))
    return E.T @ M @ E


def masses_of_some_cells(axes: Sequence[Axis], lumped: bool, rng: np.random.Generator) -> Case:
    box = Box(axes)
    cells = rng.random(box.cells) < 0.7
    cells.ravel()[: 1 + cells.size // 3] = True
    make = partial(Mass, box, lumped, 1.0, torch.from_numpy(cells))
    label = f"mass-of-some-cells-{'x'.join(map(str, box.cells))}-{box.ends}{'-lumped' * lumped}"
    dense = lazily(some_cells_weigh, axes, cells, lumped)
    return Case(label, make, box.shape, dense, stiffness=True, galerkin=False)


def masses() -> Iterator[Case]:
    rng = np.random.default_rng(5)
    every = [[list(ENDS.items())[k]] for k in range(5)] + combinations(2) + combinations(3)[::4]
    for count, each in enumerate(every):
        axes = [random_axis(rng, ends, MOST.get(len(each), 9), False) for _, ends in each]
        if count % 3 == 2:  # given nodes along the first axis
            nodes = np.cumsum(rng.uniform(0.1, 1, axes[0].cells + 1))
            axes[0] = Axis(axes[0].cells, 1.0, axes[0].ends, nodes=nodes)
        lumped = count % 2 == 1
        label = f"mass-{','.join(name for name, _ in each)}{'-lumped' * lumped}{'-nodes' * (count % 3 == 2)}"
        dense = lazily(product, axes, 0.0, 1.0, lumped)
        shape = Box(axes).shape
        yield Case(
            label,
            partial(Mass, Box(axes), lumped),
            shape,
            dense,
            stiffness=True,
            bounded=True,
            galerkin=not lumped,
        )
        if math.prod(shape) > 1 and count % 3 < 2:
            yield masses_of_some_cells(axes, lumped, rng)


OPERATORS = [
    *transfers(),
    *convolutions(),
    *lines_of_equal_cells(),
    *lines_of_cells(),
    *lines_with_held_nodes(),
    *boxes_of_equal_cells(),
    *boxes_of_cells(),
    *boxes_of_weights(),
    *boxes_of_entries(),
    *masses(),
]
