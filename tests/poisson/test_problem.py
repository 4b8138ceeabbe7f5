"""What a problem accepts and refuses: each refusal names the argument, the value, what is accepted."""

from __future__ import annotations

import pickle
import re
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Dirichlet, Neumann, Poisson, ResourceError, Robin

NAN, INF = float("nan"), float("inf")


def refusal(error: type[Exception], name: str, shown: str, /, *marks: Any, **keywords: Any) -> Any:
    """Give a row of the tables below; the id is the argument and what stands for its value."""
    return pytest.param(error, name, shown, keywords, id=f"{name}={shown}"[:60], marks=marks)


def refuse(error: type[Exception], name: str, shown: str, keywords: dict[str, Any]) -> Exception:
    with pytest.raises(error) as caught:
        mgnet.solve(**({"n": 4} | keywords if "nodes" not in keywords else keywords))
    assert type(caught.value) is error
    message = str(caught.value)
    assert message.startswith(f"{name}: "), message
    assert shown in message.partition("; accepted: ")[0], message
    assert len(message.partition("; accepted: ")[2]) > 4, message
    return caught.value


refusals = pytest.mark.parametrize


# The number of cells.


@refusals(
    ("error", "name", "shown", "keywords"),
    [
        refusal(ValueError, "n", "got 0", n=0),
        refusal(ValueError, "n", "got -4", n=-4),
        refusal(TypeError, "n", "got 2.5", n=2.5),
        refusal(TypeError, "n", "got 8.0", n=8.0),
        refusal(TypeError, "n", "got True", n=True),
        refusal(TypeError, "n", "got np.True_", n=np.True_),
        refusal(TypeError, "n", "got '8'", n="8"),
        refusal(TypeError, "n", "got nan", n=NAN),
        refusal(ValueError, "n", "got None", n=None),
        refusal(TypeError, "n", "got (4, 4)", n=(4, 4)),
        refusal(TypeError, "n", "got array([4])", n=np.array([4])),
        refusal(TypeError, "n", "got (4+0j)", n=4 + 0j),
        refusal(ResourceError, "n", f"got {2**60}, which needs about 25,769,803,776 GiB", n=2**60),
        refusal(ResourceError, "n", f"got {10**40}, which needs", n=10**40),
    ],
)
def test_n(error: type[Exception], name: str, shown: str, keywords: dict[str, Any]) -> None:
    refuse(error, name, shown, keywords)


@pytest.mark.parametrize("n", [1, np.int8(7), np.uint16(7), np.int64(7)], ids=repr)
def test_integers_of_any_kind(n: Any) -> None:
    assert Poisson(n=n).n == int(n)
    assert type(Poisson(n=n).n) is int


def test_memory_is_named_before_any_is_taken() -> None:
    assert issubclass(ResourceError, MemoryError)
    tracemalloc.start()
    try:
        with pytest.raises(ResourceError, match=r"GiB of memory; accepted: what fits into the [\d,]+ GiB"):
            mgnet.solve(1.0, 2**60, a=lambda x: 1 + x, c=lambda x: x)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


# The interval and its nodes.


@refusals(
    ("error", "name", "shown", "keywords"),
    [
        refusal(ValueError, "domain", "got (1.0, 0.0)", domain=(1.0, 0.0)),
        refusal(ValueError, "domain", "got (2, 2)", domain=(2, 2)),
        refusal(ValueError, "domain", "got (0.0, inf)", domain=(0.0, INF)),
        refusal(ValueError, "domain", "got (-inf, 0)", domain=(-INF, 0)),
        refusal(ValueError, "domain", "got (nan, 1)", domain=(NAN, 1)),
        refusal(ValueError, "domain", "got (-1e+308, 1e+308)", domain=(-1e308, 1e308)),
        refusal(ValueError, "domain", "got (0, 1, 2)", domain=(0, 1, 2)),
        refusal(ValueError, "domain", "got (1,)", domain=(1,)),
        refusal(ValueError, "domain", "got ()", domain=()),
        refusal(ValueError, "domain", "got 1.0", domain=1.0),
        refusal(ValueError, "domain", "got None", domain=None),
        refusal(ValueError, "domain", "got '01'", domain="01"),
        refusal(ValueError, "domain", "got ('a', 'b')", domain=("a", "b")),
        refusal(ValueError, "domain", "got (0, 1j)", domain=(0, 1j)),
    ],
)
def test_domain(error: type[Exception], name: str, shown: str, keywords: dict[str, Any]) -> None:
    refuse(error, name, shown, keywords)


def test_domain_too_short_for_its_cells() -> None:
    refuse(ValueError, "domain", "got (0, 5e-324)", {"domain": (0, 5e-324)})


@refusals(
    ("error", "name", "shown", "keywords"),
    [
        refusal(ValueError, "nodes", "got 1.0, 0.5 at index 1", nodes=[0, 1, 0.5]),
        refusal(ValueError, "nodes", "got 1.0, 1.0 at index 1", nodes=[0, 1, 1, 2]),
        refusal(ValueError, "nodes", "got 2.0, 1.0 at index 0", nodes=[2, 1]),
        refusal(ValueError, "nodes", "got nan at index 1", nodes=[0, NAN, 1]),
        refusal(ValueError, "nodes", "got inf at index 2", nodes=[0, 1, INF]),
        refusal(ValueError, "nodes", "got -inf at index 0", nodes=[-INF, 0, 1]),
        refusal(ValueError, "nodes", "got shape (1,)", nodes=[1.0]),
        refusal(ValueError, "nodes", "got shape (0,)", nodes=[]),
        refusal(ValueError, "nodes", "got shape ()", nodes=3.0),
        refusal(ValueError, "nodes", "got shape (2, 3)", nodes=np.arange(6.0).reshape(2, 3)),
        refusal(TypeError, "nodes", "got dtype <U1", nodes=["a", "b"]),
        refusal(TypeError, "nodes", "got dtype complex128", nodes=[0, 1j]),
        refusal(TypeError, "nodes", "got dtype object", nodes=[0, None]),
        refusal(TypeError, "nodes", "got list", nodes=[[0, 1], [2]]),
        refusal(ValueError, "n", "got 4 and 4 nodes", n=4, nodes=[0, 1, 2, 3]),
        refusal(TypeError, "n", "got '3'", n="3", nodes=[0, 1, 2, 3]),
    ],
)
def test_nodes(error: type[Exception], name: str, shown: str, keywords: dict[str, Any]) -> None:
    refuse(error, name, shown, keywords)


def test_nodes_of_any_kind() -> None:
    x = np.array([0.0, 1.0, 4.0])
    for nodes in (
        [0, 1, 4],
        (0, 1, 4),
        x,
        x.astype(">f8"),
        x.astype(np.float32),
        torch.tensor(x),
        np.int8([0, 1, 4]),
    ):
        problem = Poisson(nodes=nodes)
        assert (problem.grid.x == x).all()
        assert problem.grid.x.dtype == np.float64
        assert (problem.n, problem.grid.domain, problem.grid.uniform) == (2, (0.0, 4.0), False)
    assert Poisson(n=2, nodes=x).n == 2
    problem = Poisson(nodes=x)
    x[1] = 3
    assert problem.grid.x[1] == 1


def test_nodes_too_far_apart() -> None:
    refuse(ValueError, "nodes", "-1e+308", {"nodes": [-1e308, 1e308]})


def test_nodes_and_another_domain() -> None:
    with pytest.raises(ValueError, match="domain"):
        Poisson(nodes=[0, 1, 2], domain=(0.0, 5.0))


def test_domain_too_far_away_for_its_cells() -> None:
    refuse(ValueError, "domain", "got (1e+16, 1.0000000000000004e+16)", {"n": 10, "domain": (1e16, 1e16 + 4)})


# The right-hand side.


def with_entry(value: float, *index: int, shape: tuple[int, ...] = (5,)) -> np.ndarray:
    f = np.ones(shape)
    f[index] = value
    return f


@refusals(
    ("error", "name", "shown", "keywords"),
    [
        refusal(ValueError, "f", "got shape (6,)", f=np.ones(6)),
        refusal(ValueError, "f", "got shape (3,)", f=[1, 2, 3]),
        refusal(ValueError, "f", "got shape (5, 1)", f=np.ones((5, 1))),
        refusal(ValueError, "f", "got shape (0,)", f=[]),
        refusal(ValueError, "f", "got shape (0, 5)", f=np.ones((0, 5))),
        refusal(ValueError, "f", "got shape (2, 0, 5)", f=torch.ones(2, 0, 5)),
        refusal(TypeError, "f", "got dtype complex128", f=np.ones(5) * 1j),
        refusal(TypeError, "f", "got dtype torch.complex64", f=torch.ones(5, dtype=torch.complex64)),
        refusal(TypeError, "f", "got dtype object", f=np.ones(5, dtype=object)),
        refusal(TypeError, "f", "got dtype object", f=[1, 2, None, 4, 5]),
        refusal(TypeError, "f", "got dtype object", f={1, 2, 3, 4, 5}),
        refusal(TypeError, "f", "got dtype object", f=iter([1, 2, 3, 4, 5])),
        refusal(TypeError, "f", "got dtype <U3", f="x+1"),
        refusal(TypeError, "f", "got dtype <U1", f=list("abcde")),
        refusal(TypeError, "f", "got dtype |S1", f=b"1"),
        refusal(TypeError, "f", "got dtype datetime64[D]", f=np.array(["2000-01-01"] * 5, "datetime64[D]")),
        refusal(TypeError, "f", "got list", f=[[1, 2], [3]]),
        refusal(TypeError, "f", "got 1j", f=1j),
        refusal(TypeError, "f", "got tensor(0.+1.j)", f=torch.tensor(1j)),
        refusal(TypeError, "f", "got array(0.+1.j)", f=np.array(1j)),
        refusal(ValueError, "f", "got nan", f=NAN),
        refusal(ValueError, "f", "got -inf", f=-INF),
        refusal(ValueError, "f", "got nan at index 3", f=with_entry(NAN, 3)),
        refusal(ValueError, "f", "got inf at index 2", f=with_entry(INF, 2)),
        refusal(ValueError, "f", "got -inf at index 1", f=torch.tensor(with_entry(-INF, 1))),
        refusal(ValueError, "f", "got nan at index 2 of row 1", f=with_entry(NAN, 1, 2, shape=(3, 5))),
        refusal(
            ValueError, "f", "got nan at index 3 of row (1, 2)", f=with_entry(NAN, 1, 2, 3, shape=(2, 4, 5))
        ),
        refusal(ValueError, "f and b", "got both", f=1.0, b=np.ones(3)),
        refusal(ValueError, "b", "got shape (5,)", b=np.ones(5)),
        refusal(ValueError, "b", "got shape ()", b=1.0),
        refusal(TypeError, "b", "got dtype object", b=lambda x: x),
        refusal(TypeError, "b", "got dtype complex128", b=np.ones(3) * 1j),
        refusal(ValueError, "b", "got nan at index 1", b=[1.0, NAN, 1.0]),
        refusal(ValueError, "b", "got inf at index 0 of row 1", b=[[1.0, 1.0, 1.0], [INF, 1.0, 1.0]]),
        refusal(ValueError, "load", "got 'lumped'", load="lumped"),
        refusal(ValueError, "load", "got 1", load=1),
    ],
)
def test_right_hand_side(error: type[Exception], name: str, shown: str, keywords: dict[str, Any]) -> None:
    refuse(error, name, shown, keywords)


METHODS = ["direct", "vcycle", "wcycle", "fcycle", "fmg", "pcg"]


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("exact", NAN),
        ("exact", INF),
        *((method, value) for method in METHODS for value in (NAN, INF)),
    ],
)
@pytest.mark.parametrize("periodic", [False, True])
def test_a_bad_entry_is_found_wherever_it_is(method: str, value: float, periodic: bool) -> None:
    n = 70
    for index in (1, 2, 31, 32, 33, 63, 64, 65, 68, 69):
        for dtype in (torch.float32, torch.float64):
            f = with_entry(value, 1, index, shape=(3, n + 1))
            keywords = {"n": n, "c": 1.0, "periodic": periodic, "method": method, "dtype": dtype}
            refuse(ValueError, "f", f"got {value} at index {index} of row 1", {"f": f, **keywords})


def test_a_bad_entry_of_a_large_problem() -> None:
    n = 3 * 2**15 + 17
    for index in (1, n // 2, n - 1):
        refuse(
            ValueError,
            "f",
            f"got nan at index {index}",
            {"f": with_entry(NAN, index, shape=(n + 1,)), "n": n},
        )
        a = np.linspace(1, 2, n)
        keywords = {"f": with_entry(NAN, index, shape=(n + 1,)), "n": n, "a": a}
        refuse(ValueError, "f", f"got nan at index {index}", keywords)


@pytest.mark.parametrize("index", [0, 4])
def test_a_bad_entry_on_the_boundary(index: int) -> None:
    refuse(ValueError, "f", f"got nan at index {index}", {"f": with_entry(NAN, index)})


def test_complex_numbers_of_numpy() -> None:
    refuse(TypeError, "f", "1j", {"f": np.complex128(1j)})


def test_a_string_in_an_array_without_axes() -> None:
    refuse(TypeError, "f", "dtype <U1", {"f": np.array("8")})


@pytest.mark.parametrize(
    "f", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), torch.tensor(2), Fraction(2)], ids=repr
)
def test_numbers_of_any_kind(f: Any) -> None:
    np.testing.assert_allclose(mgnet.solve(f, 4).u, [0, 0.1875, 0.25, 0.1875, 0], rtol=1e-15)


# Functions.


@refusals(
    ("error", "name", "shown", "keywords"),
    [
        refusal(ValueError, "f", "returned shape (3,)", f=lambda x: x[:3]),
        refusal(ValueError, "f", "returned shape (20, 1)", f=lambda x: x[:, None]),
        refusal(ValueError, "f", "returned shape (0,)", f=lambda x: []),
        refusal(TypeError, "f", "complex128", f=lambda x: x * 1j),
        refusal(TypeError, "f", "complex128 (1j)", f=lambda x: 1j),
        refusal(TypeError, "f", "dtype object", f=lambda x: x.astype(object)),
        refusal(TypeError, "f", "dtype <U1", f=lambda x: ["a"] * len(x)),
        refusal(ValueError, "f", "returned nan at index", f=lambda x: np.where(x > 0.5, NAN, x)),
        refusal(ValueError, "f", "returned inf at index", f=lambda x: np.where(x > 0.5, INF, x)),
        refusal(ValueError, "f", "returned nan at index 0", f=lambda x: NAN),
        refusal(ValueError, "a", "returned nan at index", a=lambda x: np.where(x > 0.5, NAN, x)),
        refusal(ValueError, "a", "returned shape (1,)", a=lambda x: x[:1]),
        refusal(ValueError, "a", "returned 2 axes", a=lambda x: np.stack((x, x))),
        refusal(ValueError, "a", "in cell 2", a=lambda x: np.where(x > 0.5, -1.0, 1.0)),
        refusal(ValueError, "a", "got 0.0 in cell 0", a=lambda x: 0 * x),
        refusal(ValueError, "a", "got -3.0 in cell 0", a=lambda x: -3),
        refusal(ValueError, "c", "got -1.0 in cell 2", c=lambda x: np.where(x > 0.5, -1.0, 1.0)),
        refusal(ValueError, "c", "returned inf", c=lambda x: x / 0.0 if isinstance(x, torch.Tensor) else INF),
    ],
)
def test_functions(error: type[Exception], name: str, shown: str, keywords: dict[str, Any]) -> None:
    refuse(error, name, shown, {"f": 1.0} | keywords)


@pytest.mark.parametrize("name", ["f", "a", "c"])
@pytest.mark.parametrize(
    "returned", [None, "a", {}, iter([1.0]), [[1], [2, 3]]], ids=lambda value: type(value).__name__
)
def test_a_function_that_returns_no_numbers(name: str, returned: Any) -> None:
    """As one that lacks its return statement."""
    with pytest.raises((TypeError, ValueError), match=f"^{name}: .*accepted: "):
        mgnet.solve(**{"f": 1.0, name: lambda x: returned}, n=4)


@pytest.mark.parametrize("name", ["f", "a", "c"])
@pytest.mark.parametrize("error", [ZeroDivisionError, ValueError, KeyError, RuntimeError])
def test_what_a_function_raises_is_chained(name: str, error: type[Exception]) -> None:
    def function(x: Any) -> Any:
        raise error("told you")

    caught = refuse_function(name, function)
    assert type(caught.__cause__) is error
    assert f"{name}: the function raised {error.__name__}" in str(caught)
    assert "told you" in str(caught)


def refuse_function(name: str, function: Callable[[Any], Any]) -> Exception:
    with pytest.raises(ValueError, match=f"^{name}: the function raised") as caught:
        mgnet.solve(**{"f": 1.0, name: function}, n=4)
    return caught.value


def test_what_a_function_raised_for_numpy_counts() -> None:
    """It is tried with a tensor after a TypeError; what that says is of no interest."""

    def function(x: Any) -> Any:
        raise TypeError("first" if isinstance(x, np.ndarray) else "second")

    assert "first" in str(refuse_function("f", function))


def test_an_interrupt_is_not_caught() -> None:
    def function(x: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mgnet.solve(function, 4)


@pytest.mark.parametrize("returned", [2, 2.0, np.float32(2), np.array(2), torch.tensor(2.0)], ids=repr)
@pytest.mark.parametrize("load", ["exact", "nodal"])
def test_one_value_is_broadcast(returned: Any, load: str) -> None:
    u = mgnet.solve(lambda x: returned, 4, load=load).u
    np.testing.assert_allclose(np.asarray(u), [0, 0.1875, 0.25, 0.1875, 0], rtol=1e-15)


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.float16, bool, list, tuple])
def test_a_function_may_return_any_kind_of_array(kind: Any) -> None:
    def function(x: np.ndarray) -> Any:
        return kind(np.ones(len(x)) * 3) if kind in (list, tuple) else (np.ones(len(x)) * 3).astype(kind)

    expected = mgnet.solve(1.0 if kind is bool else 3.0, 7).u
    np.testing.assert_allclose(mgnet.solve(function, 7).u, expected, rtol=1e-15)


# Coefficients.


@refusals(
    ("error", "name", "shown", "keywords"),
    [
        refusal(ValueError, "a", "got 0", a=0),
        refusal(ValueError, "a", "got -2.0", a=-2.0),
        refusal(ValueError, "a", "got nan", a=NAN),
        refusal(ValueError, "a", "got inf", a=INF),
        refusal(TypeError, "a", "got 1j", a=1j),
        refusal(TypeError, "a", "got dtype <U1", a="1"),
        refusal(ValueError, "a", "got 0.0 in cell 2", a=[1.0, 1.0, 0.0, -1.0]),
        refusal(ValueError, "a", "got -1.0 in cell 1", a=[1.0, -1.0, 0.0, -1.0]),
        refusal(ValueError, "a", "got nan in cell 3", a=[1.0, 1.0, 1.0, NAN]),
        refusal(ValueError, "a", "got inf in cell 0", a=torch.tensor([INF, 1.0, NAN, 1.0])),
        refusal(ValueError, "a", "got shape (6,)", a=np.ones(6)),
        refusal(ValueError, "a", "got shape (0, 4)", a=np.ones((0, 4))),
        refusal(ValueError, "a", "got 0.0 in cell 1 of row 2", a=with_entry(0.0, 2, 1, shape=(3, 4))),
        refusal(ValueError, "a", "got -1.0 in node 3", a=with_entry(-1.0, 3)),
        refusal(TypeError, "a", "got dtype complex128", a=np.ones(4) * 1j),
        refusal(TypeError, "a", "got dtype object", a=[1, 2, None, 3]),
        refusal(ValueError, "c", "got -1", c=-1),
        refusal(ValueError, "c", "got nan", c=NAN),
        refusal(ValueError, "c", "got inf", c=INF),
        refusal(ValueError, "c", "got -2.0 in node 1", c=[0.0, -2.0, 0.0, NAN, -1.0]),
        refusal(ValueError, "c", "got nan in node 4", c=[0.0, 0.0, 0.0, 0.0, NAN]),
        refusal(ValueError, "c", "got shape (3,)", c=np.ones(3)),
        refusal(ValueError, "c", "got -1.0 in cell 3", c=with_entry(-1.0, 3, shape=(4,))),
        refusal(TypeError, "c", "got dtype <U1", c="x"),
    ],
)
def test_coefficients(error: type[Exception], name: str, shown: str, keywords: dict[str, Any]) -> None:
    refuse(error, name, shown, {"f": 1.0} | keywords)


def test_coefficients_of_any_kind() -> None:
    a, c = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0, 0.0, 5.0])
    expected = mgnet.solve(1.0, 4, a=a, c=c).u
    for kind in (list, tuple, np.int8, np.float32, ">i4", np.float16):
        one, two = (
            v.tolist() if kind is list else kind(v) if kind is tuple else v.astype(kind) for v in (a, c)
        )
        assert (mgnet.solve(1.0, 4, a=one, c=two).u == expected).all()
    u = mgnet.solve(1.0, 4, a=torch.tensor(a, requires_grad=True), c=torch.tensor(c, dtype=torch.int32)).u
    assert (u.detach().numpy() == expected).all()


# Conditions.


@refusals(
    ("error", "name", "shown", "keywords"),
    [
        refusal(TypeError, "left", "got 'dirichlet'", left="dirichlet"),
        refusal(TypeError, "left", "got 0.0", left=0.0),
        refusal(TypeError, "right", "got <class 'mgnet.poisson.conditions.Neumann'>", right=Neumann),
        refusal(TypeError, "right", "got (1.0, 2.0)", right=(1.0, 2.0)),
        refusal(
            ValueError, "left", "got Dirichlet(g=0.0) and periodic=True", left=Dirichlet(), periodic=True
        ),
        refusal(ValueError, "right", "got Neumann(g=0.0) and periodic=True", right=Neumann(), periodic=True),
        refusal(TypeError, "periodic", "got 1", periodic=1),
        refusal(TypeError, "periodic", "got None", periodic=None),
        refusal(TypeError, "periodic", "got 'yes'", periodic="yes"),
    ],
)
def test_conditions(error: type[Exception], name: str, shown: str, keywords: dict[str, Any]) -> None:
    refuse(error, name, shown, {"f": 1.0} | keywords)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Dirichlet("1"), TypeError, "Dirichlet g: got '1'; accepted: a real number"),
        (lambda: Dirichlet(NAN), ValueError, "Dirichlet g: got nan; accepted: a finite number"),
        (lambda: Dirichlet(None), TypeError, "Dirichlet g: got None; accepted: a real number"),
        (lambda: Dirichlet(["1"]), TypeError, "Dirichlet g: got dtype <U1; accepted: real numbers"),
        (
            lambda: Poisson(1.0, n=4, left=Dirichlet([1.0])),
            TypeError,
            "left: got Dirichlet(g) with g = array([1.]); accepted: a number",
        ),
        (lambda: Neumann(INF), ValueError, "Neumann g: got inf; accepted: a finite number"),
        (lambda: Neumann(1j), TypeError, "Neumann g: got 1j; accepted: a real number"),
        (lambda: Robin(-1.0), ValueError, "Robin alpha: got -1.0; accepted: a number of at least 0"),
        (lambda: Robin(NAN), ValueError, "Robin alpha: got nan; accepted: a finite number"),
        (lambda: Robin(1.0, "g"), TypeError, "Robin g: got 'g'; accepted: a real number"),
        (lambda: Robin(["a"]), TypeError, "Robin alpha: got "),
    ],
)
def test_data_of_conditions(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()


def test_conditions_are_values() -> None:
    assert Robin(2, 3) == Robin(np.float32(2.0), torch.tensor(3)) != Robin(2, 4)
    assert type(Robin(np.int8(2)).alpha) is float
    with pytest.raises(AttributeError):
        Robin(1.0).alpha = 2.0  # type: ignore[misc]


# Arrays of all kinds, accepted and left as they were.


ROWS = np.random.default_rng(5).integers(-9, 9, (3, 9)).astype(float)


def arrays() -> dict[str, Any]:
    wide = np.zeros((3, 18))
    wide[:, ::2] = ROWS
    frozen = ROWS.copy()
    frozen.flags.writeable = False
    return {
        "plain": ROWS.copy(),
        "columns": np.asfortranarray(ROWS),
        "strided": wide[:, ::2],
        "backwards": ROWS[:, ::-1].copy()[:, ::-1],
        "upside down": ROWS[::-1].copy()[::-1],
        "big-endian": ROWS.astype(">f8"),
        "big-endian integers": ROWS.astype(">i2"),
        "integers": ROWS.astype(np.int8),
        "half": ROWS.astype(np.float16),
        "long double": ROWS.astype(np.longdouble),
        "read-only": frozen,
        "broadcast": np.broadcast_to(ROWS, (3, 9)),
        "list": ROWS.tolist(),
        "torch": torch.tensor(ROWS),
        "torch, strided": torch.tensor(wide)[:, ::2],
        "torch, integers": torch.tensor(ROWS).int(),
        "torch, half": torch.tensor(ROWS).half(),
        "torch, brain": torch.tensor(ROWS).bfloat16(),
        "torch, gradient": torch.tensor(ROWS, requires_grad=True),
    }


@pytest.mark.parametrize("kind", arrays())
def test_arrays_are_read_and_left_alone(kind: str) -> None:
    f = arrays()[kind]
    copy = (
        [row[:] for row in f]
        if isinstance(f, list)
        else f.clone()
        if isinstance(f, torch.Tensor)
        else f.copy()
    )
    expected = mgnet.solve(ROWS.copy(), 8).u
    for method in ("exact", "vcycle", "direct"):
        for keywords in ({}, {"load": "exact"}, {"a": np.linspace(1, 2, 8)}):
            sol = mgnet.solve(f, 8, method=method, **keywords)
            if not keywords:
                np.testing.assert_allclose(sol.u.tolist(), expected, rtol=0, atol=1e-9)
            assert str(sol.u.dtype).endswith("float64")  # integers and other precisions are promoted
            assert isinstance(sol.u, torch.Tensor) == isinstance(f, torch.Tensor)
    if isinstance(f, list):
        assert f == copy
    else:
        assert (f == copy).all()


@pytest.mark.parametrize("kind", [np.float32, ">f4"])
def test_single_precision_stays(kind: Any) -> None:
    sol = mgnet.solve(ROWS.astype(kind), 8)
    assert sol.u.dtype == np.float32
    np.testing.assert_allclose(sol.u, mgnet.solve(ROWS, 8).u, rtol=0, atol=1e-5)


def test_booleans_are_zeros_and_ones() -> None:
    f = np.array([True, True, False, True, False])
    assert (mgnet.solve(f, 4).u == mgnet.solve(f.astype(float), 4).u).all()


@pytest.mark.parametrize("method", ["exact", "direct", "vcycle", "pcg", "fmg"])
@pytest.mark.parametrize("right", [Dirichlet(2.0), Neumann(3.0), Robin(2.0, 5.0)], ids=repr)
def test_user_arrays_are_untouched(method: str, right: Any) -> None:
    rng = np.random.default_rng(0)
    unknowns = 16 if not isinstance(right, Dirichlet) else 15
    data = {
        "b": rng.normal(size=(2, unknowns)),
        "a": rng.uniform(1, 2, 16),
        "c": rng.uniform(0, 1, 17),
        "nodes": np.sort(rng.uniform(size=17)),
        "x0": rng.normal(size=17),
    }
    copies = {name: value.copy() for name, value in data.items()}
    for refine in (False, True):
        mgnet.solve(**data, left=Dirichlet(1.0), right=right, method=method, refine=refine, throw=False)
        f = rng.normal(size=17)
        before = f.copy()
        keywords = {name: data[name] for name in ("a", "c", "nodes", "x0")}
        mgnet.solve(
            f, **keywords, left=Dirichlet(1.0), right=right, method=method, refine=refine, throw=False
        )
        assert (f == before).all()
    for name, value in data.items():
        assert (value == copies[name]).all(), name


# What the problem says of itself.


@pytest.mark.parametrize(
    ("keywords", "ends", "unknowns"),
    [
        ({}, ("dirichlet", "dirichlet"), 7),
        ({"left": Neumann()}, ("natural", "dirichlet"), 8),
        ({"right": Robin(1.0)}, ("dirichlet", "natural"), 8),
        ({"left": Robin(0.0), "right": Neumann()}, ("natural", "natural"), 9),
        ({"periodic": True}, ("periodic", "periodic"), 8),
        ({"periodic": np.True_}, ("periodic", "periodic"), 8),
    ],
)
def test_unknowns(keywords: dict[str, Any], ends: tuple[str, str], unknowns: int) -> None:
    problem = Poisson(n=8, **keywords)
    assert problem.ends == ends
    assert problem.unknowns == unknowns
    assert problem.robin == (0.0, 1.0 if keywords == {"right": Robin(1.0)} else 0.0)
    assert "n=8" in repr(problem)


def test_without_data_there_is_nothing() -> None:
    assert (mgnet.solve(n=4).u == 0).all()
    np.testing.assert_allclose(mgnet.solve(n=4, right=Dirichlet(2.0)).u, np.linspace(0, 2, 5), rtol=1e-15)


# In a box.


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
    assert type(problem) is Poisson
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


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_an_interval_is_a_box_with_one_axis(dim: int) -> None:
    sides = {"left": Neumann(1.0), "right": Robin(3.0, 2.0)}
    problem = box(n=4, dim=dim, domain=(0.0, 2.0), boundary=sides, a=2.0)
    assert type(problem) is Poisson
    assert (problem.dim, problem.n, problem.cells, problem.node_shape) == (dim, 4, (4,) * dim, (5,) * dim)
    assert (problem.shape, problem.unknowns) == (problem.space.shape, 5 * 3 ** (dim - 1))
    assert problem.shape == (5, 3, 3)[:dim]
    assert problem.space.ends == (("natural", "natural"), *[("dirichlet", "dirichlet")] * (dim - 1))
    assert problem.space.axes[0].robin == (0.0, 1.5)
    assert problem.conditions[0] == (problem.left, problem.right) == tuple(sides.values())
    assert (problem.alphas[0], problem.robin) == ((0.0, 3.0), (0.0, 3.0))
    assert problem.ends == ("natural", "natural")
    assert (problem.joined, problem.periodic, problem.alike) == ((False,) * dim, False, True)
    assert problem.floats is (dim == 1)
    assert problem.domain == ((0.0, 2.0) if dim == 1 else ((0.0, 2.0),) * dim)
    assert problem.side_shape(0) == (5,) * (dim - 1)
    names = ["left", "right", "bottom", "top", "back", "front"]
    assert [name for name, *_ in problem.sides()] == names[: 2 * dim]
    assert not box(n=4, dim=dim, a=lambda *x: 1 + x[0]).alike


def test_the_axis_of_given_nodes() -> None:
    x = np.array([0.0, 0.1, 0.5, 0.6, 2.0])
    problem = Poisson(nodes=x, right=Robin(1.0))
    (axis,) = problem.space.axes
    np.testing.assert_array_equal(axis.widths, np.diff(x))
    assert (axis.h, axis.ends, axis.robin) == (0.5, ("dirichlet", "natural"), (0.0, 0.0))
    assert not problem.alike
    assert problem.shape == (4,)


@pytest.mark.parametrize("n", [8, np.int64(8), (8, 8), [8, 8], np.array([8, 8])], ids=repr)
def test_cells(n: Any) -> None:
    assert box(n=n).cells == (8, 8)


@pytest.mark.parametrize(
    "domain", [(0, 2), [0, 2], np.array([0.0, 2.0]), ((0, 2), (0, 2)), np.array([[0, 2], [0, 2]])], ids=repr
)
def test_domains(domain: Any) -> None:
    assert box(domain=domain).domain == ((0.0, 2.0), (0.0, 2.0))


def test_conditions_in_a_box() -> None:
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


@pytest.mark.parametrize("dim", [0, 4, -1, True, 2.0, "2", (2,)], ids=repr)
def test_dimensions_that_are_none(dim: Any) -> None:
    refuses(ValueError, f"dim: got {dim!r}; accepted: 1, 2 or 3", dim=dim)


@pytest.mark.parametrize("periodic", [(True,), (True,) * 3, 1, "yes", (1, 0), None], ids=repr)
def test_joined_axes_that_are_none(periodic: Any) -> None:
    refuses(
        TypeError, f"periodic: got {periodic!r}; accepted: True or False, or 2 of them", periodic=periodic
    )


def test_what_exists_on_an_interval_only() -> None:
    refuses(ValueError, "method: got 'exact' in 2 dimensions; accepted: 'auto' or another", method="exact")
    words = "nodes: got numpy.ndarray of shape (9,); accepted: a tuple of 2 arrays, one for each axis"
    refuses(ValueError, words, nodes=np.linspace(0, 1, 9))


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
            np.ones((8, 7)),
            ValueError,
            "f: got shape (8, 7); accepted: (..., 9, 9) or (..., 8, 8), one value per node, boundary",
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
    shapes = {"a": "(..., 8, 8) or (..., 9, 9)", "c": "(..., 9, 9) or (..., 8, 8)"}[name]
    accepted = {"a": "accepted: positive, finite numbers", "c": "accepted: finite numbers of at least 0"}[
        name
    ]
    for value, error, words in (
        (
            np.ones((7, 8)),
            ValueError,
            f"{name}: got shape (7, 8); accepted: {shapes}, one value per",
        ),
        (np.ones((0, *shape)), ValueError, f"{name}: got shape (0, {shape[0]}, {shape[1]}); accepted"),
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
    refuses(ValueError, "a: got shape (8, 9); accepted: (..., 8, 8) or (..., 9, 9)", a=np.ones((8, 9)))


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
