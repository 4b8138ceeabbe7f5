"""``mgnet solve``: strings to one call of ``mgnet.solve``, its answer to a table, JSON and files."""

from __future__ import annotations

import argparse
import inspect
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import several
from .problem import SIDES, Posed, inputs, problem
from .shell import DONE, NOT_CONVERGED, CommandError, refused, report, say, table
from .values import AXES, constant, expression, require_output, whole

if TYPE_CHECKING:
    import numpy as np

    from ..core.processes import Processes
    from .expression import Expression

__all__ = ["declare"]

OUT_ENDINGS = (".csv", ".npy", ".npz", ".vtr")
PLOT_ENDINGS = (".png", ".pdf", ".svg")
MOST_NODES = 2**20  # at which the exact solution is evaluated at one time

EPILOG = """\
EXPR is arithmetic in x (with --dim 2 also y, with --dim 3 also z): numbers, pi,
e, + - * / **, comparisons (1 where true, else 0; 0.2 < x < 0.8 too), sin cos
tan asin acos atan sinh cosh tanh exp log log10 sqrt abs sign floor, min(p, q)
or minimum, max(p, q) or maximum, step(x) or heaviside(x), where(condition, p,
q).

FILE ends in .csv, .txt or .npy. --rhs: two columns x, f, one row per node, and
the rows are the grid; an .npy array may hold f alone. --a: two columns, middle
of the cell and a, one row per cell, or a alone. --c: two columns x, c, one row
per node, or c alone.
In two and three dimensions it is an .npy array indexed [x, y, z], of one value
per node, boundary included (--rhs, --c), or per cell (--a); its shape says --n.
--points: columns x, q, then x, y, q or x, y, z, q: sources of strength q, one a
row, anywhere in the domain.
What has no x may be per cell or per node where --n or another file says --n.
--nodes-x: one column; --n and --domain are those of axes without such a file.
--cells, --fixed, --flux: masks, of True and False or 1 and 0, one per cell
(--cells) or per node, an .npy array or on an interval a column. VALUES: one for
each node, or for each that is held, in the order of the array.
--out: columns x, u; then x, y, u or x, y, z, u, and u alone in an .npy array;
an .npz archive has x, y, z and u, and .vtr is for ParaView (needs pyevtk).

COND is dirichlet:G (u = G), neumann:G (a du/dnu = G, nu pointing outwards) or
robin:ALPHA,G (a du/dnu + ALPHA u = G). Numbers may be constant expressions
such as pi/2; in two and three dimensions ALPHA and G may vary with x, y, z.

several processes: torchrun --nproc-per-node N -m mgnet solve ... Each has a slab
of the first axis; the first reports, and writes --out and --plot.

exit codes: 0 done, 2 usage, 3 not converged (then no file is written),
4 damaged file, 5 resources, 129, 130, 131 and 143 ended by a signal

examples:
  mgnet solve --rhs "pi**2*sin(pi*x)" --n 4096 --exact "sin(pi*x)"
  mgnet solve --dim 2 --rhs 1 --n 256 --top "dirichlet:x*(1 - x)" --plot u.png
  mgnet solve --rhs 0 --cells lake.npy --fixed wells.npy,-2 --right dirichlet:1
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mgnet solve`` to the parser of this command alone."""

    def option(name: str, metavar: str | tuple[str, ...], text: str, **more: Any) -> None:
        parser.add_argument(name, metavar=metavar, help=text, **more)

    def flag(name: str, text: str) -> None:
        parser.add_argument(name, action="store_true", help=text)

    option("--rhs", "EXPR|FILE", "right-hand side f", required=True)
    option("--dim", "D", "1, 2 or 3 (default: what --n or a file implies, else 1)", choices=("1", "2", "3"))
    text = "number of cells, or one per axis; not needed with a file that says it"
    # To torchrun, which looks at all that it is given, --n is the beginning of an option of its own.
    parser.add_argument("--n", "--num-cells", metavar="N", help=text, nargs="+")
    option("--domain", ("A", "B"), "two ends, or two per axis (default: 0 1)", nargs="+")
    for axis in AXES:
        option(f"--nodes-{axis}", "FILE", f"nodes along {axis}, increasing, instead of --n and --domain")
    option("--cells", "FILE", "mask of the cells that are the domain (default: all)")
    text = "nodes that are held, and their values, a number, EXPR or FILE; may be repeated"
    option("--fixed", "MASK,VALUES", text, action="append", default=[])
    option("--a", "EXPR|FILE", "coefficient a > 0 (default: 1)")
    for axis in AXES:
        option(
            f"--a-{axis}", "EXPR|FILE", f"that along {axis} of a diagonal tensor, instead of --a (default: 1)"
        )
    option("--c", "EXPR|FILE", "coefficient c >= 0 (default: 0)")
    option("--points", "FILE", "sources at points, added to the right-hand side")
    for i, side in enumerate(SIDES):
        place = f"where {AXES[i // 2]} is {('least', 'greatest')[i % 2]}"
        option(f"--{side}", "COND", f"condition {place} (default: dirichlet:0)")
    text = "no ends: what leaves on one side enters on the other; of all axes, or of some: x,y"
    option("--periodic", "AXES", text, nargs="?", const="all")
    option("--load", "KIND", "exact (f and c integrated against the hats) or nodal (lumped)")
    text = "data where u is determined up to a constant: raise (default), or project: take their mean out"
    option("--compatible", "KIND", text, choices=("raise", "project"))
    option("--method", "NAME", "auto (default), exact (1-D), vcycle, wcycle, fcycle, fmg, pcg or direct")
    option("--smoother", "NAME", "jacobi, red-black, chebyshev or line")
    option("--sweeps", ("NU1", "NU2"), "sweeps before and after the coarse correction", nargs=2)
    option("--levels", "K", "number of levels")
    option("--tol", "T", "tolerance for the estimated error")
    option("--maxiter", "K", "most iterations")
    option("--dtype", "TYPE", "float64 (default) or float32", choices=("float32", "float64"))
    option("--device", "NAME", "cpu or cuda")
    flag("--refine", "refine a float32 solution with float64 residuals")
    text = "report the flux a du/dnu through a side, such as left, or what comes in at the nodes of a mask;"
    option("--flux", "SIDE|FILE", f"{text} may be repeated", action="append", default=[])
    option("--exact", "EXPR", "the exact solution, to report the largest nodal error")
    option("--plot", "FILE", f"draw u ({', '.join(PLOT_ENDINGS)})")
    option("--out", "FILE", f"write nodes and u ({', '.join(OUT_ENDINGS)})")
    option(
        "--out-slabs", "FILE", "with several processes: each writes its slab, u.npz as u.0.npz, u.1.npz, ..."
    )
    option("--timeout", "SECONDS", "how long one process waits for another (default: 600)")
    flag("--json", "print one JSON object and nothing else")
    parser.set_defaults(run=_solve)
    parser.epilog = EPILOG


def _solve(arguments: argparse.Namespace) -> int:
    if not several.are():
        return _solved(arguments, None)
    with several.joined(arguments) as processes:
        return _solved(arguments, processes)


def _solved(arguments: argparse.Namespace, processes: Processes | None) -> int:
    """Solve, alone or with other processes, of which the first reports."""
    posed, keywords, exact = several.agreed(processes, lambda: _read(arguments, processes))
    files = several.files(processes, arguments)

    import numpy as np

    import mgnet

    # This imports torch, not to be timed.
    solve = mgnet.solve if posed.points is None else _with_points(posed.points)
    with refused(), np.errstate(all="ignore"):  # the status tells what overflow comes to
        began = time.perf_counter()
        solution = solve(posed.f, **keywords, throw=False)
        seconds = time.perf_counter() - began
    figures = _figures(solution, keywords, seconds)
    if exact is not None:
        error = several.agreed(processes, lambda: _max_error(solution, exact, posed.present))
        figures["max_error"] = _finite(max(several.gathered(processes, error)))
    if processes:
        figures["processes"] = processes.world
    converged = figures["status"] == "CONVERGED"
    with np.errstate(all="ignore"):
        if posed.fluxes:
            figures["flux"] = {text: _finite(solution.flux(place)) for text, place in posed.fluxes.items()}
        if converged:
            several.write(processes, solution, arguments, _write_files)
        extent = several.gathered(processes, _extent(solution, posed))
    if arguments.json and several.speaks(processes):
        say(json.dumps(figures, allow_nan=False))
    elif several.speaks(processes):
        say(_table(figures, extent, posed, files if converged else []))
    if converged:
        return DONE
    unwritten = f" ({' and '.join(files)} not written)" if files else ""
    return report(f"not converged: {solution.message}{unwritten}", NOT_CONVERGED)


def _read(
    arguments: argparse.Namespace, processes: Processes | None
) -> tuple[Posed, dict[str, Any], Expression | None]:
    """Return the problem, how it is to be solved, and the exact solution."""
    if processes and arguments.points is not None:
        got = f"{arguments.points!r} and {processes.world} processes"
        raise CommandError(f"--points: got {got}; accepted: one process")
    _require_writable(arguments, processes)
    posed = problem(arguments)
    keywords = _keywords(arguments, posed)
    if processes:  # what is mapped keeps its own precision, which is not that of the solution
        keywords.setdefault("dtype", "float64")
    given = arguments.exact
    return posed, keywords, None if given is None else expression("--exact", given, AXES[: posed.dim])


def _with_points(points: Any) -> Callable[..., Any]:
    """Return what solves as ``mgnet.solve`` does, with sources at points."""
    from mgnet import Hierarchy, Poisson, load

    def solve(f: Any, **keywords: Any) -> Any:
        def those_of(function: Callable[..., Any]) -> dict[str, Any]:
            return {name: keywords[name] for name in inspect.signature(function).parameters & keywords.keys()}

        problem = Poisson(f, **those_of(Poisson))
        hierarchy = Hierarchy(problem, **those_of(Hierarchy))
        b = load(problem, points=points, fluxes=True)
        return hierarchy.solve(b, **those_of(hierarchy.solve))

    return solve


def _keywords(arguments: argparse.Namespace, posed: Posed) -> dict[str, Any]:
    given = {
        **posed.keywords,
        **{
            name: getattr(arguments, name)
            for name in ("load", "compatible", "method", "smoother", "dtype", "device")
        },
        "sweeps": arguments.sweeps and tuple(whole("--sweeps", text) for text in arguments.sweeps),
        "levels": whole("--levels", arguments.levels),
        "tol": constant("--tol", arguments.tol),
        "maxiter": whole("--maxiter", arguments.maxiter),
        "refine": arguments.refine or None,
    }
    # What was not given is left to the library's own defaults.
    return {name: value for name, value in given.items() if value is not None}


def _figures(solution: Any, keywords: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return what --json prints."""
    dim = keywords.get("dim", 1)
    if "n" in keywords:
        n = keywords["n"] if dim == 1 else list(keywords["n"])
    else:
        n = len(keywords["nodes"]) - 1 if dim == 1 else [len(x) - 1 for x in keywords["nodes"]]
    return {
        "status": solution.status.name,
        "n": n,
        "dim": dim,
        "dtype": str(solution.dtype).removeprefix("torch."),
        "device": str(solution.device),
        "method": str(solution.method),
        "iterations": int(solution.iterations),
        "residual": _finite(solution.residuals[-1] if len(solution.residuals) else None),
        "error_estimate": _finite(solution.error_estimate),
        "seconds": seconds,
    }


def _finite(number: Any) -> float | None:
    """Return the number, or None where JSON has no word for it."""
    return float(number) if number is not None and math.isfinite(number) else None


def _axes(solution: Any) -> tuple[np.ndarray, ...]:
    return solution.x if isinstance(solution.x, tuple) else (solution.x,)


def _max_error(solution: Any, exact: Expression, present: np.ndarray | None) -> float:
    """Return the largest error at the nodes that have a cell."""
    import numpy as np

    first, *others = _axes(solution)
    step = max(1, MOST_NODES // math.prod(map(len, others)))
    errors = []
    with refused("--exact: "):
        for start in range(0, len(first), step):
            part = slice(start, start + step)
            u = np.asarray(solution.u[part], dtype=np.float64)
            places = list(np.ix_(first[part], *others))
            if present is not None:  # elsewhere there may be no exact solution either
                u, *places = (x[present[part]] for x in np.broadcast_arrays(u, *places))
            errors.append(np.max(np.abs(u - exact(*places)), initial=0.0))
    return float(np.max(errors))


# Of a solution, or a slab of one: the ends of each axis, and the smallest and the largest value.
Extent = tuple[list[tuple[float, float]], float, float]


def _extent(solution: Any, posed: Posed) -> Extent:
    u = solution.u if posed.present is None else solution.u[posed.present]
    return [(float(x[0]), float(x[-1])) for x in _axes(solution)], float(u.min()), float(u.max())


def _table(figures: dict[str, Any], extents: Sequence[Extent], posed: Posed, files: Sequence[str]) -> str:
    kind = "given nodes" if "nodes" in posed.keywords else "uniform"
    n, cells = figures["n"], posed.keywords["cells"]
    some = "" if cells is None else f", {cells.sum()} of {cells.size} cells"
    axes, lows, highs = zip(*extents, strict=True)
    ends = [(low, high) for (low, _), (_, high) in zip(axes[0], axes[-1], strict=True)]
    rows = {
        "grid": f"{kind} on {' x '.join(f'[{low:g}, {high:g}]' for low, high in ends)}{some}",
        **{name: value for name, value in figures.items() if name not in ("dim", "flux")},
        **{f"flux {text}": flux for text, flux in figures.get("flux", {}).items()},
        "n": n if isinstance(n, int) else " x ".join(map(str, n)),
        "u": f"{min(lows):.9g} to {max(highs):.9g}",
    }
    if files:
        rows["written"] = ", ".join(files)
    return table(rows)


def _require_writable(arguments: argparse.Namespace, processes: Processes | None) -> None:
    """Find out before the work whether its result can be written."""
    read = inputs(arguments)
    for option, path, endings in (
        ("--out", arguments.out, OUT_ENDINGS),
        ("--out-slabs", several.slab_file(processes, arguments.out_slabs), OUT_ENDINGS),
        ("--plot", arguments.plot, PLOT_ENDINGS),
    ):
        if path is None:
            continue
        from ..core.extras import require

        require_output(option, path, endings)
        if path.lower().endswith(".vtr"):
            try:
                require("pyevtk", "files")
            except ImportError as error:
                raise CommandError(f"{option}: {error}") from error
        if os.path.exists(path) and any(os.path.samefile(path, other) for other in read):
            raise CommandError(f"{option}: {path} is an input; accepted is another file")
    if arguments.plot is not None:
        with refused("--plot: matplotlib does not accept its settings (MPLBACKEND, matplotlibrc): "):
            import matplotlib.figure  # noqa: F401


def _write_files(solution: Any, out: str | None, plot: str | None) -> None:
    from ..core.files import replacing

    if out:
        from ..solver.saving import write

        write(out, solution.x, solution.u)
    if plot:
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")  # not pyplot: no window, no backend to choose
        solution.plot(ax=figure.subplots())
        with replacing(plot) as file:
            figure.savefig(file, format=os.path.splitext(plot)[1][1:].lower())
