"""What shapes of arrays say, against an assembly by quadrature, cell by cell, of both kinds of data."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Dirichlet, Neumann, Poisson, Robin
from mgnet.poisson.shapes import cells_told

CELLS = (4, 3, 2)
T, W = np.polynomial.legendre.leggauss(3)
T, W = (T + 1) / 2, W / 2
every_dim = pytest.mark.parametrize("dim", [1, 2, 3])


def oracle(a: np.ndarray, c: np.ndarray, f: np.ndarray, lumped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Assemble all nodes of the unit box: a matrix and a load, from data per cell or per node.

    Lumped, the hats' own values at the corners stand for them.
    """
    dim = f.ndim
    cells = [CELLS[axis] for axis in range(dim)]
    nodes = [n + 1 for n in cells]
    number = np.arange(np.prod(nodes)).reshape(nodes)
    A, b = np.zeros((number.size,) * 2), np.zeros(number.size)
    corners = list(itertools.product((0, 1), repeat=dim))
    for cell in np.ndindex(*cells):
        here = [number[tuple(np.add(cell, corner))] for corner in corners]

        def at(values: np.ndarray, hats: np.ndarray, cell: Any = cell) -> float:
            if values.shape == tuple(cells):
                return float(values[cell])
            return float(hats @ [values[tuple(np.add(cell, corner))] for corner in corners])

        def hats_at(point: Any) -> tuple[np.ndarray, np.ndarray]:
            ends = [np.array([1 - t, t]) for t in point]
            hats = np.array([np.prod([e[i] for e, i in zip(ends, k, strict=True)]) for k in corners])
            slopes = [
                [
                    np.prod(
                        [
                            (2 * i - 1) * n if j == axis else e[i]
                            for j, (e, i, n) in enumerate(zip(ends, k, cells, strict=True))
                        ]
                    )
                    for axis in range(dim)
                ]
                for k in corners
            ]
            return hats, np.array(slopes)

        volume = 1 / np.prod(cells)
        for place in np.ndindex(*[len(T)] * dim):
            hats, slopes = hats_at(T[list(place)])
            weight = volume * np.prod(W[list(place)])
            A[np.ix_(here, here)] += weight * at(a, hats) * slopes @ slopes.T
            if not lumped:
                A[np.ix_(here, here)] += weight * at(c, hats) * np.outer(hats, hats)
                b[here] += weight * at(f, hats) * hats
        if lumped:
            for i, corner in zip(here, corners, strict=True):
                hats, _ = hats_at(corner)
                A[i, i] += volume / 2**dim * at(c, hats)
                b[i] += volume / 2**dim * at(f, hats)
    return A, b


def shape_of(kind: str, dim: int) -> tuple[int, ...]:
    return tuple(n + (kind == "nodes") for n in CELLS[:dim])


@every_dim
@pytest.mark.parametrize("load", ["exact", "nodal"])
@pytest.mark.parametrize("kinds", list(itertools.product(("cells", "nodes"), repeat=2)), ids="-".join)
def test_data_by_shape_against_a_dense_assembly(dim: int, load: str, kinds: tuple[str, str]) -> None:
    """a is multilinear between nodes: its mean counts, which the oracle is given."""
    rng = np.random.default_rng(dim)
    c, f = (rng.random(shape_of(kind, dim)) for kind in kinds)
    a = 1 + rng.random(shape_of("cells", dim))
    A, b = oracle(a, 50 * c, f, lumped=load == "nodal")
    expected = np.linalg.solve(A, b).reshape(shape_of("nodes", dim))
    n = CELLS[:dim] if dim > 1 else CELLS[0]
    sol = mgnet.solve(f, n=n, dim=dim, a=a, c=50 * c, load=load, boundary=Neumann(0.0), method="direct")
    np.testing.assert_allclose(sol.u, expected, rtol=1e-11)  # eq: load-cells


@every_dim
def test_a_at_nodes_counts_by_the_means_of_its_linear_function(dim: int) -> None:
    rng = np.random.default_rng(0)
    nodal = 1 + rng.random(shape_of("nodes", dim))
    corners = itertools.product(*[(slice(None, -1), slice(1, None))] * dim)
    means = np.mean([nodal[corner] for corner in corners], axis=0)
    n = CELLS[:dim] if dim > 1 else CELLS[0]
    sides = {"left": Dirichlet(1.0), "right": Robin(2.0, 1.0)}
    at_nodes, in_cells = (mgnet.solve(1.0, n=n, dim=dim, a=a, boundary=sides).u for a in (nodal, means))
    np.testing.assert_allclose(at_nodes, in_cells, rtol=1e-14)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_at_nodes_may_leave_out_the_last_one_of_a_period(dim: int) -> None:
    n = CELLS[:dim]
    once = 1 + np.random.default_rng(0).random((n[0], *(size + 1 for size in n[1:])))
    joined: dict[str, Any] = {"n": n, "dim": dim, "periodic": (True, False, False)[:dim]}
    short, whole = (mgnet.solve(1.0, a=a, **joined).u for a in (once, np.concatenate((once, once[:1]))))
    np.testing.assert_array_equal(short, whole)


@every_dim
@pytest.mark.parametrize("kind", ["cells", "nodes"])
@pytest.mark.parametrize("load", [None, "exact", "nodal"])
def test_f_and_c_that_are_given_alike_fit(dim: int, kind: str, load: str | None) -> None:
    """c (u - g) = 0 has the constant solution g, however c jumps."""
    c = np.zeros(shape_of(kind, dim))
    c[(1,) * dim] = 1e4
    n = CELLS[:dim] if dim > 1 else CELLS[0]
    u = mgnet.solve(3 * c, n=n, dim=dim, c=c, load=load, boundary=Neumann(0.0)).u
    np.testing.assert_allclose(u, 3.0, rtol=1e-11)


@every_dim
def test_a_constant_is_one_however_f_and_c_are_given(dim: int) -> None:
    n = CELLS[:dim] if dim > 1 else CELLS[0]
    kinds = [np.full(shape_of(kind, dim), 2.0) for kind in ("cells", "nodes")]
    for c, f in itertools.product([*kinds, 2.0, lambda *x: 2.0 + 0 * x[0]], repeat=2):
        g = 3 * f if not callable(f) else lambda *x: 6.0 + 0 * x[0]
        for load in ("exact", "nodal"):
            u = mgnet.solve(g, n=n, dim=dim, c=c, load=load, boundary=Neumann(0.0)).u
            np.testing.assert_allclose(u, 3.0, rtol=1e-10)


def test_values_per_cell_are_integrated_unless_it_is_said() -> None:
    f = np.array([1.0, 2.0, 3.0, 4.0])
    assert Poisson(f, n=4).load == "exact"
    assert not Poisson(f, n=4).lumped
    assert Poisson(f, n=4, load="nodal").lumped
    piecewise = mgnet.solve(lambda x: np.floor(4 * x) + 1, n=4, c=lambda x: 1 + np.floor(4 * x)).u
    np.testing.assert_allclose(mgnet.solve(f, n=4, c=f).u, piecewise, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_values_per_cell_of_any_kind_and_in_batches(dtype: type, kind: str) -> None:
    f = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(dtype)
    given = torch.from_numpy(f) if kind == "torch" else f
    sol = mgnet.solve(given, n=(5, 4), dim=2)
    assert sol.u.shape == (2, 3, 6, 5)
    assert isinstance(sol.u, torch.Tensor) == (kind == "torch")
    assert sol.dtype == np.dtype(dtype).name
    one = mgnet.solve(f[1, 2], n=(5, 4), dim=2).u
    np.testing.assert_allclose(np.asarray(sol.u)[1, 2], one, rtol=1e-5 if dtype is np.float32 else 1e-10)


def test_joined_axes() -> None:
    """Where both shapes are one, f and c are per node and a is per cell; nodes may stand once or twice."""
    rng = np.random.default_rng(0)
    f, a, c = rng.normal(size=8), 1 + rng.random(8), 1 + rng.random(8)
    twice = [np.append(x, x[0]) for x in (f, a, c)]
    u = mgnet.solve(f, n=8, a=a, c=c, periodic=True).u
    np.testing.assert_array_equal(u, mgnet.solve(twice[0], n=8, a=a, c=twice[2], periodic=True).u)
    means = (twice[1][:-1] + twice[1][1:]) / 2
    np.testing.assert_allclose(
        mgnet.solve(f, n=8, a=twice[1], c=c, periodic=True).u,
        mgnet.solve(f, n=8, a=means, c=c, periodic=True).u,
        rtol=1e-13,
    )
    # With one axis joined the other tells.
    g = rng.normal(size=(8, 6))
    per_cell = mgnet.solve(g, n=(8, 6), dim=2, periodic=(True, False)).u
    shares = np.zeros((8, 7))  # a quarter of each cell to each corner
    for i, j in itertools.product((0, 1), repeat=2):
        shares[:, j : j + 6] += np.roll(g, i, 0) / 4 / 48
    ready = mgnet.solve(b=shares[:, 1:-1], n=(8, 6), dim=2, periodic=(True, False)).u
    np.testing.assert_allclose(per_cell, ready, atol=1e-12)


def derivatives(value: Any, *inputs: np.ndarray) -> None:
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    assert torch.autograd.gradcheck(value, tensors)


@pytest.mark.parametrize("load", ["exact", "nodal"])
def test_derivatives_by_data_of_the_other_shape(load: str) -> None:
    rng = np.random.default_rng(0)
    derivatives(
        lambda f, a, c: mgnet.solve(f, n=4, a=a, c=c, load=load).u,
        rng.normal(size=4),
        1 + rng.random(5),
        rng.random(4),
    )
    derivatives(
        lambda f, a, c: mgnet.solve(f, n=(3, 2), dim=2, a=a, c=c, load=load, method="direct").u,
        rng.normal(size=(3, 2)),
        1 + rng.random((4, 3)),
        rng.random((3, 2)),
    )


def test_a_flux_that_a_cell_cannot_have_is_found_in_it() -> None:
    with pytest.raises(ValueError, match=r"f: got nan at index \(2, 1\) of row 1; accepted"):
        mgnet.solve(np.where(np.arange(24).reshape(2, 4, 3) == 19, np.nan, 1.0), n=(4, 3), dim=2)
    with pytest.raises(ValueError, match=r"a: got -1.0 in node \(0, 3\) of row 1; accepted: positive"):
        mgnet.solve(n=(4, 3), dim=2, a=np.where(np.arange(40).reshape(2, 5, 4) == 23, -1.0, 1.0))
    with pytest.raises(
        ValueError, match=r"f: got shape \(6,\); accepted: \(\.\.\., 5 or 4\), one value per node"
    ):
        mgnet.solve(np.ones(6), n=4)


# The number of cells.


@pytest.mark.parametrize(
    ("data", "keywords", "cells"),
    [
        ({"f": (9,)}, {}, (8,)),
        ({"f": (3, 9)}, {}, (8,)),
        ({"f": (9, 9)}, {"dim": 1}, (8,)),
        ({"f": (9, 9)}, {"dim": 2}, (8, 8)),
        ({"f": (9, 7)}, {"dim": 2}, (8, 6)),
        ({"c": (9,)}, {}, (8,)),
        ({"a": (9,)}, {}, (9,)),
        ({"a": (4, 9, 9)}, {"dim": 2}, (9, 9)),
        ({"f": (9,), "a": (8,)}, {}, (8,)),
        ({"f": (9,), "c": (9,), "a": (9,)}, {"n": 8}, (8,)),
        ({"f": (9,), "a": (10,)}, {}, (9,)),
        ({"f": (9,), "c": (10,)}, {}, (9,)),
        ({"c": (10,), "a": (10,), "f": (9,)}, {}, (9,)),
        ({"f": (8,)}, {"periodic": True}, (8,)),
        ({"f": (8,), "a": (8,), "c": (8,)}, {"periodic": True}, (8,)),
        ({"f": (8,), "c": (9,)}, {"periodic": True}, (8,)),
        ({"f": (8, 9)}, {"dim": 2, "periodic": (True, False)}, (8, 8)),
    ],
    ids=str,
)
def test_shapes_tell_the_number_of_cells(data: Any, keywords: dict[str, Any], cells: tuple[int, ...]) -> None:
    arrays = {name: np.ones(shape) for name, shape in data.items()}
    assert Poisson(**arrays, **keywords).cells == cells
    as_lists = {name: x.tolist() for name, x in arrays.items()}
    assert Poisson(**as_lists, **keywords).cells == cells
    assert mgnet.solve(**{"c": 1.0, **arrays}, **keywords).u.shape[-len(cells) :] == tuple(
        n + 1 for n in cells
    )


@pytest.mark.parametrize(
    ("data", "keywords", "words"),
    [
        ({}, {}, "n: got None; accepted: a number of cells of at least 1, or nodes, or arrays whose shapes"),
        ({"f": (9,), "a": (9,)}, {}, "f of shape (9,), a of shape (9,), which fit n = 8 or 9; accepted: n"),
        (
            {"f": (9,), "a": (12,)},
            {},
            "which fit no number of cells together; accepted: arrays with one value",
        ),
        ({"f": (9, 9), "c": (9, 8)}, {"dim": 2}, "which fit no number of cells together"),
        ({"f": (9, 9)}, {}, "f: got shape (9, 9) without n and dim: a batch of rows, or dim=2?"),
        ({"f": (5, 5, 5)}, {}, "f: got shape (5, 5, 5) without n and dim: a batch of rows, or dim=3?"),
        ({"a": (9, 9)}, {}, "accepted: n=9 for a batch, or dim=2"),
        ({"f": (9,)}, {"dim": 2}, "f: got shape (9,) without n; accepted: 2 axes or more"),
        ({"f": (1,)}, {}, "n: got 0; accepted: an integer of at least 1"),
    ],
    ids=str,
)
def test_shapes_that_do_not_tell_it(data: Any, keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="^") as caught:
        mgnet.solve(**{name: np.ones(shape) for name, shape in data.items()}, **keywords)
    assert words in str(caught.value)


def test_with_n_two_axes_are_a_batch() -> None:
    assert mgnet.solve(np.ones((9, 9)), n=8).u.shape == (9, 9)
    assert mgnet.solve(np.ones((9, 9)), nodes=np.linspace(0, 1, 9) ** 2).u.shape == (9, 9)


def test_a_tuple_in_a_box_has_one_array_for_each_axis() -> None:
    assert cells_told(2, (False, False), a=(np.ones((4, 3)), 1.0)) == (4, 3)
    assert cells_told(2, (False, False), a=(1.0, np.sin)) is None
