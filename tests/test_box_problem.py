"""The problem in a box: what it understands, and what it says to what it does not."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Dirichlet, Neumann, Poisson, Robin
from mgnet.core.resources import ResourceError
from mgnet.poisson.box_problem import BoxPoisson

NAN, INF = float("nan"), float("inf")


def box(f: Any = None, dim: int = 2, **keywords: Any) -> Any:
    return Poisson(f, dim=dim, **{"n": 8, **keywords})


def refuses(error: type[Exception], *words: str, **keywords: Any) -> None:
    """Each of the words stands in the message, by solve and, where it is known by then, by Poisson."""
    with pytest.raises(error) as caught:
        mgnet.solve(**{"f": 1.0, "n": 8, "dim": 2, **keywords})
    for word in words:
        assert word in str(caught.value), str(caught.value)


# What it understands.


def test_a_problem_in_a_box() -> None:
    problem = box(n=(3, 4, 5), dim=3, domain=((0, 1), (0, 2), (-1, 4)), periodic=(False, True, False))
    assert isinstance(problem, BoxPoisson)
    assert problem.cells == (3, 4, 5)
    assert problem.node_shape == (4, 5, 6)
    assert problem.shape == (2, 4, 4)
    assert problem.unknowns == 32
    assert problem.n == 5
    assert problem.domain == ((0, 1), (0, 2), (-1, 4))
    assert [grid.h for grid in problem.grids] == [1 / 3, 0.5, 1.0]
    assert [name for name, *_ in problem.sides()] == ["left", "right", "back", "front"]
    assert repr(problem).startswith(
        "Poisson(dim=3, n=(3, 4, 5), domain=((0.0, 1.0), (0.0, 2.0), (-1.0, 4.0)), left="
    )
    assert "periodic=(False, True, False)" in repr(problem)


@pytest.mark.parametrize("n", [8, np.int64(8), (8, 8), [8, 8], np.array([8, 8])], ids=repr)
def test_cells(n: Any) -> None:
    assert box(n=n).cells == (8, 8)


@pytest.mark.parametrize(
    "domain", [(0, 2), [0, 2], np.array([0.0, 2.0]), ((0, 2), (0, 2)), np.array([[0, 2], [0, 2]])], ids=repr
)
def test_domains(domain: Any) -> None:
    assert box(domain=domain).domain == ((0.0, 2.0), (0.0, 2.0))


def test_conditions() -> None:
    robin, flux = Robin(1.0), Neumann(2.0)
    for keywords, expected in (
        ({}, [Dirichlet()] * 4),
        ({"boundary": robin}, [robin] * 4),
        ({"boundary": {}}, [Dirichlet()] * 4),
        ({"boundary": {"top": robin, "left": flux}}, [flux, Dirichlet(), Dirichlet(), robin]),
        ({"left": flux, "right": robin}, [flux, robin, Dirichlet(), Dirichlet()]),
        ({"left": flux, "boundary": {"top": robin}}, [flux, Dirichlet(), Dirichlet(), robin]),
        ({"left": flux, "boundary": robin}, [flux, robin, robin, robin]),
        ({"boundary": robin, "periodic": (False, True)}, [robin, robin]),
        ({"periodic": True}, []),
    ):
        assert [side for *_, side in box(**keywords).sides()] == expected
    ends = box(boundary={"left": flux, "top": robin}).space.ends
    assert ends == (("natural", "dirichlet"), ("dirichlet", "natural"))
    assert box(boundary={"top": Robin(3.0)}, a=2.0).alphas == [(0.0, 0.0), (0.0, 3.0)]
    assert box(boundary={"top": Robin(3.0)}, a=2.0).space.axes[1].robin == (0.0, 1.5)


def test_the_boundary_of_an_interval() -> None:
    """``boundary=`` is understood there too."""
    expected = mgnet.solve(1.0, 8, left=Dirichlet(1.0), right=Robin(2.0, 3.0)).u
    sides = {"left": Dirichlet(1.0), "right": Robin(2.0, 3.0)}
    assert (mgnet.solve(1.0, 8, boundary=sides).u == expected).all()
    assert (mgnet.solve(1.0, 8, boundary={}).u == mgnet.solve(1.0, 8).u).all()
    both = mgnet.solve(1.0, 8, left=Robin(1.0), right=Robin(1.0)).u
    assert (mgnet.solve(1.0, 8, boundary=Robin(1.0)).u == both).all()
    for error, words, keywords in (
        (
            ValueError,
            "boundary: got the side 'top'; accepted: 'left', 'right'",
            {"boundary": {"top": Dirichlet()}},
        ),
        (ValueError, "boundary: got Neumann", {"boundary": Neumann(), "left": Dirichlet()}),
        (TypeError, "boundary: got 3; accepted: Dirichlet(g)", {"boundary": 3}),
        (ValueError, "and periodic=True", {"boundary": Neumann(), "periodic": True}),
        (TypeError, "accepted: a number", {"boundary": Dirichlet(np.ones(9))}),
        (TypeError, "accepted: a number", {"boundary": {"left": Dirichlet(np.sin)}}),
    ):
        with pytest.raises(error, match=re.escape(words)):
            mgnet.solve(1.0, 8, **keywords)


def test_problems_are_pickled() -> None:
    for dim in (1, 2, 3):
        problem = pickle.loads(pickle.dumps(box(np.ones((9,) * dim), dim, a=np.full((8,) * dim, 2.0))))  # noqa: S301
        assert type(problem) is type(box(dim=dim))
        assert problem.cells == (8,) * dim
        assert bool((problem.f == 1).all())


# What it refuses.


@pytest.mark.parametrize(
    ("n", "error", "words"),
    [
        (0, ValueError, "n: got 0; accepted: an integer of at least 1"),
        (-4, ValueError, "n: got -4; accepted: an integer of at least 1"),
        (2.5, TypeError, "n: got 2.5; accepted: an integer of at least 1"),
        (True, TypeError, "n: got True; accepted: an integer"),
        ("8", TypeError, "n: got '8'; accepted: an integer"),
        (None, ValueError, "n: got None; accepted: a number of cells of at least 1, or one for each axis"),
        ((8,), ValueError, "n: got (8,); accepted: a number of cells, or 2 of them"),
        ((8, 8, 8), ValueError, "n: got (8, 8, 8); accepted: a number of cells, or 2 of them"),
        ((8, 0), ValueError, "n: got 0; accepted"),
        ((8, 2.5), TypeError, "n: got 2.5; accepted"),
        ((8, None), TypeError, "n: got None; accepted"),
        (np.array([8.0, 8.0]), TypeError, "n: got 8.0; accepted"),
        (2**60, ResourceError, "n: got 1152921504606846976, which needs about"),
        ((2**60, 1), ResourceError, "n: got (1152921504606846976, 1), which needs about"),
    ],
    ids=repr,
)
def test_cells_that_are_none(n: Any, error: type[Exception], words: str) -> None:
    refuses(error, words, n=n)


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ((0, 1, 2), "domain: got (0, 1, 2); accepted: (low, high), or 2 such pairs"),
        (((0, 1),), "domain: got ((0, 1),); accepted"),
        (((0, 1), 2), "domain: got ((0, 1), 2); accepted"),
        (((0, 1), (0, 1), (0, 1)), "accepted: (low, high), or 2 such pairs"),
        (5, "domain: got 5; accepted: a pair (low, high) for each axis"),
        (None, "domain: got None; accepted"),
        (((0, 1), (1, 0)), "domain: got (1, 0); accepted: (low, high) with low < high"),
        ((1, 1), "domain: got (1, 1); accepted: (low, high) with low < high"),
        (((0, 1), (0, INF)), "domain: got (0, inf); accepted: two finite numbers"),
        ((0, NAN), "domain: got (0, nan); accepted: two finite numbers"),
        (((0, 1), (1e9, 1e9 + 1e-7)), "cells are lost to rounding; accepted: a longer one"),
        ("ab", "accepted: two finite numbers"),
    ],
    ids=repr,
)
def test_domains_that_are_none(domain: Any, words: str) -> None:
    refuses(ValueError, "domain: got", words, domain=domain, n=100)


@pytest.mark.parametrize("dim", [0, 4, -1, True, 2.0, "2", None, (2,)], ids=repr)
def test_dimensions_that_are_none(dim: Any) -> None:
    refuses(ValueError, f"dim: got {dim!r}; accepted: 1, 2 or 3", dim=dim)


@pytest.mark.parametrize("periodic", [(True,), (True,) * 3, 1, "yes", (1, 0), None], ids=repr)
def test_joined_axes_that_are_none(periodic: Any) -> None:
    refuses(
        TypeError, f"periodic: got {periodic!r}; accepted: True or False, or 2 of them", periodic=periodic
    )


def test_what_exists_on_an_interval_only() -> None:
    refuses(ValueError, "method: got 'exact' in 2 dimensions; accepted: 'auto' or another", method="exact")
    refuses(
        ValueError,
        "nodes: got nodes with dim=2; accepted: n and domain, or dim=1",
        nodes=np.linspace(0, 1, 9),
    )


ONES = np.ones(9)


def with_nan(shape: tuple[int, ...], *index: int, value: float = NAN) -> np.ndarray:
    x = np.ones(shape)
    x[index] = value
    return x


@pytest.mark.parametrize(
    ("boundary", "error", "words"),
    [
        (
            {"front": Dirichlet()},
            ValueError,
            "boundary: got the side 'front'; accepted: left, right, bottom, top",
        ),
        ({1: Dirichlet()}, ValueError, "boundary: got the side 1; accepted"),
        (
            {"left": 1.0},
            TypeError,
            "boundary: got 1.0 for the side 'left'; accepted: Dirichlet(g), Neumann(g)",
        ),
        ({"top": None}, TypeError, "boundary: got None for the side 'top'; accepted"),
        (3, TypeError, "boundary: got 3 for the side"),
        ([Dirichlet()] * 4, TypeError, "accepted: Dirichlet(g), Neumann(g) or Robin(alpha, g)"),
        (
            {"left": Dirichlet(np.ones(8))},
            ValueError,
            "left: Dirichlet g: got shape (8,); accepted: (..., 9, 9) or (..., 9), nodal values on the side",
        ),
        ({"left": Neumann(np.ones((9, 8)))}, ValueError, "left: Neumann g: got shape (9, 8); accepted"),
        ({"left": Robin(1.0, np.ones((0, 9)))}, ValueError, "left: Robin g: got shape (0, 9); accepted"),
        (
            {"right": Dirichlet(with_nan((9,), 3))},
            ValueError,
            "right: g: got nan at index 3; accepted: finite",
        ),
        ({"right": Neumann(with_nan((9,), 3))}, ValueError, "right: g: got nan at index 3; accepted: finite"),
        (
            {"right": Robin(1.0, with_nan((2, 9), 1, 5, value=INF))},
            ValueError,
            "right: g: got inf at index 5 of row 1; accepted: finite",
        ),
        (
            Dirichlet(with_nan((9, 9), 0, 4)),
            ValueError,
            "left: g: got nan at index (0, 4); accepted",
        ),
        (
            {"left": Dirichlet(lambda x, y: 1 / 0)},
            ValueError,
            "left: g: the function raised ZeroDivisionError",
        ),
        ({"left": Neumann(lambda x: x)}, ValueError, "left: g: the function raised TypeError"),
        (
            {"left": Dirichlet(lambda x, y: np.ones(5))},
            ValueError,
            "left: g: the function returned shape (5,)",
        ),
        (
            {"left": Dirichlet(lambda x, y: np.where(y > 0.5, NAN, y))},
            ValueError,
            "left: g: the function returned nan at index 5, y = 0.625; accepted: finite numbers",
        ),
        (
            {"top": Neumann(lambda x, y: np.where(x > 0.5, INF, x))},
            ValueError,
            "top: g: the function returned inf at index 12, x = 0.51",
        ),
        (
            {"left": Dirichlet(lambda x, y: 1j * y)},
            TypeError,
            "left: g: got dtype complex128; accepted: real",
        ),
        (
            {"left": Dirichlet(np.ones((3, 9))), "right": Dirichlet(np.ones((2, 9)))},
            ValueError,
            "right: g: got leading axes (2,) beside (3,) of other data; accepted: a batch that all share",
        ),
        (
            {"left": Neumann(np.ones((3, 9))), "right": Neumann(np.ones((2, 9)))},
            ValueError,
            "right: g: got leading axes (2,) beside (3,)",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_boundaries_that_are_none(boundary: Any, error: type[Exception], words: str) -> None:
    keywords = {"load": "exact"} if "index 12" in words else {}
    refuses(error, words, boundary=boundary, **keywords)


def test_data_that_are_none() -> None:
    for g, error in (
        (NAN, ValueError),
        (INF, ValueError),
        (True, TypeError),
        ("1", TypeError),
        (None, TypeError),
    ):
        for kind in (Dirichlet, Neumann, lambda g: Robin(1.0, g)):
            with pytest.raises(
                error, match=r"(Dirichlet|Neumann|Robin) g: got .*; accepted: a (real|finite) number"
            ):
                kind(g)
    for g in (1j, np.ones(3) * 1j, ["a", "b"], torch.ones(3) * 1j):
        with pytest.raises(TypeError, match=r"accepted: (a real number|real numbers)"):
            mgnet.solve(1.0, 2, dim=2, boundary=Dirichlet(g))
    with pytest.raises(ValueError, match=r"Robin alpha: got -1.0; accepted: a number of at least 0"):
        Robin(-1.0)


def test_sides_of_joined_axes() -> None:
    words = "boundary: got Dirichlet(g=0.0) for the side 'top' of a periodic axis; accepted: none"
    refuses(ValueError, words, periodic=(False, True), boundary={"top": Dirichlet()})
    refuses(ValueError, "for the side 'left' of a periodic axis", periodic=True, left=Neumann())
    refuses(ValueError, "boundary: got the side 'left' twice", left=Neumann(), boundary={"left": Neumann()})


def test_batches_that_do_not_fit() -> None:
    sides = {"left": Dirichlet(np.ones((2, 9)))}
    refuses(ValueError, "boundary: got leading axes (2,) beside (3,)", f=np.ones((3, 9, 9)), boundary=sides)
    fluxes = {"left": Neumann(np.ones((2, 9)))}
    refuses(ValueError, "f: got leading axes (3,) beside (2,)", f=np.ones((3, 9, 9)), boundary=fluxes)
    refuses(ValueError, "b: got leading axes (3,) beside (2,)", f=None, b=np.ones((3, 8, 7)), boundary=fluxes)


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (
            np.ones((8, 8)),
            ValueError,
            "f: got shape (8, 8); accepted: (..., 9, 9), one value per node, boundary",
        ),
        (np.ones(9), ValueError, "f: got shape (9,); accepted: (..., 9, 9)"),
        (np.ones((0, 9, 9)), ValueError, "f: got shape (0, 9, 9); accepted: no empty leading axis"),
        (with_nan((9, 9), 3, 4), ValueError, "f: got nan at index (3, 4); accepted: finite numbers"),
        (
            with_nan((2, 9, 9), 1, 0, 4, value=INF),
            ValueError,
            "f: got inf at index (0, 4) of row 1; accepted",
        ),
        (INF, ValueError, "f: got inf; accepted: a finite number"),
        (np.ones((9, 9)) * 1j, TypeError, "f: got dtype complex128; accepted: real numbers"),
        ("x", TypeError, "f: got dtype <U1 ('x'); accepted: real numbers"),
        (lambda x, y: 1 / 0, ValueError, "f: the function raised ZeroDivisionError: division by zero"),
        (lambda x: x, ValueError, "f: the function raised TypeError"),
        (
            lambda x, y: np.ones(3),
            ValueError,
            "f: the function returned shape (3,); accepted: (..., 24, 24) or a",
        ),
        (lambda x, y: np.ones((24, 23)), ValueError, "f: the function returned shape (24, 23); accepted"),
        (
            lambda x, y: np.where(x > 0.6, NAN, x * y),
            ValueError,
            "f: the function returned nan at index (14, 0), x = 0.",
        ),
        (lambda x, y: None, TypeError, "f: the function returned dtype object; accepted: real numbers"),
        (lambda x, y: x + 1j * y, TypeError, "f: got dtype complex128; accepted: real numbers"),
    ],
    ids=lambda value: "function" if callable(value) and not isinstance(value, type) else str(value)[:40],
)
def test_right_hand_sides_that_are_none(f: Any, error: type[Exception], words: str) -> None:
    refuses(error, words, f=f)


def test_ready_loads_that_are_none() -> None:
    refuses(
        ValueError,
        "b: got shape (9, 9); accepted: (..., 7, 7), one entry per unknown",
        f=None,
        b=np.ones((9, 9)),
    )
    refuses(ValueError, "b: got nan at index (4, 3); accepted: finite", f=None, b=with_nan((7, 7), 4, 3))
    refuses(
        ValueError, "b: got inf at index (4, 3) of row 1", f=None, b=with_nan((2, 7, 7), 1, 4, 3, value=INF)
    )
    refuses(ValueError, "f and b: got both; accepted: one of them", b=np.ones((7, 7)))


@pytest.mark.parametrize("name", ["a", "c"])
def test_coefficients_that_are_none(name: str) -> None:
    shape, what = {"a": ((8, 8), "cell"), "c": ((9, 9), "node")}[name]
    accepted = {"a": "accepted: positive, finite numbers", "c": "accepted: finite numbers of at least 0"}[
        name
    ]
    for value, error, words in (
        (
            np.ones((7, 8)),
            ValueError,
            f"{name}: got shape (7, 8); accepted: ({shape[0]}, {shape[1]}), one value per",
        ),
        (np.ones((2, *shape)), ValueError, f"{name}: got shape (2, {shape[0]}, {shape[1]}); accepted"),
        (with_nan(shape, 2, 5), ValueError, f"{name}: got nan in {what} (2, 5); {accepted}"),
        (with_nan(shape, 2, 5, value=-1.0), ValueError, f"{name}: got -1.0 in {what} (2, 5); {accepted}"),
        (with_nan(shape, 3, 1, value=INF), ValueError, f"{name}: got inf in {what} (3, 1); {accepted}"),
        (-1, ValueError, f"{name}: got -1; {accepted}"),
        (NAN, ValueError, f"{name}: got nan; accepted: a finite number"),
        (np.ones(shape) * 1j, TypeError, f"{name}: got dtype complex128; accepted"),
        ("1", TypeError, f"{name}: got dtype <U1 ('1'); accepted"),
        (lambda x, y: 1 / 0, ValueError, f"{name}: the function raised ZeroDivisionError"),
        (lambda x, y: np.ones(3), ValueError, f"{name}: the function returned shape (3,); accepted"),
        (
            lambda x, y: x * y * NAN,
            ValueError,
            f"{name}: the function returned nan at index (0, 0), x = 0.014",
        ),
        (
            lambda x, y: np.where((x > 0.5) & (y < 0.1), -2.0, 1.0),
            ValueError,
            f"{name}: got -2.0 in cell (4, 0); {accepted}",
        ),
        (
            lambda x, y: (x + y) * np.ones((2, 1, 1)),
            ValueError,
            f"{name}: the function returned 3 axes; accepted: 2, one value per point",
        ),
    ):
        refuses(error, words, **{name: value})
    refuses(ValueError, "a: got 0; accepted: positive, finite numbers", a=0)
    refuses(ValueError, "a: got 0.0 in cell (2, 5); accepted: positive", a=with_nan((8, 8), 2, 5, value=0.0))
    refuses(ValueError, "a: got shape (9, 9); accepted: (8, 8), one value per cell", a=np.ones((9, 9)))


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"load": "lumped"}, "load: got 'lumped'; accepted: 'exact', 'nodal' or None"),
        ({"x0": np.ones((8, 8))}, "x0: got shape (8, 8); accepted: (..., 9, 9), one value per node"),
        ({"x0": np.ones((3, 9, 9))}, "x0: got 3 rows; accepted: 1"),
        ({"x0": with_nan((9, 9), 2, 7)}, "x0: got nan at index (2, 7); accepted: finite"),
        ({"method": "cg"}, "method: got 'cg'; accepted: one of"),
        ({"smoother": "sor"}, "smoother: got 'sor'; accepted: one of"),
        ({"omega": 1.0}, "omega: got 1.0; accepted: None with smoother='chebyshev'"),
        ({"sweeps": (0, 0)}, "sweeps: got (0, 0); accepted: at least one sweep"),
        ({"n": 100, "levels": 1, "coarse": "direct"}, "levels: got a coarsest grid of 9801 unknowns"),
        ({"n": 100, "levels": 1, "a": np.ones((100, 100))}, "levels: got a coarsest grid of 9801 unknowns"),
    ],
    ids=str,
)
def test_options_that_are_none(keywords: dict[str, Any], words: str) -> None:
    refuses(ValueError, words, **keywords)


def test_points_that_are_none() -> None:
    sol = mgnet.solve(1.0, 8, dim=2, domain=((0, 1), (2, 3)))
    for points, error, words in (
        ((0.5,), ValueError, "x: got 1 arguments; accepted: 2 arrays of coordinates, or one array of points"),
        ((0.5, 2.5, 0.5), ValueError, "x: got 3 arguments; accepted: 2 arrays"),
        ((), ValueError, "x: got 0 arguments; accepted: 2 arrays"),
        (
            (np.ones((3, 3)),),
            ValueError,
            "accepted: 2 arrays of coordinates, or one array of points of shape (..., 2)",
        ),
        ((2.0, 2.5), ValueError, "x: got 2.0; accepted: points in [0.0, 1.0]"),
        ((0.5, [2.5, 1.5]), ValueError, "x: got 1.5; accepted: points in [2.0, 3.0]"),
        ((NAN, 2.5), ValueError, "x: got nan; accepted: points in [0.0, 1.0]"),
        (("a", 2.5), TypeError, "x: got dtype <U1 ('a'); accepted: real numbers"),
        ((1j, 2.5), TypeError, "x: got dtype complex128 (1j); accepted: real numbers"),
        (
            (np.ones(2), np.full(3, 2.5)),
            ValueError,
            "x: got shapes [(2,), (3,)]; accepted: shapes that broadcast",
        ),
        (
            ([[0.1, 2.2], [0.3], [0.4]],),
            TypeError,
            "x: got list ([[0.1, 2.2], [0.3], [0.4]]); accepted: real numbers",
        ),
    ):
        for call in (sol, sol.derivative):
            with pytest.raises(error, match=re.escape(words)):
                call(*points)


def test_data_that_no_solution_fits() -> None:
    """Nothing holds u, and the load does not sum to zero."""
    for keywords in (
        {"boundary": Neumann()},
        {"periodic": True},
        {"periodic": (True, False), "boundary": Neumann()},
    ):
        refuses(ValueError, "f: got data that sum to 1.000e+00, the defect, of 1.000e+00", **keywords)
    refuses(ValueError, "the defect", f=0.0, boundary=Neumann(1.0))
    b = np.zeros((2, 9, 9))
    b[1, 3, 3] = 1.0
    refuses(ValueError, "b: got data that sum to 1.000e+00 in row 1", f=None, b=b, boundary=Neumann())
