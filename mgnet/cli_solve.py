"""``mgnet solve``: strings to one call of ``mgnet.solve``, its answer to a table, JSON and files."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mgnet.shell import DAMAGED, DONE, NOT_CONVERGED, USAGE, CommandError, reason, refused, report, say, table

if TYPE_CHECKING:
    import numpy as np

    from mgnet.expression import Expression
    from mgnet.tables import Table

__all__ = ["declare"]

OUT_ENDINGS = (".csv", ".npy")
PLOT_ENDINGS = (".png", ".pdf", ".svg")

EPILOG = """\
EXPR is arithmetic in x: numbers, pi, e, + - * / **, comparisons (1 where true,
else 0; 0.2 < x < 0.8 too), sin cos tan asin acos atan sinh cosh tanh exp log
log10 sqrt abs sign floor, min(p, q) or minimum, max(p, q) or maximum, step(x)
or heaviside(x), where(condition, p, q).

FILE ends in .csv, .txt or .npy. --rhs: two columns x, f, one row per node, and
the rows are the grid; an .npy array may hold f alone. --a: two columns, middle
of the cell and a, one row per cell, or a alone. --c: two columns x, c, one row
per node, or c alone.

COND is dirichlet:G (u = G), neumann:G (a du/dnu = G, nu pointing outwards) or
robin:ALPHA,G (a du/dnu + ALPHA u = G). Numbers may be constant expressions
such as pi/2.

exit codes: 0 done, 2 usage, 3 not converged (then no file is written),
4 damaged file, 5 resources, 130 and 143 interrupted

example: mgnet solve --rhs "pi**2*sin(pi*x)" --n 4096 --exact "sin(pi*x)"
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet solve``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of this command alone.
    """

    def option(name: str, metavar: str | tuple[str, ...], text: str, **more: Any) -> None:
        parser.add_argument(name, metavar=metavar, help=text, type=_unshielded, **more)

    def flag(name: str, text: str) -> None:
        parser.add_argument(name, action="store_true", help=text)

    option("--rhs", "EXPR|FILE", "right-hand side f", required=True)
    option("--n", "N", "number of cells; not needed with a file that says it")
    option("--domain", ("A", "B"), "ends of the interval (default: 0 1)", nargs=2)
    option("--a", "EXPR|FILE", "coefficient a > 0 (default: 1)")
    option("--c", "EXPR|FILE", "coefficient c >= 0 (default: 0)")
    option("--left", "COND", "condition at the left end (default: dirichlet:0)")
    option("--right", "COND", "condition at the right end (default: dirichlet:0)")
    flag("--periodic", "no ends: what leaves on the right enters on the left")
    option("--load", "KIND", "exact (f integrated against the hats) or nodal (lumped)")
    option("--method", "NAME", "auto (default), exact, vcycle, wcycle, fcycle, fmg, pcg or direct")
    option("--smoother", "NAME", "jacobi, red-black or chebyshev")
    option("--sweeps", ("NU1", "NU2"), "sweeps before and after the coarse correction", nargs=2)
    option("--levels", "K", "number of levels")
    option("--tol", "T", "tolerance for the estimated error")
    option("--maxiter", "K", "most iterations")
    option("--dtype", "TYPE", "float64 (default) or float32", choices=("float32", "float64"))
    option("--device", "NAME", "cpu or cuda")
    flag("--refine", "refine a float32 solution with float64 residuals")
    option("--exact", "EXPR", "the exact solution, to report the largest nodal error")
    option("--plot", "FILE", f"draw u ({', '.join(PLOT_ENDINGS)})")
    option("--out", "FILE", f"write x and u ({', '.join(OUT_ENDINGS)})")
    flag("--json", "print one JSON object and nothing else")
    parser.set_defaults(run=_solve)
    parser.epilog = EPILOG


def _unshielded(text: str) -> str:
    return text[1:] if text.startswith(" -") else text  # see cli._shielded


def _solve(arguments: argparse.Namespace) -> int:
    _require_writable(arguments)
    f, keywords = _problem(arguments)
    exact = _expression("--exact", arguments.exact) if arguments.exact else None

    import mgnet

    solve = mgnet.solve  # this imports torch, which is not to be timed
    with refused(USAGE):
        began = time.perf_counter()
        solution = solve(f, **keywords, throw=False)
        seconds = time.perf_counter() - began
    n = keywords["n"] if "n" in keywords else len(keywords["nodes"]) - 1
    figures = _figures(solution, n, seconds, exact)
    converged = figures["status"] == "CONVERGED"
    files = [path for path in (arguments.out, arguments.plot) if path]
    if converged:
        _write_files(solution, arguments)
    if arguments.json:
        say(json.dumps(figures, allow_nan=False))
    else:
        say(_table(figures, solution, "nodes" not in keywords, files if converged else []))
    if converged:
        return DONE
    unwritten = f" ({' and '.join(files)} not written)" if files else ""
    return report(f"not converged: {solution.message}{unwritten}", NOT_CONVERGED)


# Strings to arguments


def _problem(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Return f and the keywords of ``mgnet.solve``."""
    rhs = _function("--rhs", arguments.rhs, alone=arguments.rhs.lower().endswith(".npy"))
    a, c = _function("--a", arguments.a), _function("--c", arguments.c)
    given: dict[str, Any] = {
        **_grid(arguments, rhs, a, c),
        "a": _values(a),
        "c": _values(c),
        "left": _condition("--left", arguments.left),
        "right": _condition("--right", arguments.right),
        "periodic": arguments.periodic or None,
        "load": arguments.load,
        "method": arguments.method,
        "smoother": arguments.smoother,
        "sweeps": arguments.sweeps and tuple(_whole("--sweeps", text) for text in arguments.sweeps),
        "levels": _whole("--levels", arguments.levels),
        "tol": _constant("--tol", arguments.tol),
        "maxiter": _whole("--maxiter", arguments.maxiter),
        "dtype": _dtype(arguments.dtype),
        "device": arguments.device,
        "refine": arguments.refine or None,
    }
    # What was not given is left to the library's own defaults.
    return _values(rhs), {name: value for name, value in given.items() if value is not None}


def _function(option: str, text: str | None, alone: bool = True) -> Table | Expression | None:
    """Return what the text stands for; `alone` accepts a table of values without their x."""
    if text is None:
        return None
    from mgnet.tables import is_file_name, read

    if not is_file_name(text):
        return _expression(option, text)
    try:
        with refused(DAMAGED, f"{option}: "):
            return read(text, columns=(1, 2) if alone else (2,))
    except OSError as error:
        raise CommandError(USAGE, f"{option}: {reason(error)}") from error


def _expression(option: str, text: str, names: Sequence[str] = ("x",)) -> Expression:
    from mgnet.expression import parse

    with refused(USAGE, f"{option}: "):
        return parse(text, names)


def _values(function: Table | Expression | None) -> Any:
    """Return what ``mgnet.solve`` takes: nodal values, a number, or a callable."""
    from mgnet.expression import Expression

    if not isinstance(function, Expression):
        return None if function is None else function.values
    return float(function(0.0)) if function.is_constant else function


def _constant(option: str, text: str | None) -> float | None:
    return None if text is None else float(_expression(option, text, names=())())


def _whole(option: str, text: str | None) -> int | None:
    number = _constant(option, text)
    if number is not None and not number.is_integer():
        raise CommandError(USAGE, f"{option}: {text!r} is not accepted; accepted is a whole number")
    return None if number is None else int(number)


def _dtype(name: str | None) -> Any:
    if name is None:
        return None
    import torch

    return getattr(torch, name)


def _condition(option: str, text: str | None) -> Any:
    if text is None:
        return None
    import mgnet

    kinds: dict[str, tuple[Any, int]] = {
        "dirichlet": (mgnet.Dirichlet, 1),
        "neumann": (mgnet.Neumann, 1),
        "robin": (mgnet.Robin, 2),
    }
    kind, _, rest = text.partition(":")
    condition, count = kinds.get(kind.strip().lower(), (None, 0))
    parts = _outer_parts(rest)
    if len(parts) != count or not all(part.strip() for part in parts):
        raise CommandError(
            USAGE, f"{option}: {text!r} is not accepted; accepted are dirichlet:G, neumann:G, robin:ALPHA,G"
        )
    with refused(USAGE):
        return condition(*(_constant(option, part) for part in parts))


def _outer_parts(text: str) -> list[str]:
    """Split at the commas outside brackets: 'max(1, 2), 3' has two parts."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


# The grid, on which the files and the arguments must agree


def _grid(arguments: argparse.Namespace, *functions: Table | Expression | None) -> dict[str, Any]:
    """Return ``nodes``, or ``n`` and ``domain``."""
    import numpy as np

    from mgnet.tables import Table, is_uniform

    rhs, a, c = (function if isinstance(function, Table) else None for function in functions)
    n = _cells(_whole("--n", arguments.n), rhs, a, c)
    ends = arguments.domain and tuple(_constant("--domain", text) for text in arguments.domain)
    with refused(DAMAGED):
        nodes = next((table.nodes() for table in (rhs, c) if table and table.x is not None), None)
    domain = (ends or (0.0, 1.0)) if nodes is None else _domain(ends, nodes)
    if rhs or a or c:  # else n is only a number yet, perhaps a huge one
        x = np.linspace(domain[0], domain[1], n + 1) if nodes is None else nodes
        with refused(USAGE if nodes is None else DAMAGED):
            for table in filter(None, (rhs, c)):
                table.require_nodes(x)
            if a:
                a.require_cells(x)
    return {"n": n, "domain": domain} if nodes is None or is_uniform(nodes) else {"nodes": nodes}


def _cells(n: int | None, rhs: Table | None, a: Table | None, c: Table | None) -> int:
    """Return the number of cells that the files and --n agree on."""
    tables = [("--rhs", rhs, 1), ("--a", a, 0), ("--c", c, 1)]
    told = {f"{option} {table.path}": table.values.size - ends for option, table, ends in tables if table}
    if not told and n is None:
        raise CommandError(USAGE, "--n is missing; accepted is a number of cells, or a file that says it")
    counts = {**told, **({} if n is None else {"--n": n})}
    if len(set(counts.values())) > 1:
        differ = ", ".join(f"{count} by {source}" for source, count in counts.items())
        code = DAMAGED if len(set(told.values())) > 1 else USAGE
        raise CommandError(code, f"the numbers of cells differ: {differ}")
    return next(iter(counts.values()))


def _domain(given: tuple[float, float] | None, nodes: np.ndarray) -> tuple[float, float]:
    ends = float(nodes[0]), float(nodes[-1])
    slack = 1e-9 * (ends[1] - ends[0])
    if given and not all(abs(p - q) <= slack for p, q in zip(given, ends, strict=True)):
        raise CommandError(
            USAGE,
            f"--domain {given[0]:g} {given[1]:g}: the nodes in the file go from {ends[0]:g} to {ends[1]:g}",
        )
    return ends


# The answer


def _figures(solution: Any, n: int, seconds: float, exact: Expression | None) -> dict[str, Any]:
    """Return what --json prints."""
    figures = {
        "status": solution.status.name,
        "n": n,
        "dim": 1,
        "dtype": str(solution.dtype).removeprefix("torch."),
        "device": str(solution.device),
        "method": str(solution.method),
        "iterations": int(solution.iterations),
        "residual": _finite(solution.residuals[-1] if len(solution.residuals) else None),
        "error_estimate": _finite(solution.error_estimate),
        "seconds": seconds,
    }
    return figures if exact is None else {**figures, "max_error": _max_error(solution, exact)}


def _finite(number: Any) -> float | None:
    """Return the number, or None where JSON has no word for it."""
    return float(number) if number is not None and math.isfinite(number) else None


def _max_error(solution: Any, exact: Expression) -> float | None:
    import numpy as np

    with refused(USAGE):
        return _finite(np.max(np.abs(np.asarray(solution.u, dtype=np.float64) - exact(solution.x))))


def _table(figures: dict[str, Any], solution: Any, uniform: bool, files: Sequence[str]) -> str:
    kind = "uniform" if uniform else "given nodes"
    rows = {
        "grid": f"{kind} on [{solution.x[0]:g}, {solution.x[-1]:g}]",
        **{name: value for name, value in figures.items() if name != "dim"},
        "u": f"{solution.u.min():.9g} to {solution.u.max():.9g}",
    }
    if files:
        rows["written"] = ", ".join(files)
    return table(rows)


# Files


def _require_writable(arguments: argparse.Namespace) -> None:
    """Find out before the work whether its result can be written."""
    inputs = [text for text in (arguments.rhs, arguments.a, arguments.c) if text and os.path.isfile(text)]
    for option, path, endings in (
        ("--out", arguments.out, OUT_ENDINGS),
        ("--plot", arguments.plot, PLOT_ENDINGS),
    ):
        if path is None:
            continue
        from mgnet.tables import require_writable

        try:
            require_writable(path, endings)
        except OSError as error:
            raise CommandError(USAGE, f"{option}: {path} cannot be written: {error.strerror}") from error
        except ValueError as error:
            raise CommandError(USAGE, f"{option}: {error}") from error
        if os.path.exists(path) and any(os.path.samefile(path, other) for other in inputs):
            raise CommandError(USAGE, f"{option}: {path} is an input; accepted is another file")


def _write_files(solution: Any, arguments: argparse.Namespace) -> None:
    from mgnet.files import replacing
    from mgnet.tables import write

    if arguments.out:
        write(arguments.out, solution.x, solution.u)
    if arguments.plot:
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")  # not pyplot: no window, no backend to choose
        solution.plot(ax=figure.subplots())
        with replacing(arguments.plot) as file:
            figure.savefig(file, format=os.path.splitext(arguments.plot)[1][1:].lower())
