"""Arithmetic expressions that a user types, computed without ever running them as Python.

The text becomes a syntax tree, every node of the tree is looked up in a short list, and what is found there
becomes a postfix programme of float64 NumPy operations. Neither step recurses, so depth costs nothing.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Expression", "ExpressionError", "parse"]

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 100  # brackets, signs and powers inside one another

_CONSTANTS = {"pi": math.pi, "e": math.e}


def _heaviside(x: np.ndarray, at_zero: float | np.ndarray = 0.5) -> np.ndarray:
    return np.heaviside(x, at_zero)


def _where(condition: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    return np.where(condition != 0, yes, no)


# Each function with the fewest and the most arguments it takes.
FUNCTIONS: dict[str, tuple[Callable[..., np.ndarray], int, int]] = {
    **{name: (getattr(np, name), 1, 1) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: (getattr(np, "arc" + name[1:]), 1, 1) for name in ("asin", "acos", "atan")},
    **{name: (getattr(np, name), 1, 1) for name in ("exp", "log", "log10", "sqrt", "abs", "sign", "floor")},
    **dict.fromkeys(("min", "minimum"), (np.minimum, 2, 2)),
    **dict.fromkeys(("max", "maximum"), (np.maximum, 2, 2)),
    **dict.fromkeys(("heaviside", "step"), (_heaviside, 1, 2)),
    "where": (_where, 3, 3),
}
# Python's operators rather than NumPy's functions: x**2 is ten times as fast as np.power(x, 2).
_OPERATORS: dict[type[ast.AST], Callable[..., np.ndarray]] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv},
    **{ast.Pow: operator.pow, ast.UAdd: operator.pos, ast.USub: operator.neg},
    **{ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge},
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne},
}
_FOREIGN = re.compile(r"[^\w.+\-*/(),<>=! ]", re.ASCII)
_HINTS = {"^": " (a power is written **)"}


class ExpressionError(ValueError):
    """A text that is no accepted expression, or one whose value is not a finite number."""


class _Operation(NamedTuple):
    """A function that takes the top ``arity`` values of the stack and leaves one."""

    function: Callable[..., np.ndarray]
    arity: int


_Item = _Operation | str | np.float64  # an operation, a variable's name, a number


@dataclass(frozen=True, repr=False)
class Expression:
    """A function of its variables, made by :func:`parse`; the program is in postfix order."""

    text: str
    names: tuple[str, ...]
    program: tuple[_Item, ...]

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    @property
    def is_constant(self) -> bool:
        """Whether no variable occurs."""
        return not any(isinstance(item, str) for item in self.program)

    def __call__(self, *coordinates: ArrayLike) -> np.ndarray:
        """Evaluate at points: one array per variable, broadcast against one another, also of a constant."""
        if len(coordinates) != len(self.names):
            raise TypeError(f"{self!r} takes {len(self.names)} coordinates, not {len(coordinates)}")
        arrays = [np.asarray(c, dtype=np.float64) for c in coordinates]
        # What overflows on the way may still end well (1/cosh(1e4*x)): only the result is judged.
        with np.errstate(all="ignore"):
            value = self._run(dict(zip(self.names, arrays, strict=True)))
        result = np.array(np.broadcast_to(value, np.broadcast_shapes(*(a.shape for a in arrays))))
        self._require_finite(result, arrays)
        return result

    def _run(self, variables: dict[str, np.ndarray]) -> np.ndarray | np.float64:
        stack: list[np.ndarray | np.float64] = []
        for item in self.program:
            if isinstance(item, _Operation):
                arguments = stack[-item.arity :]
                del stack[-item.arity :]
                stack.append(item.function(*arguments))
            else:
                stack.append(variables[item] if isinstance(item, str) else item)
        return stack.pop()

    def _require_finite(self, result: np.ndarray, arrays: Sequence[np.ndarray]) -> None:
        finite = np.isfinite(result)
        if finite.all():
            return
        first = np.unravel_index(np.argmin(finite), result.shape)
        where = ", ".join(
            f"{name} = {np.broadcast_to(array, result.shape)[first]:g}"
            for name, array in zip(self.names, arrays, strict=True)
        )
        reason = "undefined" if np.isnan(result[first]) else "overflow or a division by zero"
        place = f" at {where}" if where and not self.is_constant else ""
        said = f"{reason} in float64; accepted: finite values"
        raise ExpressionError(f"{_short(self.text)} is {result[first]}{place}: {said}")


def parse(text: str, names: Sequence[str] = ("x",)) -> Expression:
    """Read an arithmetic expression.

    It has numbers, the variables, ``pi``, ``e``, ``+ - * / **``, comparisons (1 where true, else 0, also
    chained), brackets, and the functions of ``FUNCTIONS``. Of anything else an :class:`ExpressionError` names
    the piece, its column (from 1) and what is accepted.

    >>> f = parse("where(0.25 < x < 0.75, 2*x, 0)")
    >>> f
    Expression('where(0.25 < x < 0.75, 2*x, 0)')
    >>> f([0.0, 0.5, 1.0])
    array([0., 1., 0.])
    >>> float(parse("pi/2", names=())())
    1.5707963267948966
    """
    expression = Expression(text, tuple(names), _Source(text, tuple(names)).program())
    if expression.is_constant:
        # Computed once now, so that 9**9**9**9 is refused before anything is built on it.
        Expression(text, (), expression.program)()
    return expression


class _Source:
    """A text on its way to a programme; knows how to refuse a piece of itself."""

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        if not isinstance(text, str):
            raise ExpressionError(f"an expression is a text, not {type(text).__name__}")
        self.names = names
        self.text = re.sub(r"\s", " ", text)
        # Python would refuse blanks in front, and they move columns.
        self.indent = len(self.text) - len(self.text.lstrip(" "))

    def program(self) -> tuple[_Item, ...]:
        self._check_characters()
        items: list[_Item] = []
        pending: list[tuple[ast.expr, int]] = [(self._tree(), 0)]
        while pending:
            node, depth = pending.pop()
            if depth > MAX_DEPTH:
                self._refuse_depth(node.col_offset + self.indent)
            item, operands = self._translate(node)
            items.append(item)
            pending.extend((operand, depth + (operand is not _spine(node))) for operand in operands)
        return tuple(reversed(items))  # operator first, last operand next: postfix, seen from the end

    def _check_characters(self) -> None:
        if not self.text.strip():
            raise ExpressionError(f"the expression is empty; {self._accepted()}")
        if len(self.text) > MAX_LENGTH:
            size = f"{len(self.text)} characters; at most {MAX_LENGTH} are accepted"
            raise ExpressionError(f"the expression {_short(self.text)} has {size}")
        if found := _FOREIGN.search(self.text):
            self._refuse(f"{found[0]!a}{_HINTS.get(found[0], '')}", found.start())
        depth = 0
        for column, character in enumerate(self.text):
            depth += (character == "(") - (character == ")")
            if depth > MAX_DEPTH:
                self._refuse_depth(column)

    def _tree(self) -> ast.expr:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python warns of '1if' and the like; the walk refuses them
                return ast.parse(self.text.strip(), mode="eval").body
        except SyntaxError as error:
            column = min((error.offset or 1) - 1 + self.indent, len(self.text))
            rest = _short(self.text[column:]) if column < len(self.text) else "the end"
            self._refuse(rest, column, f" ({error.msg})")
        except (RecursionError, MemoryError, ValueError, OverflowError):
            self._refuse_depth(0)

    def _translate(self, node: ast.expr) -> tuple[_Item, Sequence[ast.expr]]:
        """Return what the node stands for and the operands it waits for."""
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._number(value, node), ()
            case ast.Name(id=name) if name in self.names:
                return name, ()
            case ast.Name(id=name) if name in _CONSTANTS:
                return np.float64(_CONSTANTS[name]), ()
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return _Operation(_OPERATORS[type(op)], 1), (operand,)
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATORS:
                return _Operation(_OPERATORS[type(operation)], 2), (left, right)
            case ast.Compare(left, ops, others) if all(type(op) in _OPERATORS for op in ops):
                function = _chain([_OPERATORS[type(op)] for op in ops])
                return _Operation(function, 1 + len(others)), (left, *others)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
                return _Operation(self._function(name, len(arguments), node), len(arguments)), arguments
        self._refuse_node(node)

    def _number(self, value: float, node: ast.expr) -> np.float64:
        # float64 from here on: a power of Python's whole numbers could take all memory.
        try:
            number = np.float64(value)
        except OverflowError:
            number = np.float64(math.inf)
        if math.isinf(number):
            self._refuse_node(node, " (too large for float64)")
        return number

    def _function(self, name: str, count: int, node: ast.expr) -> Callable[..., np.ndarray]:
        function, fewest, most = FUNCTIONS[name]
        if not fewest <= count <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} or {most}"
            wanted += " arguments" if most > 1 else " argument"
            self._refuse_node(node, f" ({name} takes {wanted}, not {count})")
        return function

    def _refuse_node(self, node: ast.expr, reason: str = "") -> NoReturn:
        start, end = (self.indent + (offset or 0) for offset in (node.col_offset, node.end_col_offset))
        self._refuse(_short(self.text[start:end]), start, reason)

    def _refuse(self, piece: str, column: int, reason: str = "") -> NoReturn:
        place = f"at column {column + 1} of {_short(self.text)}"
        raise ExpressionError(f"{piece} {place} is not accepted{reason}; {self._accepted()}")

    def _refuse_depth(self, column: int) -> NoReturn:
        place = f"at column {column + 1}; at most {MAX_DEPTH} levels are accepted"
        raise ExpressionError(f"the expression {_short(self.text)} is nested too deeply {place}")

    def _accepted(self) -> str:
        values = ", ".join(("numbers", *self.names, *_CONSTANTS))
        return f"accepted are {values}, + - * / **, comparisons, brackets and {', '.join(FUNCTIONS)}"


def _spine(node: ast.expr) -> ast.expr | None:
    """Return the operand that continues a sum or a product to the left: a long sum is not deep."""
    return node.left if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Pow) else None


def _chain(comparisons: Sequence[Callable[..., np.ndarray]]) -> Callable[..., np.ndarray]:
    """Return the function of a chained comparison: 1.0 where every link holds, else 0.0."""

    def holds(*values: np.ndarray) -> np.ndarray:
        links = (compare(a, b) for compare, a, b in zip(comparisons, values, values[1:], strict=False))
        # Numbers at once: NumPy's booleans would add as 'or' and refuse to be subtracted.
        return np.asarray(reduce(np.logical_and, links), dtype=np.float64)

    return holds


def _short(text: str, length: int = 40) -> str:
    """Return the text in quotes, on one line, the middle left out if it is long."""
    return ascii(text if len(text) <= length else f"{text[: length - 10]}...{text[-7:]}")
