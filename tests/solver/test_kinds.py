"""Whatever kind of array f may be, all other data may be too; and what is refused everywhere."""

from __future__ import annotations

import array
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Dirichlet, Neumann, Robin


class Foreign:
    """An array of another package, as a Series, a DataFrame or a DataArray: NumPy can have its values."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values if dtype is None else self.values.astype(dtype)


def strided(x: np.ndarray) -> np.ndarray:
    """Give the same values with negative strides and in another order of axes."""
    return np.asfortranarray(x[..., ::-1])[..., ::-1]


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": lambda x: x.tolist(),
    "tuple": lambda x: tuple(x.tolist()),
    "list of fractions": lambda x: np.vectorize(float)(x).tolist(),
    "range": lambda x: range(int(x[0]), int(x[-1]) + 1) if x.ndim == 1 else x.astype(int).tolist(),
    "buffer": lambda x: array.array("d", x) if x.ndim == 1 else memoryview(x),
    "strides": strided,
    "read-only": read_only,
    "big-endian": lambda x: x.astype(">f8"),
    "little-endian": lambda x: x.astype("<f8"),
    "half": lambda x: x.astype(np.float16),
    "longdouble": lambda x: x.astype(np.longdouble),
    "int8": lambda x: x.astype(np.int8),
    "uint64": lambda x: x.astype(np.uint64),
    "big-endian integers": lambda x: x.astype(">i2"),
    "foreign": Foreign,
    "foreign integers": lambda x: Foreign(x.astype(int)),
    "torch": torch.tensor,
    "torch, strided": lambda x: torch.tensor(x).repeat_interleave(2, -1)[..., ::2],
    "torch, bfloat16": lambda x: torch.tensor(x, dtype=torch.bfloat16),
    "torch, float8": lambda x: torch.tensor(x).to(torch.float8_e4m3fn),
    "torch, integers": lambda x: torch.tensor(x).to(torch.int16),
    "torch, sparse": lambda x: torch.tensor(x).to_sparse(),
    "list of tensors": lambda x: list(torch.tensor(x)),
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@kinds
def test_data_of_an_interval(kind: Callable[[np.ndarray], Any]) -> None:
    """Small integers, which every kind holds exactly: the answers are the same bit for bit."""
    at_nodes, in_cells, ends = np.arange(1.0, 6), np.arange(1.0, 5), np.arange(0.0, 2)
    for name, values in (
        ("f", at_nodes),
        ("c", at_nodes),
        ("a", in_cells),
        ("f", in_cells),
        ("c", in_cells),
        ("a", at_nodes),
        ("b", np.arange(1.0, 4)),
        ("nodes", np.arange(0.0, 5)),
        ("x0", at_nodes),
        ("domain", ends),
    ):
        rest: dict[str, Any] = {} if name == "nodes" else {"n": 4}
        rest |= {"f": 1.0} if name not in ("f", "b") else {}
        rest |= {"method": "vcycle", "maxiter": 2, "throw": False} if name == "x0" else {}
        expected = mgnet.solve(**rest, **{name: values}).u
        np.testing.assert_array_equal(np.asarray(mgnet.solve(**rest, **{name: kind(values)}).u), expected)
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=4))
    b = np.arange(1.0, 4)
    np.testing.assert_array_equal(np.asarray(hierarchy.solve(kind(b)).u), hierarchy.solve(b).u)
    sol = mgnet.solve(1.0, 4, domain=(0, 4))
    for evaluate in (sol, sol.derivative):
        np.testing.assert_array_equal(evaluate(kind(np.arange(0.0, 5))), evaluate(np.arange(0.0, 5)))


@kinds
def test_data_of_a_box(kind: Callable[[np.ndarray], Any]) -> None:
    at_nodes, in_cells = 1 + np.arange(12.0).reshape(3, 4), 1 + np.arange(6.0).reshape(2, 3)
    of_each = [(name, x) for name in ("f", "c", "a") for x in (at_nodes, in_cells)]
    for name, values in (*of_each, ("b", in_cells[:1, :2])):
        if name == "a" and kind is KINDS["tuple"]:
            continue  # one for each axis
        rest: dict[str, Any] = {"f": 1.0} if name not in ("f", "b") else {}
        expected = mgnet.solve(**rest, n=(2, 3), dim=2, **{name: values}).u
        found = mgnet.solve(**rest, n=(2, 3), dim=2, **{name: kind(values)}).u
        np.testing.assert_array_equal(np.asarray(found), expected)
    for side, g in (("left", at_nodes[0]), ("top", at_nodes[:, -1] - 3), ("top", at_nodes)):
        for condition in (Dirichlet, Neumann, lambda g: Robin(2.0, g)):
            if kind is KINDS["range"] and side == "top" and g.ndim == 1:
                continue  # no range
            expected = mgnet.solve(n=(2, 3), dim=2, boundary={side: condition(g)}).u
            found = mgnet.solve(n=(2, 3), dim=2, boundary={side: condition(kind(g))}).u
            np.testing.assert_array_equal(np.asarray(found), expected)
    sol = mgnet.solve(1.0, n=(2, 3), dim=2, domain=((0, 2), (0, 3)))
    x, y = np.arange(0.0, 3), np.arange(1.0, 4)
    np.testing.assert_array_equal(sol(kind(x), kind(y)), sol(x, y))


@pytest.mark.parametrize("kind", ["Series", "DataFrame", "DataArray"])
def test_packages_of_labelled_arrays(kind: str) -> None:
    module = pytest.importorskip("xarray" if kind == "DataArray" else "pandas")
    values = np.arange(1.0, 10)
    if kind == "DataFrame":
        f = module.DataFrame(values.reshape(3, 3), columns=list("abc"))
        np.testing.assert_array_equal(
            mgnet.solve(f, 2, dim=2).u, mgnet.solve(values.reshape(3, 3), 2, dim=2).u
        )
    else:
        given = getattr(module, kind)(values)
        np.testing.assert_array_equal(mgnet.solve(given, 8).u, mgnet.solve(values, 8).u)


NUMBERS = {
    "int": 2,
    "numpy": np.float32(2),
    "numpy, no axes": np.array(2.0),
    "foreign, no axes": Foreign(2.0),
    "torch": torch.tensor(2),
    "torch, bfloat16": torch.tensor(2, dtype=torch.bfloat16),
    "fraction": Fraction(2),
}


@pytest.mark.parametrize("two", NUMBERS.values(), ids=NUMBERS)
def test_numbers(two: Any) -> None:
    one = {"n": 4, "right": Neumann(0.0)}
    for name in ("f", "a", "c"):
        expected = mgnet.solve(**one | ({"f": 1.0} if name != "f" else {}), **{name: 2.0}).u
        found = mgnet.solve(**one | ({"f": 1.0} if name != "f" else {}), **{name: two}).u
        np.testing.assert_array_equal(np.asarray(found), expected)
    for kind in (Dirichlet, Neumann, lambda g: Robin(g, g)):
        expected = mgnet.solve(n=4, left=kind(2.0)).u
        np.testing.assert_array_equal(np.asarray(mgnet.solve(n=4, left=kind(two)).u), expected)
    assert mgnet.solve(1.0, 4, domain=(0, two)).x[-1] == 2
    assert mgnet.solve(1.0, 4, method="vcycle", tol=two).status.name == "CONVERGED"


# Masks.


def masked(shape: tuple[int, ...]) -> np.ma.MaskedArray:
    values = np.ma.ones(shape)
    values[(0,) * len(shape)] = 1e20
    values[(0,) * len(shape)] = np.ma.masked
    return values


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
@pytest.mark.parametrize("of", ["array", "rows", "tensor", "unmasked"])
def test_masked_arrays_are_refused(of: str) -> None:
    def given(*shape: int) -> Any:
        if of == "tensor":
            ones = torch.ones(shape)
            return torch.masked.masked_tensor(ones, ones > 0)
        if of == "unmasked":
            return np.ma.ones(shape)
        return masked(shape) if of == "array" else list(masked((1, *shape)))

    calls: dict[str, Callable[[], Any]] = {
        "f": lambda: mgnet.solve(given(5), 4),
        "a": lambda: mgnet.solve(1.0, 4, a=given(4)),
        "c": lambda: mgnet.solve(1.0, 4, c=given(5)),
        "b": lambda: mgnet.solve(b=given(3), n=4),
        "x0": lambda: mgnet.solve(1.0, 4, method="vcycle", x0=given(5)),
        "nodes": lambda: mgnet.solve(1.0, nodes=given(5)),
        "domain": lambda: mgnet.solve(1.0, 4, domain=given(2)),
        "Dirichlet g": lambda: Dirichlet(given(5)),
        "Neumann g": lambda: Neumann(given(5)),
        "Robin g": lambda: Robin(1.0, given(5)),
        "x": lambda: mgnet.solve(1.0, 4)(given(5)),
    }
    for name, call in calls.items():
        at_door = "" if name in ("b", "x0", "nodes", "domain", "x") else ".* with cells= .* fixed="
        with pytest.raises(TypeError, match=f"^{name}: got a masked array .* numpy.ma.filled{at_door}"):
            call()
    with pytest.raises(TypeError, match=r"^f: got a masked array"):
        mgnet.solve(lambda x: np.ma.masked_less(x, 0.5), 4)


def test_masked_numbers_are_refused() -> None:
    for name, call in (
        ("f", lambda: mgnet.solve(np.ma.masked, 4)),
        ("Robin alpha", lambda: Robin(np.ma.masked)),
        ("tol", lambda: mgnet.solve(1.0, 4, tol=np.ma.masked)),
        ("f", lambda: mgnet.solve([1.0, np.ma.masked, 1.0, 1.0, 1.0], 4)),
    ):
        with pytest.raises(TypeError, match=f"^{name}: got a masked array"):
            call()


# Derivatives that there are not.


def test_no_gradient_is_dropped_silently() -> None:
    x = torch.linspace(0, 1, 5, dtype=torch.float64, requires_grad=True)
    end = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    for name, call in (
        ("nodes", lambda: mgnet.solve(1.0, nodes=x)),
        ("nodes", lambda: torch.func.grad(lambda x: mgnet.solve(1.0, nodes=x).u.sum())(x.detach())),
        ("domain", lambda: mgnet.solve(1.0, 4, domain=(0.0, end))),
        ("domain", lambda: mgnet.solve(1.0, 4, domain=torch.stack((end - 1, end)))),
        ("tol", lambda: mgnet.solve(1.0, 4, method="vcycle", tol=end)),
        ("omega", lambda: mgnet.solve(1.0, 4, method="vcycle", omega=end)),
    ):
        with pytest.raises(ValueError, match=f"^{name}: got "):
            call()
    with torch.no_grad():  # nothing is lost
        assert mgnet.solve(1.0, nodes=x, domain=(0.0, end)).u[2] == pytest.approx(0.125)


# Messages.


def test_no_message_shows_a_whole_array() -> None:
    many = np.arange(200.0)
    for call in (
        lambda: mgnet.solve(1.0, 4, a=many),
        lambda: mgnet.solve(1.0, 4, dim=2, a=np.ones((2, 6, 6))),
        lambda: mgnet.solve(1.0, 4, left=Dirichlet(many)),
        lambda: mgnet.solve(1.0, 4, left=many),
        lambda: mgnet.solve(1.0, 4, boundary=many),
        lambda: mgnet.solve(1.0, n=many),
        lambda: mgnet.solve(1.0, n=many, dim=2),
        lambda: mgnet.solve(1.0, 4, domain=many),
        lambda: mgnet.solve(1.0, 4, domain=list(many)),
        lambda: mgnet.solve(1.0, 4, tol=many),
        lambda: mgnet.solve(1.0, 4, periodic=many),
        lambda: mgnet.solve(1.0, 4, dtype=many),
        lambda: mgnet.solve(1.0, 4, method=many),
        lambda: mgnet.solve(1.0, 4, dim=many),
        lambda: mgnet.solve(1.0, 4, dim=2, boundary={"left": many}),
        lambda: mgnet.solve(1.0, 4, load=many),
        lambda: mgnet.Hierarchy(many),
        lambda: mgnet.solve(1.0, 4, left=Robin(many)),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            call()
        assert len(str(caught.value)) < 300
        assert "; accepted: " in str(caught.value)
    assert repr(Dirichlet(many)) == "Dirichlet(g=numpy.ndarray of shape (200,))"


def test_messages_about_coefficients_do_not_contradict_each_other() -> None:
    cells, nodes = r"\(\.\.\., 4, 4\)", r"\(\.\.\., 5, 5\)"
    for shape in ((2, 4, 5), (2, 3, 3), (4,)):
        with pytest.raises(
            ValueError, match=rf"^a: got shape \(.*\); accepted: {cells} or {nodes}, one value"
        ):
            mgnet.solve(1.0, 4, dim=2, a=np.ones(shape))
        with pytest.raises(
            ValueError, match=rf"^c: got shape \(.*\); accepted: {nodes} or {cells}, one value"
        ):
            mgnet.solve(1.0, 4, dim=2, c=np.ones(shape))
    for shape in ((2, 4, 4), (2, 5, 5)):  # what the message says is taken
        assert mgnet.solve(1.0, 4, dim=2, a=np.ones(shape), c=np.ones(shape)).u.shape == (2, 5, 5)


# One way of two.


def test_what_may_be_read_in_two_ways_is_refused() -> None:
    g = np.arange(12.0).reshape(3, 4)
    for side, row in (("left", g[0]), ("right", g[-1])):
        with pytest.raises(
            ValueError, match=rf"^{side}: Dirichlet g: got shape \(3, 4\), which fits .* batch"
        ):
            mgnet.solve(n=(2, 3), dim=2, boundary={side: Dirichlet(g)})
        with pytest.raises(ValueError, match=rf"^{side}: Dirichlet g"):
            mgnet.solve(n=(2, 3), dim=2, **{side: Dirichlet(torch.tensor(g))})
        end = 0 if side == "left" else -1
        whole = mgnet.solve(n=(2, 3), dim=2, boundary={side: Dirichlet(np.take(g, end, -2))}).u
        np.testing.assert_array_equal(whole[end, 1:-1], row[1:-1])
        batch = mgnet.solve(n=(2, 3), dim=2, boundary={side: Dirichlet(lambda x, y: np.expand_dims(g, -2))}).u
        assert batch.shape == (3, 3, 4)
        np.testing.assert_array_equal(batch[:, end, 1:-1], g[:, 1:-1])
    # As the one condition for all sides it is of the whole box.
    u = mgnet.solve(n=(2, 3), dim=2, boundary=Dirichlet(g)).u
    np.testing.assert_array_equal(u[:, [0, -1]], g[:, [0, -1]])
    sol = mgnet.solve(1.0, 8, dim=2)
    points = [[0.1, 0.2], [0.3, 0.4]]
    for x in (points, tuple(map(tuple, points)), [np.array(row) for row in points]):
        for evaluate in (sol, sol.derivative):
            with pytest.raises(
                ValueError, match=r"^x: got .*, which may be 2 arrays of coordinates, or points"
            ):
                evaluate(x)
    assert sol(*points) == pytest.approx(sol(tuple(map(np.array, points))))
    assert sol(np.array(points)) == pytest.approx([sol(*row) for row in points])
    assert sol([0.1, 0.2]) == sol(0.1, 0.2)
    assert sol([[0.1, 0.2, 0.3], [0.4]]) == pytest.approx(sol([0.1, 0.2, 0.3], 0.4))


def test_a_batch_is_told() -> None:
    assert "batch of 9 right-hand sides" in repr(mgnet.solve(np.ones((9, 9)), n=8))
    assert "batch" not in repr(mgnet.solve(np.ones((9, 9)), n=8, dim=2))


# Flags.


@pytest.mark.parametrize("value", ["no", 1, 0, None, 1.0, "False", [True], np.array([True])], ids=repr)
def test_flags_are_true_or_false(value: Any) -> None:
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=4))
    for name in ("refine", "throw", "periodic"):
        with pytest.raises(TypeError, match=f"^{name}: got .*; accepted: True or False"):
            mgnet.solve(1.0, 4, **{name: value})
        if name != "periodic":
            with pytest.raises(TypeError, match=f"^{name}: got .*; accepted: True or False"):
                hierarchy.solve(np.ones(3), **{name: value})
    assert mgnet.solve(1.0, 4, refine=np.True_, throw=np.False_).status.name == "CONVERGED"
