"""Which cells are the domain and which nodes are held: what is refused, and the pieces that nothing holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Dirichlet, Neumann, Poisson, Robin
from mgnet.poisson import assembly
from mgnet.poisson.region import Region

NAN = float("nan")
CELLS, NODES = np.ones((3, 4), bool), np.zeros((4, 5), bool)
NODES[1, 2] = NODES[2, 2] = True


def region(cells: Any = None, fixed: Any = None, joined: Sequence[bool] = (False, False)) -> Region:
    return Region(cells, fixed, joined, (3, 4))


# What is refused.


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (np.ones((4, 3)), "cells: got shape (4, 3); accepted: (3, 4), True or False for each cell"),
        (np.ones((4, 5)), "cells: got shape (4, 5); accepted: (3, 4), True or False for each cell"),
        (np.ones((2, 3, 4)), "cells: got shape (2, 3, 4); accepted: (3, 4), True or False for each cell"),
        (True, "cells: got "),
        (
            np.where(CELLS, 1, 0) + np.eye(3, 4),
            "cells: got 2.0 at index (0, 0); accepted: True or False for each cell",
        ),
        (np.full((3, 4), NAN), "cells: got nan at index (0, 0); accepted: True or False for each cell"),
        (0.5 * CELLS, "cells: got 0.5 at index (0, 0); accepted: True or False for each cell"),
        (~CELLS, "cells: got a mask that is False everywhere; accepted: at least one cell"),
        (np.full((3, 4), "a"), "cells: got "),
        (np.ma.array(CELLS, mask=~CELLS), "cells: got a masked array of shape (3, 4)"),
    ],
)
def test_cells_that_are_refused(cells: Any, words: str) -> None:
    for make in (region, lambda cells: Poisson(n=(3, 4), dim=2, cells=cells)):
        with pytest.raises((TypeError, ValueError), match=re.escape(words)):
            make(cells)


@pytest.mark.parametrize(
    ("fixed", "words"),
    [
        (NODES, "fixed: got numpy.ndarray of shape (4, 5); accepted: a pair (mask of the nodes, values)"),
        (1.0, "fixed: got 1.0; accepted: a pair (mask of the nodes, values)"),
        ((NODES,), "accepted: a pair (mask of the nodes, values)"),
        ((NODES, 1.0, 2.0), "accepted: a pair (mask of the nodes, values)"),
        ((CELLS, 1.0), "fixed: the mask: got shape (3, 4); accepted: (4, 5), True or False for each node"),
        ((3 * NODES, 1.0), "fixed: the mask: got 3.0 at index (1, 2); accepted: True or False for each node"),
        ((NODES, NAN), "fixed: the values: got nan; accepted: a finite number"),
        ((NODES, "a"), "fixed: the values: got dtype <U1 ('a'); accepted: real numbers"),
        ((NODES, 1j), "fixed: the values: got 1j"),
        ((NODES, True), "fixed: the values: got True"),
        ((NODES, np.ones(3)), "one value for each node, or for each of the 2 that are held"),
        ((NODES, np.ones((4, 4))), "one value for each node, or for each of the 2 that are held"),
        ((NODES, [1.0, NAN]), "fixed: the values: got nan at index (2, 2)"),
        ((NODES, np.ma.ones(2)), "fixed: the values: got a masked array of shape (2,)"),
    ],
)
def test_held_nodes_that_are_refused(fixed: Any, words: str) -> None:
    for make in (lambda fixed: region(None, fixed), lambda fixed: Poisson(n=(3, 4), dim=2, fixed=fixed)):
        with pytest.raises((TypeError, ValueError), match=re.escape(words)):
            make(fixed)


def test_masks_under_vmap_are_refused() -> None:
    """What is a domain and what not cannot depend on numbers that are hidden."""

    def solved(mask: torch.Tensor) -> torch.Tensor:
        return mgnet.solve(1.0, n=4, cells=mask).u

    words = "cells: got a mask hidden by vmap; accepted: one that can be looked at"
    with pytest.raises(ValueError, match=re.escape(words)):
        torch.func.vmap(solved)(torch.ones(2, 4, dtype=torch.bool))


def test_functions_of_held_values() -> None:
    """They are called at nodes, and what they return is looked at."""
    for bad, kind in ((lambda x, y: "a", TypeError), (lambda x, y: np.ones(3), ValueError)):
        with pytest.raises(kind, match="^fixed: the values: "):
            mgnet.solve(1.0, n=(3, 4), dim=2, fixed=(NODES, bad))


def test_data_outside_of_the_domain_count_for_nothing() -> None:
    """Whatever they are: coefficients, loads, sides, values of nodes that are not held."""
    cells = np.ones((4, 4), bool)
    cells[2:, 2:] = False
    absent = np.zeros((5, 5), bool)
    absent[3:, 3:] = True
    rng = np.random.default_rng(0)

    def data(bad: float) -> dict[str, Any]:
        a, f, c = (np.random.default_rng(1).uniform(1, 2, shape) for shape in ((4, 4), (5, 5), (5, 5)))
        a[~cells] = f[absent] = c[absent] = bad
        g = np.where(absent[-1], bad, 1.0)
        held, values = np.zeros((5, 5), bool), np.full((5, 5), bad)
        held[1, 1], values[1, 1] = True, 3.0
        boundary = {"right": Robin(np.abs(g), g), "top": Neumann(np.where(absent[:, -1], bad, 2.0))}
        return {"f": f, "a": a, "c": c, "boundary": boundary, "fixed": (held, values), "cells": cells}

    expected = mgnet.solve(**data(0.5), n=4, dim=2).u
    for bad in (NAN, np.inf, -1.0):
        np.testing.assert_array_equal(mgnet.solve(**data(bad), n=4, dim=2).u, expected)
    b = rng.standard_normal((3, 5))
    sides = {"left": Dirichlet(), "right": Dirichlet(), "bottom": Neumann(), "top": Neumann()}
    found = [
        mgnet.solve(b=np.where(absent[1:4], bad, b), n=4, dim=2, cells=cells, boundary=sides).u
        for bad in (0.0, 7.0)
    ]
    np.testing.assert_array_equal(*found)


def test_masks_of_any_kind() -> None:
    """Booleans, zeros and ones, nested lists, tensors; a copy is kept."""
    cells = CELLS.copy()
    cells[1, 1] = False
    expected = mgnet.solve(1.0, n=(3, 4), dim=2, cells=cells, fixed=(NODES, 1.0)).u
    for kind in (np.asarray, torch.from_numpy, lambda x: x.astype(float), lambda x: x.tolist(), np.uint8):
        u = mgnet.solve(1.0, n=(3, 4), dim=2, cells=kind(cells), fixed=(kind(NODES), 1.0)).u
        np.testing.assert_array_equal(u, expected)
    problem = Poisson(1.0, n=(3, 4), dim=2, cells=cells)
    cells[...] = True
    assert problem.region.active is not None
    assert not problem.region.active.all()


# Which nodes are what.


def test_nodes_of_some_cells() -> None:
    cells = ~CELLS
    cells[0, 0] = cells[2, 3] = True
    it = region(cells, (NODES, 1.0))
    present = np.zeros((4, 5), bool)
    present[:2, :2] = present[2:, 3:] = True
    assert not it.whole
    assert (it.present.numpy() == present).all()
    assert (it.free.numpy() == (present & ~NODES)).all()
    assert region().whole
    assert region().present is region().free is None
    assert (region(None, (NODES, 1.0)).free.numpy() == ~NODES).all()
    at_nodes, in_cells = torch.full((2, 4, 5), 7.0), torch.full((3, 4), 7.0)
    assert (it.inside(at_nodes, 0.0)[1].numpy() == 7.0 * present).all()
    assert (it.inside(in_cells, 1.0, of_cells=True).numpy() == np.where(cells, 7.0, 1.0)).all()


def test_joined_nodes_are_one() -> None:
    """What one of two joined ends has both have: a cell, a value that is held."""
    cells, mask = ~CELLS, np.zeros((4, 5), bool)
    cells[1, 0] = True
    mask[2, 4] = mask[1, 0] = True
    values = np.arange(20.0).reshape(4, 5)
    it = region(cells, (mask, values), (False, True))
    assert np.argwhere(it.present.numpy()).tolist() == [[1, 0], [1, 1], [1, 4], [2, 0], [2, 1], [2, 4]]
    assert np.argwhere(it.fixed.numpy()).tolist() == [[1, 0], [1, 4], [2, 0], [2, 4]]
    assert it.values[1].tolist() == [5, 0, 0, 0, 5]
    assert it.values[2].tolist() == [14, 0, 0, 0, 14]
    few = region(cells, (mask, [5.0, 14.0]), (False, True))  # one for each node that is held, in order
    assert torch.equal(few.values, it.values)


def test_values_of_the_nodes_that_are_held_alone() -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    it = region(None, (NODES, values))
    assert it.values.shape == (2, 4, 5)
    for row, expected in zip(it.values, values, strict=True):
        assert row[NODES].tolist() == expected.tolist()
        assert not row[~NODES].any()


# Pieces.


def pieces(
    cells: Sequence[str], joined: Sequence[bool] = (False, False), held: Any = None
) -> list[list[int]]:
    """Number the pieces of cells drawn as rows along the last axis; ``held`` is a node."""
    active = np.array([[c == "#" for c in row] for row in cells])
    holding = torch.zeros([n + 1 for n in active.shape], dtype=torch.bool)
    if held is not None:
        holding[held] = True
    it = Region(active, None, joined, active.shape)
    return it.pieces(holding).tolist()


def test_cells_that_share_a_node_are_one_piece() -> None:
    assert pieces(["#.", ".#"]) == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    assert pieces(["#..", "..#"]) == [[1, 1, 0, 0], [1, 1, 2, 2], [0, 0, 2, 2]]
    assert pieces(["#.#", "#.#"]) == [[1, 1, 2, 2]] * 3
    assert pieces(["#.#"], held=(0, 0)) == [[0, 0, 1, 1]] * 2
    assert pieces(["#.#"], held=(1, 2)) == [[1, 1, 0, 0]] * 2


def test_pieces_that_meet_at_joined_nodes_are_one() -> None:
    assert pieces(["#.#", "#.#"], (False, True)) == [[1, 1, 1, 1]] * 3
    assert pieces(["#.#"], (False, True), (0, 3)) == [[0, 0, 0, 0]] * 2
    corners = ["#..", "...", "..#"]
    assert pieces(corners, (True, False)) == [[1, 1, 2, 2], [1, 1, 0, 0], [0, 0, 2, 2], [1, 1, 2, 2]]
    both = pieces(corners, (True, True))
    assert set(sum(both, [])) == {0, 1}
    assert both[0] == [1, 1, 1, 1]
    assert pieces(["...", "..#", "..."], (True, True)) == [
        [0, 0, 0, 0],
        [1, 0, 1, 1],
        [1, 0, 1, 1],
        [0, 0, 0, 0],
    ]


def test_the_two_ends_of_a_joined_line() -> None:
    it = Region(np.array([1, 0, 1, 0, 1]), None, (True,), (5,))
    assert it.pieces(torch.zeros(6, dtype=torch.bool)).tolist() == [1, 1, 2, 2, 1, 1]


def test_what_holds_a_piece() -> None:
    """A given side, a node that is held, c or Robin's alpha anywhere on it; not those of other pieces."""
    cells = np.ones((4, 5), bool)
    cells[:, 2] = False
    held, c = np.zeros((5, 6), bool), np.zeros((5, 6))
    held[2, 1], c[3, 0] = True, 1.0
    free = {"boundary": Neumann()}
    one, other = [[k] * 3 for k in (1, 2)]
    for keywords, expected in (
        (free, one + other),
        ({"boundary": {name: Neumann() for name in ("left", "right", "bottom")}}, one + [0] * 3),
        ({**free, "fixed": (held, 0.0)}, [0] * 3 + one),
        ({**free, "c": c}, [0] * 3 + one),
        ({**free, "c": 1e-9}, [0] * 6),
        (
            {"boundary": {**dict.fromkeys(("left", "right", "bottom"), Neumann()), "top": Robin(1.0)}},
            one + [0] * 3,
        ),
    ):
        problem = Poisson(1.0, n=(4, 5), dim=2, cells=cells, **keywords)
        A = assembly.operator(problem, torch.float64, torch.device("cpu"))
        assert assembly.floating(problem, A).tolist() == [expected] * 5
