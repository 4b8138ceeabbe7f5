"""What a solution gives: values and slopes anywhere, kinds and shapes, words and pictures."""

from __future__ import annotations

import html.parser
import itertools
import pickle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgnet
from mgnet import ConvergenceError, Dirichlet, Neumann, Status

seeds = st.integers(0, 2**32 - 1)


def random_solution(
    seed: int, n: int, rows: tuple[int, ...] = (), uniform: bool = True, **keywords: Any
) -> Any:
    rng = np.random.default_rng(seed)
    grid = {"n": n, "domain": (-1.5, 2.25)}
    if not uniform:
        grid = {"nodes": rng.normal() + np.cumsum(10 ** rng.uniform(-2, 0, n + 1))}
    return mgnet.solve(rng.normal(size=(*rows, n + 1)), **grid, right=Neumann(1.0), **keywords)


# Evaluation.


@given(seeds, st.integers(1, 60), st.booleans(), st.sampled_from(((), (3,), (2, 2))))
def test_evaluation_is_linear_interpolation(seed: int, n: int, uniform: bool, rows: tuple[int, ...]) -> None:
    sol = random_solution(seed, n, rows, uniform)
    rng = np.random.default_rng(seed)
    x = rng.uniform(sol.x[0], sol.x[-1], (4, 5))
    expected = np.apply_along_axis(lambda u: np.interp(x, sol.x, u).ravel(), -1, sol.u).reshape(*rows, 4, 5)
    values = sol(x)
    assert values.shape == (*rows, 4, 5)
    scale = np.abs(sol.u).max()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-13 * scale)  # eq: hat
    slopes = sol.derivative(x)
    cells = np.searchsorted(sol.x, x) - 1
    expected = (np.diff(sol.u) / np.diff(sol.x))[..., cells]
    assert slopes.shape == (*rows, 4, 5)
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("n", [1, 2, 3, 49, 1000, 2**15])
@pytest.mark.parametrize("uniform", [True, False])
def test_at_nodes_middles_and_ends(n: int, uniform: bool) -> None:
    sol = random_solution(n, n, (), uniform)
    scale = np.abs(sol.u).max()
    np.testing.assert_allclose(sol(sol.x), sol.u, rtol=0, atol=1e-12 * scale)
    middles = (sol.x[1:] + sol.x[:-1]) / 2
    np.testing.assert_allclose(sol(middles), (sol.u[1:] + sol.u[:-1]) / 2, rtol=0, atol=1e-12 * scale)
    slopes = np.diff(sol.u) / np.diff(sol.x)
    np.testing.assert_allclose(sol.derivative(middles), slopes, rtol=0, atol=1e-9 * np.abs(slopes).max())
    for end, value, slope in ((sol.x[0], sol.u[0], slopes[0]), (sol.x[-1], sol.u[-1], slopes[-1])):
        assert sol(end) == pytest.approx(value, abs=1e-13 * scale)
        assert sol.derivative(end) == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("domain", [(0.0, 1.0), (0.1, 1.3), (-3.0, 4.7)])
def test_a_node_has_the_mean_of_the_slopes_beside_it(uniform: bool, domain: tuple[float, float]) -> None:
    for n in (10, 49, 1000, 4097):
        grid = {"n": n, "domain": domain} if uniform else {"nodes": np.geomspace(1, 100, n + 1)}
        sol = mgnet.solve(lambda x: np.exp(x / 50), **grid)
        h, slopes = np.diff(sol.x), np.diff(sol.u) / np.diff(sol.x)
        expected = (h[1:] * slopes[:-1] + h[:-1] * slopes[1:]) / (h[1:] + h[:-1])
        # Slopes fall all along, by more than the tolerance; a rounding error beside a node is at the node.
        atol = 0.1 * np.abs(np.diff(slopes)).min()
        for x in (sol.x[1:-1], np.nextafter(sol.x[1:-1], -np.inf), np.nextafter(sol.x[1:-1], np.inf)):
            np.testing.assert_allclose(sol.derivative(x), expected, rtol=0, atol=atol)
        ends = sol.derivative(sol.x[[0, -1]])
        np.testing.assert_allclose(ends, slopes[[0, -1]], rtol=0, atol=atol)


def test_slopes_at_nodes_are_of_second_order() -> None:
    exact = [
        np.abs(mgnet.solve(1.0, nodes=np.linspace(0, 1, 9) ** p).derivative(0.5**p) - 0.5 + 0.5**p)
        for p in (1, 2)
    ]
    assert max(exact) < 1e-14  # a parabola
    errors = []
    for n in (64, 128):
        sol = mgnet.solve(lambda x: np.pi**2 * np.sin(np.pi * x), n)
        errors.append(np.abs(sol.derivative(sol.x[1:-1]) - np.pi * np.cos(np.pi * sol.x[1:-1])).max())
    assert errors[0] < 0.002
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("dim", [1, 2])
def test_points_outside_by_rounding_are_at_the_end(dim: int) -> None:
    sol = mgnet.solve(1.0, 10, dim=dim, domain=(0.0, 0.3), boundary=mgnet.Robin(1.0))
    rest = (0.1,) * (dim - 1)
    for x in (0.1 * 3, np.float32(0.3), torch.tensor(0.3)):
        assert float(x) != 0.3
        assert sol(x, *rest) == sol(0.3, *rest)
    shifted = mgnet.solve(1.0, 10, dim=dim, domain=(-0.3, 0.0))
    assert shifted(-0.1 * 3, *(-0.1,) * (dim - 1)) == 0.0
    with pytest.raises(ValueError, match="x: got 0.3000000"):
        sol(0.3 + 1e-14, *rest)


def test_points_get_gradients() -> None:
    for dim in (1, 2):
        sol = mgnet.solve(1.0, 8, dim=dim)
        x = torch.tensor([[0.31, 0.52][:dim], [0.73, 0.9][:dim]], dtype=torch.float64, requires_grad=True)
        arguments = [x] if dim == 2 else [x[:, 0]]
        (slope,) = torch.autograd.grad(sol(*arguments).sum(), x)
        expected = sol.derivative(*(each.detach() for each in arguments)).reshape(2, dim)
        np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-12)


def test_nodal_values_and_slopes_of_a_known_solution() -> None:
    sol = mgnet.solve(lambda x: 6 * x, 100, domain=(0.0, 2.0), left=Dirichlet(1.0), right=Dirichlet(-7.0))
    np.testing.assert_allclose(sol.u, 1 - sol.x**3, rtol=0, atol=1e-13)
    assert sol(0.11) == pytest.approx(1 - (0.10**3 + 0.12**3) / 2, abs=1e-13)
    assert sol.derivative(0.11) == pytest.approx(-(0.12**3 - 0.10**3) / 0.02, abs=1e-11)


@pytest.mark.parametrize(
    "x", [-1e-9, 1 + 1e-9, [0.5, 2.0], np.inf, -np.inf, np.nan, np.array([[0.5], [np.nan]])], ids=repr
)
def test_points_outside_are_refused(x: Any) -> None:
    sol = mgnet.solve(1.0, 8)
    for evaluate in (sol, sol.derivative):
        with pytest.raises(ValueError, match=r"x: got .*; accepted: points in \[0\.0, 1\.0\]"):
            evaluate(x)
        with pytest.raises(ValueError, match="accepted: points in"):
            evaluate(torch.tensor(np.asarray(x, dtype=float)))


RAGGED = [[0.1], [0.2, 0.3]]


@pytest.mark.parametrize("x", ["0.5", 1j, True, None, [0.5, "a"], RAGGED], ids=repr)
def test_what_is_no_point_is_refused(x: Any) -> None:
    sol = mgnet.solve(1.0, 8)
    for evaluate in (sol, sol.derivative):
        with pytest.raises(TypeError, match="x: got .*; accepted: real numbers"):
            evaluate(x)


def test_points_of_any_kind() -> None:
    sol = mgnet.solve(1.0, 4, domain=(0.0, 4.0))
    for x in (2, 2.0, np.float32(2), np.int8(2), np.array(2), torch.tensor(2)):
        value = sol(x)
        assert value == pytest.approx(2.0)
        assert np.shape(value) == ()
    assert sol([1, 2]).tolist() == pytest.approx([1.5, 2])
    assert sol([]).shape == (0,)
    assert sol(np.zeros((0, 3))).shape == (0, 3)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert sol(x).tolist() == pytest.approx([1.5, 2])
    backwards = np.linspace(0, 4, 9)[::-1]
    assert (sol(backwards) == sol(backwards.copy())).all()
    big = np.array([1.0, 2.0], dtype=">f8")
    assert sol(big).tolist() == pytest.approx([1.5, 2])


# Kinds, precisions and shapes.


KINDS = {
    "numpy": (np.ones(9), np.ndarray, "float64"),
    "numpy single": (np.ones(9, np.float32), np.ndarray, "float32"),
    "torch": (torch.ones(9, dtype=torch.float64), torch.Tensor, "float64"),
    "torch single": (torch.ones(9), torch.Tensor, "float32"),
    "torch integers": (torch.ones(9, dtype=torch.int32), torch.Tensor, "float64"),
    "list": ([1.0] * 9, np.ndarray, "float64"),
    "number": (1.0, np.ndarray, "float64"),
    "function": (np.cos, np.ndarray, "float64"),
    "torch function": (torch.cos, torch.Tensor, "float64"),
}


@pytest.mark.parametrize(("f", "kind", "dtype"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("method", ["exact", "vcycle", "direct"])
def test_the_kind_that_went_in_comes_out(f: Any, kind: type, dtype: str, method: str) -> None:
    sol = mgnet.solve(f, 8, method=method)
    points = np.linspace(0, 1, 7)
    for values in (sol.u, sol(points), sol.derivative(points), sol(torch.tensor(points))):
        assert isinstance(values, kind)
        assert str(values.dtype).removeprefix("torch.") == dtype
    assert isinstance(sol.x, kind)
    assert str(sol.x.dtype).endswith("float64")
    assert sol.dtype == dtype
    scalar = sol(0.3)
    assert isinstance(scalar, torch.Tensor if kind is torch.Tensor else np.floating)
    assert str(scalar.dtype).endswith(dtype)


def test_tensors_anywhere_make_tensors() -> None:
    one = torch.ones(8, dtype=torch.float64)
    for keywords in ({"a": one}, {"c": torch.ones(9)}, {"b": one[1:]}):
        assert isinstance(mgnet.solve(**{"n": 8} | keywords).u, torch.Tensor)
    assert isinstance(mgnet.solve(1.0, nodes=torch.arange(5)).u, torch.Tensor)
    assert isinstance(mgnet.Hierarchy(mgnet.Poisson(n=8)).solve(one[1:]).u, torch.Tensor)
    assert isinstance(mgnet.Hierarchy(mgnet.Poisson(n=8, a=one)).solve(one[1:].numpy()).u, np.ndarray)


@pytest.mark.parametrize("rows", [(), (1,), (4,), (2, 3), (1, 2, 1, 2)], ids=str)
@pytest.mark.parametrize("method", ["exact", "vcycle", "direct", "pcg"])
def test_leading_axes(rows: tuple[int, ...], method: str) -> None:
    f = np.random.default_rng(0).normal(size=(*rows, 18))
    for data, keywords in ((f, {}), (f, {"a": np.linspace(1, 2, 17)}), (f.astype(np.float32), {})):
        sol = mgnet.solve(data, 17, method=method, right=Neumann(1.0), **keywords)
        assert sol.u.shape == (*rows, 18)
        assert sol(0.3).shape == rows
        assert sol([0.1, 0.2]).shape == (*rows, 2)
        for index in np.ndindex(rows):
            alone = mgnet.solve(data[index], 17, method=method, right=Neumann(1.0), **keywords)
            digits = 1e-5 if data.dtype == np.float32 else 1e-9
            np.testing.assert_allclose(sol.u[index], alone.u, rtol=0, atol=digits * np.abs(alone.u).max())


def test_float32_is_rounded_once() -> None:
    """Values and slopes are computed in float64 and rounded at the end, on coarse grids and fine ones."""
    for n in (3, 50, 2**14):
        f = np.random.default_rng(n).normal(size=n + 1).astype(np.float32)
        sol = mgnet.solve(f, n, domain=(0.0, 0.3 * n), right=Neumann(1.0))
        left, right = sol.u[:-1].astype(float), sol.u[1:].astype(float)
        middles = (sol.x[1:] + sol.x[:-1]) / 2
        slopes = (right - left) / (0.3 * n / n)
        assert (sol.derivative(middles) == slopes.astype(np.float32)).all()
        np.testing.assert_allclose(
            sol(middles), (left + right) / 2, rtol=2.0**-23, atol=1e-12 * abs(left).max()
        )


def test_values_belong_to_the_caller() -> None:
    """Changing them changes the solution, and nothing else."""
    sol = mgnet.solve(1.0, 4)
    sol.u[2] = 7.0
    assert sol.u[2] == 7.0
    assert sol(0.5) == pytest.approx(7.0)
    assert mgnet.solve(1.0, 4).u[2] == pytest.approx(0.125)


@pytest.mark.parametrize("grid", [{"n": 2}, {"nodes": [0.0, 0.25, 1.0]}], ids=["uniform", "nodes"])
def test_coordinates_belong_to_the_caller(grid: dict[str, Any]) -> None:
    problem = mgnet.Poisson(**grid)
    hierarchy = mgnet.Hierarchy(problem)
    x = hierarchy.solve(np.ones(1)).x
    before = x.copy()
    x *= 1000
    assert (hierarchy.solve(np.ones(1)).x == before).all()
    assert (problem.grid.x == before).all()


@pytest.mark.parametrize("what", ["solution", "error"])
def test_other_processes_can_have_it(what: str) -> None:
    """An exception that cannot be unpickled hangs a pool of processes."""
    sol = (
        mgnet.solve(1.0, 64, method="vcycle", maxiter=1, throw=False)
        if what == "error"
        else mgnet.solve(1.0, 8)
    )
    copy = pickle.loads(pickle.dumps(ConvergenceError(sol) if what == "error" else sol))  # noqa: S301
    copy = copy.solution if what == "error" else copy
    assert (copy.u == sol.u).all()
    assert copy.status is sol.status
    assert copy.error_estimate == sol.error_estimate


def test_coordinates() -> None:
    nodes = np.array([0.0, 0.25, 1.0])
    sol = mgnet.solve(1.0, nodes=nodes)
    assert (sol.x == nodes).all()
    assert sol.x is sol.x
    assert (mgnet.solve(1.0, 3, domain=(1.0, 2.5)).x == [1.0, 1.5, 2.0, 2.5]).all()


# Words and pictures.


class Cells(html.parser.HTMLParser):
    """The text of a table's cells, row by row; anything but a table is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.depth: list[str] = []
        self.feed(text)
        assert not self.depth

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in ("table", "tr", "th", "td"), tag
        self.depth.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.depth.pop() == tag

    def handle_data(self, data: str) -> None:
        self.rows[-1][-1] += data


@pytest.mark.parametrize(
    "keywords", [{}, {"method": "vcycle"}, {"dtype": "float32"}, {"periodic": True, "c": 1.0}], ids=str
)
def test_repr(keywords: dict[str, Any]) -> None:
    for f in (1.0, np.ones((3, 9))):
        sol = mgnet.solve(f, 8, domain=(0.0, 2.0), **keywords)
        text = repr(sol)
        assert str(sol) == text
        assert "CONVERGED" in text
        assert "8 cells on [0, 2], uniform nodes" in text
        assert ("3 right-hand sides" in text) == (np.ndim(f) == 2)
        assert keywords.get("method", "exact") in text
        assert keywords.get("dtype", "float64") in text
        assert f"{sol.error_estimate:.1e}" in text
        assert f"{float(np.max(sol.u)):.6g}" in text
        rows = Cells(sol._repr_html_()).rows
        assert len(rows) == len(text.splitlines()) - 1
        for (name, value), line in zip(rows, text.splitlines()[1:], strict=True):
            assert line.split() == [*name.split(), *value.split()]


def test_html_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    sol = mgnet.solve(1.0, 8)
    monkeypatch.setattr(sol, "method", "<script>alert(1)</script>")
    assert "<script>" not in sol._repr_html_()
    assert "&lt;script&gt;" in sol._repr_html_()


def test_the_message_says_what_to_do() -> None:
    sol = mgnet.solve(1.0, 64, method="vcycle", maxiter=1, throw=False)
    assert sol.message.startswith("MAXITER after 1 iteration")
    assert "raise maxiter" in sol.message
    assert "MAXITER" in repr(sol)
    assert sol.status is Status.MAXITER
    error = ConvergenceError(sol)
    assert error.solution is sol
    assert sol.message in str(error)


def test_words_of_what_went_wrong() -> None:
    sol = mgnet.solve(np.full(9, 3e38, np.float32), 8, domain=(0.0, 100.0), throw=False)
    assert "DIVERGED" in repr(sol)
    assert Cells(sol._repr_html_()).rows


@pytest.fixture
def axes() -> Any:
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_plot(axes: Any) -> None:
    for f, keywords in itertools.product(
        (np.ones(9), torch.ones(9), np.ones((3, 9)), np.ones((2, 2, 9))),
        ({"n": 8}, {"nodes": np.arange(9.0) ** 2}),
    ):
        axes.clear()
        sol = mgnet.solve(f, **keywords)
        assert sol.plot(axes) is axes
        rows = np.asarray(sol.u).reshape(-1, 9)
        assert len(axes.lines) == len(rows)
        for line, row in zip(axes.lines, rows, strict=True):
            assert (line.get_xdata() == np.asarray(sol.x)).all()
            assert (line.get_ydata() == row).all()
        assert "exact" in axes.get_title()
        assert axes.get_xlabel() == "x"
    assert plt.get_fignums() == [axes.figure.number]
    sol.plot(ax=axes)


def test_plot_makes_its_own_figure() -> None:
    ax = mgnet.solve(1.0, 8).plot()
    try:
        assert len(ax.lines) == 1
    finally:
        plt.close(ax.figure)


def test_a_long_solution_is_thinned_out_but_ends_where_it_ends(axes: Any) -> None:
    sol = mgnet.solve(1.0, 10**5 + 3)
    (line,) = sol.plot(axes).lines
    x, y = line.get_data()
    assert len(x) < 10**4
    assert (x[0], x[-1]) == (0, 1)
    np.testing.assert_allclose(y, x * (1 - x) / 2, rtol=0, atol=1e-9)
