"""Expressions: values against Python's own arithmetic and math module; all else is refused, at once."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from mgnet.cli.expression import MAX_DEPTH, MAX_LENGTH, ExpressionError, parse

X = np.array([-1.75, -0.5, 0.0, 0.3, 1.0, 2.5])


# Random expressions. A tree is a tuple of a kind and its operands; it is printed with the fewest brackets
# that Python's precedences allow, and computed with floats.

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda p, q: p < q,
    "<=": lambda p, q: p <= q,
    ">": lambda p, q: p > q,
    ">=": lambda p, q: p >= q,
    "==": lambda p, q: p == q,
    "!=": lambda p, q: p != q,
}
BINARY: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "+": (1, lambda p, q: p + q),
    "-": (1, lambda p, q: p - q),
    "*": (2, lambda p, q: p * q),
    "/": (2, lambda p, q: p / q),
}
STEPS: dict[str, Callable[..., float]] = {
    "abs": abs,
    "floor": lambda p: float(math.floor(p)),
    "sign": lambda p: float((p > 0) - (p < 0)),
    "heaviside": lambda p, at_zero=0.5: at_zero if p == 0 else float(p > 0),
    "min": min,
    "minimum": min,
    "max": max,
    "maximum": max,
    "where": lambda condition, p, q: p if condition else q,
}
SMOOTH: dict[str, Callable[[float], float]] = {
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "atan", "sinh", "cosh", "tanh", "exp")},
}
ARITY = {"heaviside": (1, 2), "min": (2,), "minimum": (2,), "max": (2,), "maximum": (2,), "where": (3,)}
ATOM = 5


def show(tree: tuple) -> tuple[str, int]:
    """Return the text of a tree and how tightly its outermost operation binds."""
    match tree:
        case ("number", text):
            return text, ATOM
        case ("x",):
            return "x", ATOM
        case ("call", name, *arguments):
            return f"{name}({', '.join(show(a)[0] for a in arguments)})", ATOM
        case ("power", base, exponent):
            return f"{bracketed(base, ATOM)}**{exponent}", 4
        case ("sign", sign, operand):
            return f"{sign}{bracketed(operand, 3)}", 3
        case ("binary", operator, left, right):
            level = BINARY[operator][0]
            return f"{bracketed(left, level)} {operator} {bracketed(right, level + 1)}", level
        case ("compare", first, *links):
            return bracketed(first, 1) + "".join(f" {op} {bracketed(t, 1)}" for op, t in links), 0
    raise AssertionError(tree)


def bracketed(tree: tuple, level: int) -> str:
    text, tightness = show(tree)
    return text if tightness >= level else f"({text})"


def compute(tree: tuple, x: float, disturb: Callable[[float], float] = lambda v: v) -> float:
    """Return the value of a tree; `disturb` changes every rounded result a little."""
    match tree:
        case ("number", text):
            return float(text)
        case ("x",):
            return x
        case ("call", name, *arguments):
            function = STEPS.get(name) or SMOOTH[name]
            return disturb(function(*(compute(a, x, disturb) for a in arguments)))
        case ("power", base, exponent):
            return disturb(compute(base, x, disturb) ** exponent)
        case ("sign", sign, operand):
            return compute(operand, x, disturb) * (-1.0 if sign == "-" else 1.0)
        case ("binary", operator, left, right):
            return disturb(BINARY[operator][1](compute(left, x, disturb), compute(right, x, disturb)))
        case ("compare", first, *links):
            values = [compute(first, x, disturb), *(compute(t, x, disturb) for _, t in links)]
            return float(
                all(COMPARE[op](p, q) for (op, _), p, q in zip(links, values, values[1:], strict=False))
            )
    raise AssertionError(tree)


LEAVES = st.one_of(
    st.just(("x",)),
    st.builds(
        lambda k, form: ("number", form.format(k / 8)),
        st.integers(0, 800),
        st.sampled_from(["{}", "{:e}", "{:.3f}"]),
    ),
    st.builds(lambda k: ("number", str(k)), st.integers(0, 9)),
)


def arithmetic(inner: st.SearchStrategy[tuple]) -> st.SearchStrategy[tuple]:
    return st.one_of(
        st.tuples(st.just("sign"), st.sampled_from("+-"), inner),
        st.tuples(st.just("binary"), st.sampled_from(list("+-*/")), inner, inner),
    )


def stepwise(inner: st.SearchStrategy[tuple]) -> st.SearchStrategy[tuple]:
    link = st.tuples(st.sampled_from(list(COMPARE)), inner)
    calls = [
        st.tuples(st.just("call"), st.just(name), *[inner] * count)
        for name in STEPS
        for count in ARITY.get(name, (1,))
    ]
    return st.one_of(
        arithmetic(inner),
        st.one_of(calls),
        st.builds(
            lambda first, links: ("compare", first, *links), inner, st.lists(link, min_size=1, max_size=3)
        ),
    )


def smooth(inner: st.SearchStrategy[tuple]) -> st.SearchStrategy[tuple]:
    return st.one_of(
        arithmetic(inner),
        st.tuples(st.just("call"), st.sampled_from(list(SMOOTH)), inner),
        st.tuples(st.just("power"), inner, st.sampled_from([2, 3, -1])),
    )


@given(st.recursive(LEAVES, stepwise, max_leaves=25))
def test_random_arithmetic_is_python_s_to_the_last_bit(tree: tuple) -> None:
    text = show(tree)[0]
    try:
        expected = [compute(tree, x) for x in X.tolist()]
    except ZeroDivisionError:
        reject()
    assert parse(text)(X).tolist() == expected, text


@given(st.recursive(LEAVES, smooth, max_leaves=12), st.integers(0, 2**32))
def test_random_smooth_expressions_agree_with_math(tree: tuple, seed: int) -> None:
    # The tolerance is measured: how much the value moves when every operation errs by an ulp or so.
    text, noise = show(tree)[0], random.Random(seed)
    for x in X.tolist():
        try:
            value = compute(tree, x)
            trials = [compute(tree, x, lambda v: v * (1 + noise.uniform(-4e-16, 4e-16))) for _ in range(8)]
        except (ZeroDivisionError, OverflowError, ValueError):
            continue
        spread = max(abs(trial - value) for trial in trials)
        if math.isfinite(spread):
            assert abs(float(parse(text)(x)) - value) <= 50 * spread + 1e-14 * abs(value), (text, x)


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("-x**2", lambda x: -(x**2)),
        ("2**-x", lambda x: 2**-x),
        ("2**3**2 + x", lambda x: 512 + x),
        ("(2**3)**2 + x", lambda x: 64 + x),
        ("-2**-2*x", lambda x: -0.25 * x),
        ("1 - 2 - x", lambda x: -1 - x),
        ("8/4/2*x", lambda x: x),
        ("2*x < 1 + 1", lambda x: float(2 * x < 2)),
        ("0 < x < 1", lambda x: float(0 < x < 1)),
        ("0 < 0.5 < x", lambda x: float(x > 0.5)),
        ("(x > 0) + (x < 2)", lambda x: float(x > 0) + float(x < 2)),
        ("-(x > 0)", lambda x: -float(x > 0)),
        ("(x > 0) - (x < 0)", lambda x: float(x > 0) - float(x < 0)),
        ("where(x, 1, 2)", lambda x: 1.0 if x else 2.0),
        ("where(x != 0, sin(x)/x, 1)", lambda x: math.sin(x) / x if x else 1.0),
        ("1/cosh(1e4*x)", lambda x: 0.0 if x else 1.0),  # overflows on the way
        ("step(x)", lambda x: 0.5 if x == 0 else float(x > 0)),
        ("heaviside(x, 1)", lambda x: float(x >= 0)),
        ("pi*x + e", lambda x: math.pi * x + math.e),
        ("\t2 * x\n + 1 ", lambda x: 2 * x + 1),
        ("7", lambda x: 7.0),
        ("1e-3 + .5 + 2. + 1_000", lambda x: 1002.501),
    ],
)
def test_precedence_and_special_cases(text: str, function: Callable[[float], float]) -> None:
    assert parse(text)(X) == pytest.approx([function(x) for x in X.tolist()], rel=1e-15)


@pytest.mark.parametrize("name", ["sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"])
def test_trigonometry(name: str) -> None:
    points = np.linspace(-1, 1, 9)
    assert parse(f"{name}(x)")(points) == pytest.approx([getattr(math, name)(p) for p in points], rel=4e-16)


@pytest.mark.parametrize("name", ["exp", "log", "log10", "sqrt"])
def test_exponentials_and_roots(name: str) -> None:
    points = np.geomspace(1e-3, 1e2, 9)
    assert parse(f"{name}(x)")(points) == pytest.approx([getattr(math, name)(p) for p in points], rel=4e-16)


def test_the_answer_is_a_new_float64_array_of_the_broadcast_shape() -> None:
    for text in ("x", "3", "x < 1"):
        for points in (X, X.astype(np.float32), np.arange(4), np.zeros((2, 3)), 0.5, []):
            answer = parse(text)(points)
            assert answer.dtype == np.float64
            assert answer.shape == np.shape(points)
            assert not np.shares_memory(answer, points)
            answer[...] = 0
    assert parse("x + y*z", ("x", "y", "z"))(X[:, None], X, 2.0).shape == (6, 6)
    assert parse("y", ("x", "y"))(1.0, [2.0, 3.0]).tolist() == [2.0, 3.0]


def test_what_an_expression_knows_of_itself() -> None:
    f = parse(" 2*x ")
    assert repr(f) == "Expression(' 2*x ')"
    assert not f.is_constant
    assert parse("2*pi").is_constant
    assert float(parse("pi/2", names=())()) == math.pi / 2
    with pytest.raises(TypeError, match="takes 1 coordinates, not 2"):
        f(1.0, 2.0)


# What is refused


def refusal(text: str, names: tuple[str, ...] = ("x",)) -> str:
    with pytest.raises(ExpressionError) as caught:
        parse(text, names)(*[X] * len(names))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize(
    ("text", "piece", "column"),
    [
        ("y", "'y'", 1),
        ("1 + z*2", "'z'", 5),
        ("sin", "'sin'", 1),
        ("pi(x)", "'pi(x)'", 1),
        ("2(x)", "'2(x)'", 1),
        ("2x", "'2x'", 1),
        ("2 x", "'x'", 3),
        ("x.real", "'x.real'", 1),
        ("1 + x.__class__", "'x.__class__'", 5),
        ("x[0]", "'['", 2),
        ("[x]", "'['", 1),
        ("{x}", "'{'", 1),
        ("lambda: x", "':'", 7),
        ("(x := 1)", "':'", 4),
        ("'x'", '"\'"', 1),
        ("x # y", "'#'", 3),
        ("x^2", "'^'", 2),
        ("x % 2", "'%'", 3),
        ("x // 2", "'x // 2'", 1),
        ("x and 1", "'x and 1'", 1),
        ("not x", "'not x'", 1),
        ("x if x else 1", "'x if x else 1'", 1),
        ("1if x else 2", "'1if x else 2'", 1),
        ("x is 1", "'x is 1'", 1),
        ("x in x", "'x in x'", 1),
        ("(x, 1)", "'(x, 1)'", 1),
        ("()", "'()'", 1),
        ("sin(*x)", "'*x'", 5),
        ("sin(x=1)", "'sin(x=1)'", 1),
        ("sin(x, y=1)", "'sin(x, y=1)'", 1),
        ("sin(x)(x)", "'sin(x)(x)'", 1),
        ("sin()", "'sin()'", 1),
        ("sin(x, x)", "'sin(x, x)'", 1),
        ("min(x)", "'min(x)'", 1),
        ("where(x, 1)", "'where(x, 1)'", 1),
        ("print(x)", "'print(x)'", 1),
        ("eval(x)", "'eval(x)'", 1),
        ("__import__(x)", "'__import__(x)'", 1),
        ("1j", "'1j'", 1),
        ("True", "'True'", 1),
        ("None", "'None'", 1),
        ("...", "'...'", 1),
        ("yield x", "'yield x'", 1),
        ("x = 1", "'= 1'", 3),
        ("  x +", "'+'", 5),
        ("1e999", "'1e999'", 1),
        ("9" * 400, f"'{'9' * 30}...{'9' * 7}'", 1),
        ("x\u00b2", "'\\xb2'", 2),
        ("\uff58", "'\\uff58'", 1),  # Python would read this letter as x
        ("x\0", "'\\x00'", 2),
    ],
)
def test_a_refusal_names_the_piece_its_column_and_what_is_accepted(
    text: str, piece: str, column: int
) -> None:
    message = refusal(text)
    if text != "  x +":  # there Python may point at the sign or behind it
        assert message.startswith(f"{piece}")
        assert f"at column {column} of " in message
    for word in ("numbers", "x, pi, e", "**", "comparisons", "sin", "where"):
        assert word in message.partition("accepted are")[2]


def test_the_variables_are_those_of_the_caller() -> None:
    assert "numbers, pi, e" in refusal("x", ())
    assert "x, y, z, pi" in refusal("t", ("x", "y", "z"))
    assert parse("e + y", ("e", "y"))(1.0, 2.0) == 3.0  # a variable hides a constant


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_empty(text: str) -> None:
    assert "is empty" in refusal(text)


@pytest.mark.parametrize("text", [None, 3, b"x"])
def test_not_a_text(text: object) -> None:
    with pytest.raises(ExpressionError, match="is a text, not"):
        parse(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9**9**9**9", "'9**9**9**9' is inf: overflow"),
        ("9**9**9**9 + x", "is inf at x = -1.75: overflow"),
        ("1/0", "is inf: overflow or a division by zero"),
        ("1/x", "'1/x' is inf at x = 0: overflow or a division by zero"),
        ("log(x)", "'log(x)' is nan at x = -1.75: undefined"),
        ("(-8)**(1/3)", "is nan: undefined"),
        ("exp(1000*x)", "is inf at x = 1:"),
    ],
)
def test_values_that_are_not_finite(text: str, words: str) -> None:
    assert words in refusal(text)


def test_a_constant_overflow_is_found_at_once() -> None:
    with pytest.raises(ExpressionError, match="overflow"):
        parse("9**9**9**9")


MILLION = 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        "(" * MILLION,
        "(" * MILLION + "x" + ")" * MILLION,
        "-" * MILLION + "x",
        "x" + "+x" * MILLION,
        "2**" * MILLION + "x",
        "sin(" * MILLION + "x" + ")" * MILLION,
        "9" * MILLION,
        "-" * (MAX_LENGTH - 1) + "x",
        "2**" * 600 + "x",
        "(" * (MAX_DEPTH + 1) + "x" + ")" * (MAX_DEPTH + 1),
        "sin(" * 300 + "x" + ")" * 300,
        "(" * MAX_DEPTH + "x y" + ")" * MAX_DEPTH,
        "(" * MAX_DEPTH,
    ],
    ids=lambda text: f"{text[:5]} {len(text)}",
)
def test_depth_and_length_end_in_a_clear_error(text: str) -> None:
    refusal(text)


def test_what_is_within_the_limits_is_computed() -> None:
    depth = MAX_DEPTH - 1
    assert parse("(" * depth + "x" + ")" * depth)(2.0) == 2.0
    assert parse("-" * depth + "x")(2.0) == -2.0
    assert parse("+".join(["x"] * (MAX_LENGTH // 2)))(2.0) == MAX_LENGTH  # long is not deep
    assert parse("*".join(["x"] * (MAX_LENGTH // 2)))(1.0) == 1.0


TOKENS = (
    "x y pi e sin min where step log 1 2.5 1e9 .5 0 1e400 + - * / ** // ( ) , < <= == ! = . and not if else"
)
GARBAGE = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="x12.e+-*/()<>=,! _\n", max_size=60),
    st.lists(st.sampled_from(TOKENS.split()), max_size=40).map(" ".join),
    st.lists(st.sampled_from(TOKENS.split()), max_size=40).map("".join),
)


@settings(max_examples=500)
@given(GARBAGE)
def test_garbage_is_refused_or_computed_and_nothing_else(text: str) -> None:
    try:
        values = parse(text)(X)
    except ExpressionError as error:
        assert "\n" not in str(error)
    else:
        assert values.shape == X.shape
        assert np.isfinite(values).all()
