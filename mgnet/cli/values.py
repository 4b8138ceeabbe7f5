"""What an option of ``mgnet solve`` says: a number, an expression, a table or a mask from a file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .shell import DAMAGED, CommandError, code_of, reason, refused

if TYPE_CHECKING:
    import numpy as np

    from .expression import Expression
    from .tables import Table

__all__ = ["AXES", "constant", "dimensions", "expression", "function", "is_accepted", "is_array", "mask"]
__all__ += ["reading", "require_output", "values_of", "whole"]

AXES = ("x", "y", "z")


def expression(option: str, text: str, names: Sequence[str] = AXES[:1]) -> Expression:
    """Read an expression in some coordinates; where only one is too much, say a word about ``--dim``."""
    from .expression import ExpressionError, parse
    from .tables import ENDINGS, is_other_file

    with refused(f"{option}: "):
        try:
            return parse(text, names)
        except ExpressionError as error:
            if is_other_file(text):
                accepted = f"an expression, or a file that ends in {', '.join(ENDINGS)} where a table is"
                raise ExpressionError(f"got the file {text!r}; accepted: {accepted}") from None
            if not names or not is_accepted(text, AXES):
                raise
            raise ExpressionError(f"{error} (y with --dim 2 or 3, z with --dim 3)") from None


def is_accepted(text: str, names: Sequence[str]) -> bool:
    """Return whether a text is an expression in some coordinates."""
    from .expression import ExpressionError, parse

    try:
        parse(text, names)
    except ExpressionError:
        return False
    return True


def constant(option: str, text: str | None) -> float | None:
    """Return the value of an option's expression without coordinates, None for None."""
    return None if text is None else float(expression(option, text, names=())())


def whole(option: str, text: str | None) -> int | None:
    """Return the whole number that an option's expression stands for, None for None."""
    number = constant(option, text)
    if number is not None and not number.is_integer():
        raise CommandError(f"{option}: {text!r} is not accepted; accepted is a whole number")
    return None if number is None else int(number)


def function(
    option: str, text: str | None, dim: int, alone: bool = True, masks: Collection[np.ndarray] = ()
) -> Table | Expression | None:
    """Return what the text stands for; `alone` accepts a table of values without their x.

    Of the numbers in a file those count that the mask of their shape says.
    """
    if text is None:
        return None
    from .tables import Table, is_file_name, read, read_array

    if not is_file_name(text):
        return expression(option, text, AXES[:dim])
    _require_array(option, text, dim, "are an expression and a .npy file")
    with reading(option):
        if dim > 1:
            return Table(text, read_array(text, (dim,), masks)[None])
        return read(text, (1, 2) if alone else (2,), masks)


def values_of(function: Table | Expression | None) -> Any:
    """Return what ``mgnet.solve`` takes: values of an array, a number, or a callable."""
    from .expression import Expression

    if not isinstance(function, Expression):
        return None if function is None else function.values
    return float(function(*[0.0] * len(function.names))) if function.is_constant else function


def mask(option: str, text: str, dim: int) -> np.ndarray:
    """Return the array of True and False in a file."""
    from .tables import ENDINGS, is_file_name, read_mask

    if not is_file_name(text):
        endings = ", ".join(ENDINGS) if dim == 1 else ".npy"
        raise CommandError(f"{option}: got {text!r}; accepted: a file of True and False, {endings}")
    _require_array(option, text, dim, "is a .npy file")
    with reading(option):
        return read_mask(text, dim)


def _require_array(option: str, text: str, dim: int, accepted: str) -> None:
    if dim > 1 and not is_array(text):
        raise CommandError(f"{option}: got {text} in {dimensions(dim)}; accepted {accepted}")


def is_array(text: str) -> bool:
    """Return whether a text names a file with an array of NumPy's."""
    return text.lower().endswith(".npy")


def dimensions(dim: int) -> str:
    """Say how many dimensions there are."""
    return f"{dim} dimension{'s' if dim > 1 else ''}"


@contextmanager
def reading(option: str) -> Iterator[None]:
    """Turn what is wrong with an option's file into the end of the command."""
    try:
        with refused(f"{option}: ", DAMAGED):
            yield
    except OSError as error:
        raise CommandError(f"{option}: {reason(error)}") from error


def require_output(option: str, path: str, endings: Collection[str]) -> None:
    """Refuse an option's file, unless one with such an ending could be written there now."""
    from .tables import require_writable

    try:
        with refused(f"{option}: "):
            require_writable(path, endings)
    except OSError as error:  # it may name the file that was tried, which nobody has asked for
        message = f"{option}: {path} cannot be written: {error.strerror}"
        raise CommandError(message, code_of(error)) from error
