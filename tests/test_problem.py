"""What a problem accepts and refuses: each refusal names the argument, the value, what is accepted."""

from __future__ import annotations

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
        refusal(ValueError, "f", "got shape (4,)", f=np.ones(4)),
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
        refusal(ValueError, "a", "got shape (5,)", a=np.ones(5)),
        refusal(ValueError, "a", "got shape (2, 4)", a=np.ones((2, 4))),
        refusal(TypeError, "a", "got dtype complex128", a=np.ones(4) * 1j),
        refusal(TypeError, "a", "got dtype object", a=[1, 2, None, 3]),
        refusal(ValueError, "c", "got -1", c=-1),
        refusal(ValueError, "c", "got nan", c=NAN),
        refusal(ValueError, "c", "got inf", c=INF),
        refusal(ValueError, "c", "got -2.0 in node 1", c=[0.0, -2.0, 0.0, NAN, -1.0]),
        refusal(ValueError, "c", "got nan in node 4", c=[0.0, 0.0, 0.0, 0.0, NAN]),
        refusal(ValueError, "c", "got shape (4,)", c=np.ones(4)),
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
        refusal(TypeError, "right", "got <class 'mgnet.poisson.problem.Neumann'>", right=Neumann),
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
        (lambda: Robin(lambda x: x), TypeError, "Robin alpha: got <function"),
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
