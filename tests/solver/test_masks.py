"""Domains made of cells and nodes that are held: pieces, orders, cycles, gradients, evaluation."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck as checked

import mgnet
from mgnet import Dirichlet, Neumann, Robin, Status

pytestmark = pytest.mark.usefixtures("one_thread")

NAN = float("nan")


def centres(cells: tuple[int, ...]) -> list[np.ndarray]:
    return np.meshgrid(*((np.arange(n) + 0.5) / n for n in cells), indexing="ij")


def nodes_of(cells: np.ndarray) -> np.ndarray:
    """Say which nodes some cells have."""
    found = np.zeros([n + 1 for n in cells.shape], bool)
    for corner in itertools.product((0, 1), repeat=cells.ndim):
        found[tuple(slice(low, low + n) for low, n in zip(corner, cells.shape, strict=True))] |= cells
    return found


def border_of(cells: np.ndarray) -> np.ndarray:
    """Say which nodes have cells around that are in the domain, and such that are not, or are past a side."""
    around = np.ones(cells.ndim * [2])
    full = sum(np.pad(cells.astype(int), [(1 - c, c) for c in corner]) for corner in np.ndindex(around.shape))
    return (full > 0) & (full < around.size)


def disc(n: int) -> np.ndarray:
    x, y = centres((n, n))
    return np.asarray((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.23)


def ell(n: int) -> np.ndarray:
    x, y = centres((n, n))
    return np.asarray(np.minimum(x, y) < 0.5)


def comb(n: int) -> np.ndarray:
    """Slits of one cell, every second to every eighth."""
    cells = np.ones((n, n), bool)
    cells[1 :: max(2, n // 32), n // 8 :] = False
    return cells


def holes(n: int) -> np.ndarray:
    return np.random.default_rng(n).random((n, n)) > 0.1


DOMAINS = {"disc": disc, "L": ell, "comb": comb, "holes": holes}
FREE = {"boundary": Neumann()}


def one_of(mask: np.ndarray) -> np.ndarray:
    """Keep the first of some nodes."""
    found = np.zeros_like(mask)
    found.flat[np.flatnonzero(mask)[0]] = True
    return found


# Cycles.


def cycles(cells: np.ndarray, tol: float = 1e-10, **keywords: Any) -> list[int]:
    """Count cycles with sides held, the border, one node, and none at all."""
    shape = tuple(m + 1 for m in cells.shape)
    f = np.random.default_rng(1).standard_normal(shape)
    found = []
    nodes = nodes_of(cells)
    for held in (
        {},
        {**FREE, "fixed": (border_of(cells), 0.0)},
        {**FREE, "fixed": (one_of(nodes), 0.0)},
        FREE,
    ):
        given = {
            "n": cells.shape,
            "dim": cells.ndim,
            "cells": cells,
            "compatible": "project",
            **held,
            **keywords,
        }
        sol = mgnet.solve(f, **given, tol=tol, throw=False)
        solved = sol.status is Status.CONVERGED
        assert not solved or (np.isnan(sol.u) == ~nodes).all()
        found.append(sol.iterations if solved else 10**6)
    return found


@pytest.mark.parametrize("name", DOMAINS)
def test_cycles(name: str) -> None:
    assert max(cycles(DOMAINS[name](64))) <= 12


@pytest.mark.slow
@pytest.mark.parametrize("name", DOMAINS)
def test_cycles_of_many_cells(name: str) -> None:
    assert max(cycles(DOMAINS[name](256))) <= 12


@pytest.mark.slow
def test_slits_between_teeth_of_one_cell() -> None:
    """Each coarse cell has a tooth and a slit; where a side holds all teeth that does no harm."""
    cells = np.ones((256, 256), bool)
    cells[1::2, 32:] = False
    sides, border, *_ = cycles(cells)
    assert max(sides, border) <= 20


# Couplings of cells as flat as 1e-4 differ by 1e8, and so much more rounding counts in what little holds.
KEPT = {1e-4: 1e-7, 1e-2: 1e-10, 1e2: 1e-10, 1e4: 1e-7}


@pytest.mark.parametrize("ratio", KEPT)
@pytest.mark.parametrize("whole", [True, False])
def test_cycles_of_tensors_and_flat_cells(ratio: float, whole: bool) -> None:
    """A coefficient along an axis, cells that are flat or tall; with holes too."""
    cells = holes(32) | whole
    assert max(cycles(cells, a=(ratio, 1.0))) <= 20
    assert max(cycles(cells, KEPT[ratio], domain=((0, 1), (0, ratio)))) <= 20


@pytest.mark.parametrize("ratio", KEPT)
@pytest.mark.parametrize("whole", [True, False])
def test_cycles_of_a_stretched_axis(ratio: float, whole: bool) -> None:
    """Cells are flat at one end and tall at the other."""
    x = np.cumsum(np.concatenate(([0.0], np.geomspace(1, ratio, 48))))
    nodes = (x / x[-1], np.linspace(0, 1, 49))
    assert max(cycles(holes(48) | whole, KEPT[ratio], n=None, nodes=nodes)) <= 20


@pytest.mark.slow
@pytest.mark.parametrize("ratios", list(itertools.product((1e-4, 1.0, 1e4), repeat=2)))
@pytest.mark.parametrize("whole", [True, False])
def test_cycles_in_space(ratios: tuple[float, float], whole: bool) -> None:
    """Where sides or borders hold; and where one node does or nothing, if axes do not differ by 1e8."""
    cells = (np.random.default_rng(3).random((24, 24, 24)) > 0.1) | whole
    held = slice(None) if math.prod(ratios) != 1 or ratios == (1, 1) else slice(2)
    assert max(cycles(cells, a=(*ratios, 1.0))[held]) <= 30
    assert max(cycles(cells, 1e-7, domain=((0, 1), (0, ratios[0]), (0, ratios[1])))[:2]) <= 30


@pytest.mark.parametrize("ratio", [1.0, 1e4])
def test_nodes_without_an_equation_have_none_of_rounding(ratio: float) -> None:
    """In space entries across a face may sum to zero but for rounding, of which weights must not be made."""
    cells = np.random.default_rng(3).random((24, 24, 24)) > 0.1
    given = {"n": 24, "dim": 3, "cells": cells, "domain": ((0, 1), (0, ratio), (0, 1)), **FREE}
    problem = mgnet.Poisson(0.0, **given, fixed=(border_of(cells), 0.0))
    for level in mgnet.Hierarchy(problem, method="vcycle").levels:
        diagonal = level.A.diagonal()
        assert float(diagonal.max()) < 1e8
        assert float(diagonal[diagonal != 0].min()) > 1e-38 * float(diagonal.max())


# Orders.


def rates(solve: Callable[[int], float], sizes: tuple[int, ...]) -> float:
    """Give the last observed order of convergence."""
    errors = [solve(n) for n in sizes]
    return math.log2(errors[-2] / errors[-1])


def error_of(u: np.ndarray, exact: np.ndarray) -> float:
    """Give the root of the mean square over nodes that have a cell."""
    return float(np.sqrt(np.nanmean((u - exact) ** 2)))


def wave(*x: Any) -> Any:
    return np.prod(np.broadcast_arrays(*(np.cos(2 * t + i) for i, t in enumerate(x))), 0)


@pytest.mark.parametrize(("dim", "sizes"), [(1, (32, 64)), (2, (32, 64)), (3, (8, 16))])
@pytest.mark.parametrize("kind", ["plain", "tensor", "stretched"])
def test_the_order_is_two_with_holes(dim: int, sizes: tuple[int, ...], kind: str) -> None:
    """Values of the solution are held at the border of a hole, and on the sides."""
    a = (1.0, 10.0, 0.3)[:dim] if kind == "tensor" and dim > 1 else (1.0,) * dim
    stretch = 1.5 if kind == "stretched" else 1.0

    def error(n: int) -> float:
        x = np.linspace(0, 1, n + 1) ** stretch
        inside = np.zeros((n,) * dim, bool)
        inside[(slice(n // 4, n // 2),) * dim] = True
        held = border_of(~inside)
        sol = mgnet.solve(
            lambda *x: (4 * sum(a) + 1) * wave(*x),
            c=1.0,
            nodes=(x,) * dim if dim > 1 else x,
            dim=dim,
            a=a if dim > 1 else 1.0,
            cells=~inside,
            fixed=(held, wave),
        )
        assert np.isnan(sol.u).any()
        return error_of(sol.u, wave(*np.ix_(*[x] * dim)))

    assert rates(error, sizes) == pytest.approx(2, abs=0.25)


def test_the_order_is_two_along_a_natural_border() -> None:
    """An L, natural along its inner border: cos(2πx) cos(2πy) has no flux through x or y = 1/2."""

    def error(n: int) -> float:
        x = np.linspace(0, 1, n + 1)
        u = lambda x, y: np.cos(2 * np.pi * x) * np.cos(2 * np.pi * y)  # noqa: E731
        sol = mgnet.solve(lambda x, y: 8 * np.pi**2 * u(x, y), n=n, dim=2, cells=ell(n), **FREE)
        exact = np.where(nodes_of(ell(n)), u(*np.ix_(x, x)), NAN)
        return error_of(sol.u, exact - np.nanmean(exact) + np.nanmean(sol.u))

    assert rates(error, (32, 64)) == pytest.approx(2, abs=0.15)


# A line.


@pytest.mark.parametrize("ends", ["dirichlet", "natural", "periodic"])
@pytest.mark.parametrize("reacts", [False, True])
def test_the_exact_cycle_of_a_line_with_held_nodes(ends: str, reacts: bool) -> None:
    """Against the matrix of the nodes that are left, assembled cell by cell; one cycle."""
    rng, n = np.random.default_rng(5), 41
    x = np.concatenate(([0.0], np.cumsum(rng.uniform(0.5, 2, n))))
    a, f, c = rng.uniform(0.5, 2, n), rng.standard_normal(n + 1), reacts * rng.uniform(0, 1, n + 1)
    held, values = np.zeros(n + 1, bool), rng.standard_normal(n + 1)
    held[[7, 8, 20, 33]] = True
    cells = np.ones(n, bool)
    cells[[12, 27, 28]] = False
    for array in (f, c, values):
        array[-1] = array[0]
    A, b = np.zeros((2, n + 1, n + 1))
    h = np.diff(x)
    for i in np.flatnonzero(cells):
        A[i : i + 2, i : i + 2] += a[i] / h[i] * np.array([[1, -1], [-1, 1]]) + h[i] / 2 * np.diag(
            c[i : i + 2]
        )
        b[0, i : i + 2] += h[i] / 2 * f[i : i + 2]
    b, E = b[0], np.eye(n + 1)
    if ends == "periodic":
        E = np.vstack((E[:-1, :-1], E[0, :-1]))
    g = np.where(held, values, 0.0)
    free = nodes_of(cells) & ~held
    if ends == "dirichlet":
        free[[0, n]] = False
    # 13 to 27 between two holes is held at 20; 28 has no cell.
    unknowns = np.flatnonzero(free[: E.shape[1]])
    R = E[:, unknowns].T
    expected = np.where(nodes_of(cells), g + R.T @ np.linalg.solve(R @ A @ R.T, R @ (b - A @ g)), NAN)
    sides = {"boundary": Neumann()} if ends == "natural" else {"periodic": ends == "periodic"}
    given = {"nodes": x, "a": a, "c": c, "cells": cells, "fixed": (held, values), **sides}
    sol = mgnet.solve(f, **given)
    assert (sol.method, sol.iterations) == ("exact", 1)
    np.testing.assert_allclose(sol.u, expected, rtol=0, atol=1e-14 * np.nanmax(abs(expected)))
    for method in ("direct", "vcycle", "fmg", "pcg"):
        found = mgnet.solve(f, **given, method=method, tol=1e-12).u
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.nanmax(abs(expected)))


@pytest.mark.parametrize("method", ["exact", "direct", "vcycle", "fmg", "pcg"])
def test_pieces_of_a_line_that_nothing_holds(method: str) -> None:
    """Cosines on two of three pieces, each of zero mean; the third is held."""
    n = 48
    cells = np.ones(n, bool)
    cells[[15, 31]] = False  # pieces of 15, 15 and 16 cells
    x = np.arange(n + 1.0)
    held = x == n
    start = np.array([0, 16, 32])[np.searchsorted([15.5, 31.5], x)]
    f = np.where(x < 31.5, np.cos(np.pi * (x - start) / 15), 0.0)
    exact = f / (2 - 2 * np.cos(np.pi / 15))  # eigenvectors of the lumped matrix
    sol = mgnet.solve(f, nodes=x, cells=cells, fixed=(held, 3.0), **FREE, method=method)
    np.testing.assert_allclose(sol.u, np.where(x > 31.5, 3.0, exact), rtol=0, atol=1e-8)
    trapezium = np.convolve(cells, [0.5, 0.5])
    for piece in (x < 15.5, (x > 15.5) & (x < 31.5)):
        assert abs((trapezium * sol.u)[piece].sum()) < 1e-12 * np.abs(sol.u).max()


# Pieces.


def three_pieces() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Two pieces that nothing holds, one through a corner, and one on which a node is held."""
    cells = np.zeros((12, 12), bool)
    cells[:4, :4] = cells[4:6, 4:6] = True  # meet at a corner
    cells[8:, :5] = True
    cells[8:, 8:] = True
    held = np.zeros((13, 13), bool)
    held[10, 10] = True
    each = []
    for part in ((slice(0, 7), slice(0, 7)), (slice(8, 13), slice(0, 6))):
        mask = np.zeros_like(held)
        mask[part] = True
        each.append(mask & nodes_of(cells))
    return cells, held, each


def lumped(cells: np.ndarray) -> np.ndarray:
    """Give the integrals of hats, in units of a cell."""
    return sum(
        np.pad(cells / 4.0, [(c, 1 - c) for c in corner]) for corner in itertools.product((0, 1), repeat=2)
    )


@pytest.mark.parametrize("method", ["auto", "direct", "vcycle", "fmg"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pieces_have_a_mean_of_zero_each(method: str, dtype: Any) -> None:
    cells, held, each = three_pieces()
    weights = lumped(cells)
    f = np.random.default_rng(0).standard_normal((2, 13, 13))
    for piece in each:
        f[:, piece] -= ((f * weights)[:, piece].sum(-1) / weights[piece].sum())[:, None]
    given = {"n": 12, "dim": 2, "cells": cells, "fixed": (held, 2.0), "method": method, **FREE}
    sol = mgnet.solve(f.astype(dtype), **given)
    assert sol.u.dtype == dtype
    assert (np.isnan(sol.u) == ~nodes_of(cells)).all()
    scale = np.nanmax(np.abs(sol.u))
    for piece in each:
        assert np.abs((sol.u * weights)[:, piece].sum(-1)).max() < 64 * np.finfo(dtype).eps * scale
    # It solves the equations: a difference from what another method finds.
    other = mgnet.solve(f, **{**given, "method": "direct"}).u
    np.testing.assert_allclose(sol.u, other, rtol=0, atol=(1e-7 if dtype is np.float64 else 2e-5) * scale)


def test_data_of_each_piece_are_looked_at() -> None:
    """What would be right for all together is not; the message says which, and what to subtract."""
    cells, held, each = three_pieces()
    weights = lumped(cells)
    f = np.where(each[0], 1.0 / weights[each[0]].sum(), 0.0) - np.where(
        each[1], 1.0 / weights[each[1]].sum(), 0.0
    )
    given = {"n": 12, "dim": 2, "cells": cells, "fixed": (held, 2.0), **FREE}
    words = "in the piece of the domain around the unknown (0, 0), the defect, of "
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        mgnet.solve(f, **given)
    (mean,) = re.findall(r"subtract (\S+) from f", str(caught.value))
    first = np.where(each[0], f - float(mean), f)
    with pytest.raises(ValueError, match=re.escape("in the piece of the domain around the unknown (8, 0)")):
        mgnet.solve(first, **given)
    u = mgnet.solve(first, **given, compatible="project").u
    np.testing.assert_allclose(u, mgnet.solve(f, **given, compatible="project").u, atol=1e-12)
    with pytest.raises(
        ValueError, match=re.escape("in row 1 in the piece of the domain around the unknown (0")
    ):
        mgnet.solve(np.stack((0 * f, f)), **given)
    b = mgnet.load(mgnet.Poisson(**given), f)
    with pytest.raises(ValueError, match=r"^b: got data .* around the unknown \(0, 0\)"):
        mgnet.solve(b=b, **given)


def test_pieces_that_meet_where_axes_are_joined_are_one_problem() -> None:
    """A source in one part and a sink in the other: together they sum to zero."""
    cells = np.ones((8, 8), bool)
    cells[3] = cells[:, 3] = False
    cells[:3, 4:] = cells[4:, :3] = False  # two squares, that meet at the corner of both joined axes alone
    f = np.zeros((9, 9))
    f[1, 1], f[6, 6] = 1.0, -1.0
    sol = mgnet.solve(f, n=8, dim=2, cells=cells, periodic=True)
    assert sol.u[0, 0] == sol.u[8, 8] == sol.u[0, 8]
    assert np.nanmax(np.abs(sol.u)) > 0
    with pytest.raises(ValueError, match="in the piece of the domain"):
        mgnet.solve(f, n=8, dim=2, cells=cells, periodic=(True, False), **FREE)


# Where there is no domain.


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_values_and_slopes_at_borders(dim: int) -> None:
    """NaN outside, finite on borders; slopes are those of the side that there is. u is x + 2y + 3z."""
    n = 8
    cells = np.ones((n,) * dim, bool)
    cells[(slice(3, 5),) * dim] = False
    plane = lambda *x: sum((i + 1) * t for i, t in enumerate(x))  # noqa: E731
    held = border_of(cells)
    sol = mgnet.solve(0.0, n=n, dim=dim, cells=cells, fixed=(held, plane), **FREE)
    nodes = np.ix_(*[np.linspace(0, 1, n + 1)] * dim)
    outside = ~nodes_of(cells)
    np.testing.assert_allclose(sol.u, np.where(outside, NAN, plane(*nodes)), atol=1e-12)
    t = np.array([0.0, 0.2, 0.375, 0.376, 0.5, 0.624, 0.625, 0.9, 1.0])
    points = np.stack(np.meshgrid(*[t] * dim, indexing="ij"), -1)
    given = points if dim > 1 else points[..., 0]
    inside = np.all((points > 0.375) & (points < 0.625), -1)
    np.testing.assert_allclose(
        sol(given), np.where(inside, NAN, plane(*np.moveaxis(points, -1, 0))), atol=1e-12
    )
    slopes = np.asarray(sol.derivative(given)).reshape(*inside.shape, dim)
    for axis in range(dim):
        np.testing.assert_allclose(slopes[..., axis], np.where(inside, NAN, axis + 1.0), atol=1e-10)


def test_slopes_are_one_sided_at_borders() -> None:
    """u is x² at the nodes: beside a hole the slope is that of the last cell."""
    n, cells = 8, np.ones((8, 8), bool)
    cells[4:6, 2:6] = False
    x = np.linspace(0, 1, n + 1)
    sol = mgnet.solve(-2.0, n=n, dim=2, cells=cells, fixed=(nodes_of(cells), lambda x, y: x**2 + 0 * y))
    inner = (x[1:] ** 2 - x[:-1] ** 2) * n
    along = sol.derivative(x, np.full(9, 0.5))[:, 0]
    expected = np.array(
        [inner[0], *((inner[:3] + inner[1:4]) / 2), inner[3], NAN, inner[6], inner[6:].mean(), inner[7]]
    )
    np.testing.assert_allclose(along, expected, atol=1e-12)
    for side, way in (("left", 3), ("right", 3)):
        assert sol.derivative(0.5, 0.5, side=side)[0] == pytest.approx(inner[way], rel=1e-12)
    # Along the rim of the hole there are cells on both sides of its corner.
    for y in (0.125, 0.25, 0.2):
        assert sol.derivative(0.5, y)[0] == pytest.approx(inner[3:5].mean(), rel=1e-12)
        assert sol.derivative(0.5, y, side="right")[0] == pytest.approx(inner[4], rel=1e-12)
    # At a point that moves value and slopes are those of a cell that is there.
    for points in ([0.5, 0.5], [0.75, 0.5], [0.6, 0.25], [0.5, 0.25], [0.5, 0.75]):
        at = torch.tensor(points, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(sol(at), at)
        each = [float(sol.derivative(*points, side=side)[0]) for side in ("left", "right")]
        assert float(slope[0]) in [pytest.approx(value, rel=1e-12) for value in each]
        assert float(slope[1]) == pytest.approx(0, abs=1e-12)


def test_slopes_at_an_edge_of_cells_in_space() -> None:
    """Of four cells around an edge one is there, whichever: along it u is x², on two cells."""
    square = lambda x, y, z: x**2 + 0 * (y + z)  # noqa: E731
    for corner in itertools.product((0, 1), repeat=2):
        cells = np.zeros((2, 2, 2), bool)
        cells[(slice(None), *corner)] = True
        sol = mgnet.solve(0.0, n=2, dim=3, cells=cells, fixed=(nodes_of(cells), square))
        assert sol(0.5, 0.5, 0.5) == 0.25
        np.testing.assert_allclose(sol.derivative(0.5, 0.5, 0.5), [1, 0, 0], atol=1e-14)
        np.testing.assert_allclose(sol.derivative(0.25, 0.5, 0.5), [0.5, 0, 0], atol=1e-14)
        cells[(1, *corner)] = False
        sol = mgnet.solve(0.0, n=2, dim=3, cells=cells, fixed=(nodes_of(cells), square))
        np.testing.assert_allclose(sol.derivative(0.5, 0.5, 0.5), [0.5, 0, 0], atol=1e-14)


def test_pictures_and_words_leave_out_what_is_not_there() -> None:
    sol = mgnet.solve(1.0, n=16, dim=2, cells=disc(16), fixed=(border_of(disc(16)), 0.0))
    assert "nan" not in repr(sol)
    assert f"{np.nanmax(sol.u):.6g}" in repr(sol)
    assert sol.integral() == pytest.approx(np.nansum(sol.u * lumped(disc(16))) / 256, rel=1e-12)
    assert np.isfinite(sol.energy)
    assert math.isfinite(sol.error_estimate)
    axes = sol.plot()
    plt.close(axes.figure)


# Many right-hand sides, hierarchies.


def test_batches_of_held_values() -> None:
    """Each row is what it is alone, whichever has the leading axes."""
    cells = holes(12)
    held = border_of(cells) & nodes_of(cells)
    rng = np.random.default_rng(0)
    values, f = rng.standard_normal((3, int(held.sum()))), rng.standard_normal((3, 13, 13))
    given: dict[str, Any] = {"n": 12, "dim": 2, "cells": cells}
    for many, rows in (
        ((f[0], values), [(f[0], v) for v in values]),
        ((f, values), zip(f, values, strict=True)),
    ):
        found = mgnet.solve(many[0], **given, fixed=(held, many[1])).u
        assert found.shape == (3, 13, 13)
        for u, (each, v) in zip(found, rows, strict=True):
            np.testing.assert_allclose(u, mgnet.solve(each, **given, fixed=(held, v)).u, atol=1e-9)
            np.testing.assert_array_equal(u[held], v)
    with pytest.raises(ValueError, match="accepted: a batch that all share"):
        mgnet.solve(f[:2], **given, fixed=(held, values))


@pytest.mark.parametrize("method", ["auto", "vcycle", "wcycle", "fcycle", "fmg", "direct", "pcg"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hierarchies(method: str, dtype: torch.dtype) -> None:
    """One set-up for many loads; against SciPy's factors in float64."""
    cells = disc(24)
    held = border_of(cells)
    problem = mgnet.Poisson(0.0, n=24, dim=2, cells=cells, fixed=(held, lambda x, y: x * y), a=(1.0, 5.0))
    hierarchy = mgnet.Hierarchy(problem, method=method, dtype=dtype)
    assert "levels" in repr(hierarchy)
    exact = mgnet.Hierarchy(problem, method="direct")
    for f in (1.0, np.random.default_rng(0).standard_normal((25, 25))):
        b = mgnet.load(problem, f)
        found, expected = hierarchy.solve(b), exact.solve(b).u
        assert found.status is Status.CONVERGED
        size = np.nanmax(np.abs(expected))
        bound = 10 * found.error_estimate + 4 * torch.finfo(dtype).eps * size
        assert np.nanmax(np.abs(np.asarray(found.u) - expected)) <= bound
        assert (np.isnan(np.asarray(found.u)) == ~nodes_of(cells)).all()


def test_all_nodes_held_or_a_single_cell() -> None:
    """There is nothing to solve for, or next to nothing."""
    for dim in (1, 2, 3):
        everywhere = np.ones((5,) * dim, bool)
        rng = np.random.default_rng(dim)
        values = rng.standard_normal(everywhere.shape)
        for cells in (None, one_of(np.ones((4,) * dim, bool))):
            u = mgnet.solve(1.0, n=4, dim=dim, cells=cells, fixed=(everywhere, values), **FREE).u
            there = ~np.isnan(u)
            np.testing.assert_array_equal(u[there], values[there])
            assert there.sum() == (2**dim if cells is not None else values.size)
        u = mgnet.solve(0.0, n=4, dim=dim, cells=one_of(np.ones((4,) * dim, bool)), **FREE).u
        assert np.nansum(np.abs(u)) == 0


def test_a_mask_that_holds_nothing_new_changes_nothing() -> None:
    """All cells, no held nodes, the nodes of sides: as without."""
    f = np.random.default_rng(0).standard_normal((17, 17))
    given: dict[str, Any] = {
        "n": 16,
        "dim": 2,
        "a": np.random.default_rng(1).uniform(1, 2, (16, 16)),
        "tol": 1e-12,
    }
    expected = mgnet.solve(f, **given).u
    border = border_of(np.ones((16, 16), bool))
    for more in (
        {"cells": np.ones((16, 16), bool)},
        {"fixed": (np.zeros((17, 17), bool), 5.0)},
        {"fixed": (border, 0.0), **FREE},
        {"fixed": (border, 0.0), "boundary": Robin(3.0, 7.0)},
    ):
        np.testing.assert_allclose(mgnet.solve(f, **given, **more).u, expected, rtol=0, atol=1e-12)


def test_held_nodes_count_before_sides() -> None:
    held, values = np.zeros((5, 5), bool), np.full((5, 5), 9.0)
    held[0, 2] = held[4, 4] = True
    u = mgnet.solve(0.0, n=4, dim=2, boundary=Dirichlet(1.0), fixed=(held, values)).u
    assert u[0, 2] == u[4, 4] == 9
    assert u[0, 1] == u[0, 0] == 1


# Gradients.


CELLS = np.ones((4, 5), bool)
CELLS[1, 2] = CELLS[3, 0] = CELLS[3, 1] = False
HELD = np.zeros((5, 6), bool)
HELD[1, 1] = HELD[2, 4] = HELD[3, 3] = True


def solved(f: Any, **keywords: Any) -> Tensor:
    u = mgnet.solve(f, n=(4, 5), dim=2, cells=CELLS, **keywords, tol=1e-13).u
    return u[torch.from_numpy(nodes_of(CELLS))[None].expand(u.shape) if u.ndim > 2 else nodes_of(CELLS)]


def gradcheck(f: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> bool:
    return checked(f, inputs, fast_mode=True)


def number(*shape: int, low: float = 0.5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (low + torch.rand(shape, generator=generator, dtype=torch.float64)).requires_grad_()


@pytest.mark.parametrize("shape", [(3,), (5, 6), (2, 3), ()])
def test_derivatives_by_held_values(shape: tuple[int, ...]) -> None:
    assert gradcheck(lambda g: solved(1.0, fixed=(HELD, g)), (number(*shape),))


def test_derivatives_by_alpha_along_a_side() -> None:
    def of(alpha: Tensor) -> Tensor:
        return solved(1.0, boundary={"left": Robin(alpha, 1.0), "top": Robin(2.0 * alpha[:5], 0.5)})

    assert gradcheck(of, (number(6),))
    assert gradcheck(lambda alpha: solved(1.0, boundary={"left": Robin(alpha, 1.0)}), (number(5, 6),))


def test_derivatives_by_a_tensor() -> None:
    fixed = (HELD, number(3).detach())
    assert gradcheck(lambda a, d: solved(1.0, a=(a, d), fixed=fixed), (number(4, 5), number(4, 5, seed=1)))
    assert gradcheck(lambda a, d: solved(1.0, a=(a, d)), (number(), number(seed=1)))


def test_derivatives_by_data_in_cells() -> None:
    """Where nothing is, derivatives are zero, not NaN."""
    f, a, c, g = number(5, 6), number(4, 5), number(5, 6, seed=2), number(3, seed=3)
    assert gradcheck(lambda f, a, c, g: solved(f, a=a, c=c, fixed=(HELD, g)), (f, a, c, g))
    u = solved(f, a=a, c=c, fixed=(HELD, g))
    of_f, of_a, of_c = torch.autograd.grad(u.sum(), (f, a, c))
    absent = ~torch.from_numpy(nodes_of(CELLS))
    assert not of_a[~torch.from_numpy(CELLS)].any()
    assert not (of_f[absent].any() or of_c[absent].any())
    assert not of_f[torch.from_numpy(HELD)].any()
    assert of_f.any()


def test_derivatives_of_many() -> None:
    """Rows share what they share."""
    f, g = number(2, 5, 6), number(2, 3, seed=1)
    assert gradcheck(lambda f, g: solved(f, fixed=(HELD, g)), (f, g))


def test_derivatives_of_pieces_that_nothing_holds() -> None:
    """Each is projected: what is added to all data of a piece changes nothing."""
    cells, held, each = three_pieces()
    inside = nodes_of(cells)

    def of(f: Tensor) -> Tensor:
        given = {"n": 12, "dim": 2, "cells": cells, "fixed": (held, 2.0), "compatible": "project", **FREE}
        return mgnet.solve(f, **given, tol=1e-13).u[inside]

    f = number(13, 13)
    direction = number(13, 13, seed=1).detach()
    v = number(int(inside.sum()), seed=2).detach()
    (grad,) = torch.autograd.grad((of(f) * v).sum(), f)
    with torch.no_grad():  # it is linear
        moved = ((of(f + direction) - of(f)) * v).sum()
    assert float((grad * direction).sum()) == pytest.approx(float(moved), rel=1e-9)
    for piece in each:
        assert abs(float(grad[piece].sum())) < 1e-12 * float(grad.abs().max())


@pytest.mark.parametrize("ends", [{}, FREE, {"periodic": True}])
def test_derivatives_on_a_line(ends: dict[str, Any]) -> None:
    """By f, a, c, held values, and alpha at an end."""
    cells, held = np.ones(8, bool), np.zeros(9, bool)
    cells[2] = False
    held[[5, 6]] = True
    inside = nodes_of(cells)

    def of(f: Tensor, a: Tensor, c: Tensor, g: Tensor, alpha: Tensor | None = None) -> Tensor:
        sides = ends if alpha is None else {"left": Robin(alpha, 1.0), "right": Neumann(1.0)}
        return mgnet.solve(f, n=8, a=a, c=c, cells=cells, fixed=(held, g), **sides).u[inside]

    data = number(9), number(8, seed=1), number(9, seed=2), number(2, seed=3)
    assert gradcheck(of, data)
    if ends is FREE:
        assert gradcheck(of, (*data, number(seed=4)))


# Two ways to say the same.


def test_a_side_of_which_a_part_is_held() -> None:
    """Robin's alpha along it that is zero elsewhere, and nodes that are held, as assembled node by node."""
    n = 6
    alpha = np.where(np.arange(n + 1) < 3, 2.0, 0.0)
    sides = {"left": Robin(alpha, 1.0), "right": Neumann(), "bottom": Neumann(), "top": Dirichlet()}
    u = mgnet.solve(0.0, n=n, dim=2, boundary=sides, load="exact", tol=1e-13).u
    K = np.diag([1.0] + [2.0] * (n - 1) + [1.0]) - np.eye(n + 1, k=1) - np.eye(n + 1, k=-1)
    M = (np.diag([2.0] + [4.0] * (n - 1) + [2.0]) + np.eye(n + 1, k=1) + np.eye(n + 1, k=-1)) / 6 / n
    A = np.kron(n * K, M) + np.kron(M, n * K)
    S, b = np.zeros((n + 1, n + 1)), np.zeros((n + 1, n + 1))
    gauss = 0.5 + np.array([-1, 1]) / np.sqrt(12)
    for i, t in itertools.product(range(n), gauss):
        hat = np.array([1 - t, t])
        S[i : i + 2, i : i + 2] += np.outer(hat, hat) * (hat @ alpha[i : i + 2]) / 2 / n
    A[: n + 1, : n + 1] += S
    b[0] = M.sum(1)
    keep = np.flatnonzero(np.arange((n + 1) ** 2) % (n + 1) < n)
    expected = np.zeros((n + 1) ** 2)
    expected[keep] = np.linalg.solve(A[np.ix_(keep, keep)], b.ravel()[keep])
    np.testing.assert_allclose(u.ravel(), expected, atol=1e-12)


# What stands where nothing counts, and what is said twice.


def test_an_empty_mask_holds_nothing_and_keeps_the_batch() -> None:
    none = np.zeros((9, 9), bool)
    plain = mgnet.solve(1.0, dim=2, n=8).u
    np.testing.assert_allclose(mgnet.solve(1.0, dim=2, n=8, fixed=(none, [])).u, plain, atol=1e-12)
    many = mgnet.solve(1.0, dim=2, n=8, fixed=(none, np.zeros((3, 0)))).u
    np.testing.assert_allclose(many, np.stack([plain] * 3), atol=1e-12)


def test_guesses_and_loads_may_have_nan_where_there_is_no_cell() -> None:
    cells = np.ones((8, 8), bool)
    cells[:4, :4] = False
    sol = mgnet.solve(1.0, dim=2, n=8, cells=cells)
    again = mgnet.solve(1.0, dim=2, n=8, cells=cells, x0=sol.u)
    np.testing.assert_allclose(again.u, sol.u, atol=1e-12)
    problem = mgnet.Poisson(1.0, dim=2, n=8, cells=cells)
    b = mgnet.load(problem)
    b[np.isnan(sol.u[1:-1, 1:-1])] = np.nan
    assert np.isnan(b).any()
    np.testing.assert_allclose(mgnet.solve(b=b, dim=2, n=8, cells=cells).u, sol.u, atol=1e-12)
    np.testing.assert_allclose(mgnet.Hierarchy(problem).solve(b).u, sol.u, atol=1e-12)


def test_joined_nodes_have_one_value() -> None:
    ends = np.array([True, False, False, False, True])
    with pytest.raises(ValueError, match="two values at nodes of joined sides"):
        mgnet.solve(1.0, n=4, periodic=True, fixed=(ends, [2.0, 3.0]))
    assert mgnet.solve(1.0, n=4, periodic=True, fixed=(ends, [2.0, 2.0])).u[0] == 2.0


def test_alpha_has_no_batch() -> None:
    with pytest.raises(ValueError, match=r"right: Robin alpha: the function returned .*\(2, 9\)"):
        mgnet.solve(1.0, dim=2, n=8, right=mgnet.Robin(lambda x, y: np.stack([1 + y, 9 + y]), 1.0))


def test_nodes_in_torch_give_answers_in_torch() -> None:
    x = torch.linspace(0, 1, 5, dtype=torch.float64)
    assert isinstance(mgnet.solve(1.0, dim=2, nodes=(x, x)).u, torch.Tensor)
    assert isinstance(mgnet.solve(1.0, dim=2, nodes=(x.numpy(), x.numpy())).u, np.ndarray)


@pytest.mark.parametrize("n", [36, 61])
def test_domains_that_coarse_grids_do_not_see(n: int) -> None:
    """Strips of one cell between sides that are held, at every place."""
    for row in range(n):
        cells = np.zeros((n, n), bool)
        cells[row] = True
        found = mgnet.solve(1.0, dim=2, n=n, cells=cells).u
        expected = mgnet.solve(1.0, dim=2, n=n, cells=cells, method="direct").u
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.nanmax(np.abs(expected)) + 1e-15)


@pytest.mark.parametrize("seed", range(12))
def test_fluxes_of_sides_and_of_held_nodes_balance_with_the_sources(seed: int) -> None:
    rng, dim = np.random.default_rng(seed), seed % 3 + 1
    n = tuple(int(i) for i in rng.integers(3, 9, dim))
    nodes, axes = tuple(m + 1 for m in n), [np.cumsum(rng.random(m + 1) + 0.05) for m in n]
    cells, fixed = rng.random(n) > 0.2, rng.random(nodes) < 0.15
    names = ["left", "right", "bottom", "top", "back", "front"][: 2 * dim]
    sides: dict[str, Any] = {}
    for i, name in enumerate(names):
        along = nodes[: i // 2] + nodes[i // 2 + 1 :]
        g, alpha = (rng.normal(size=along), rng.random(along)) if dim > 1 else (1.0, 0.5)
        sides[name] = (Dirichlet(g), Neumann(g), Robin(alpha, g))[int(rng.integers(3))]
    a = tuple(10 ** rng.uniform(-1, 1, n) for _ in n) if dim > 1 else 10 ** rng.uniform(-1, 1, n)
    c, f = rng.random(nodes), rng.normal(size=nodes)
    form: dict[str, Any] = {"dim": dim, "nodes": tuple(axes) if dim > 1 else axes[0], "boundary": sides}
    held = (fixed, rng.normal(size=nodes))
    sol = mgnet.solve(f, a=a, c=c, cells=cells, fixed=held, throw=False, **form)
    weights = cells.astype(float)  # the integrals of what is left of the hats
    for axis, x in enumerate(axes):
        weights = weights * (np.diff(x) / 2).reshape([-1 if i == axis else 1 for i in range(dim)])
        ends = [[(0, 1) if i == axis else (0, 0) for i in range(dim)] for _ in range(2)]
        ends[1][axis] = (1, 0)
        weights = np.pad(weights, ends[0]) + np.pad(weights, ends[1])
    u = np.nan_to_num(sol.u)
    inside = np.zeros(nodes, bool)
    inside[(slice(1, -1),) * dim] = True
    fluxes = [sol.flux(name) for name in names] + [sol.flux(fixed & inside)]
    sources = weights * (f - c * u)
    assert abs(sum(fluxes) + sources.sum()) < 1e-12 * (np.abs(fluxes).sum() + np.abs(sources).sum())
    assert sol.integral() == pytest.approx((weights * u).sum(), rel=1e-12)
