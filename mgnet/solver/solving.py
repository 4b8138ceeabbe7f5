"""solve: a problem and a method in, a Solution out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.looks import together
from ..core.resources import within_memory
from ..poisson import assembly
from ..poisson.conditions import Condition
from ..poisson.problem import Data, Poisson
from .hierarchy import Hierarchy
from .samples import Samples
from .slabs.agreement import Posed, processes_of
from .solution import Solution
from .stopping import Stopping

__all__ = ["solve"]


def solve(
    f: Data | None = None,
    n: int | Sequence[int] | None = None,
    *,
    domain: Any = (0.0, 1.0),
    nodes: Any = None,
    a: Data | None = None,
    c: Data | None = None,
    left: Condition | None = None,
    right: Condition | None = None,
    periodic: bool | Sequence[bool] = False,
    boundary: Any = None,
    dim: int | None = None,
    load: str | None = None,
    b: Any = None,
    cells: Any = None,
    fixed: Any = None,
    compatible: str = "raise",
    method: str = "auto",
    smoother: str | None = None,
    sweeps: tuple[int, int] | None = None,
    levels: int | None = None,
    coarse: str = "exact",
    omega: float | None = None,
    x0: Any = None,
    tol: float | None = None,
    maxiter: int | None = None,
    refine: bool = False,
    dtype: Any = None,
    device: Any = None,
    throw: bool = True,
    group: Any = None,
) -> Solution:
    """Solve −∇·(a ∇u) + c u = f by finite elements on an interval or in a box, :eq:`system`.

    Parameters
    ----------
    f, n, domain, nodes, a, c, left, right, periodic, boundary, load, b, cells, fixed, compatible
        The problem, as for :class:`Poisson`.
    dim : {1, 2, 3}, default 1
        Number of space dimensions; to be said where a square array is to give n.
    method : str, default "auto"
        "exact", one cycle and the answer is there, for any coefficients, nodes and number of cells
        (what "auto" takes in 1-D, where alone it exists); "vcycle", "wcycle" or "fcycle"; "fmg", full
        multigrid and then V-cycles; "pcg", conjugate gradients preconditioned by a V-cycle; "direct", SciPy's
        banded or sparse solver in float64, with one step of refinement. In more dimensions "auto" is full
        multigrid and then "pcg"; residuals have the precision asked for, the cycles themselves are computed
        in float32.
    smoother : {"jacobi", "red-black", "chebyshev", "line"}, optional
        Smoother of the cycles: "jacobi" in one dimension and "chebyshev" in more by default. "red-black" has
        four colours in the plane and eight in space; "line" relaxes whole lines, by elimination, along the
        strongly tied axes in turn, and is what "auto" takes where cells are flat in some places and tall in
        others.
    sweeps : (int, int), default (2, 2)
        Sweeps before and after the coarse correction, ν₁ and ν₂.
    levels : int, optional
        Most grids; as many as there are by default.
    coarse : {"exact", "direct", "smoother"}, default "exact"
        What solves the coarsest grid: the exact cycle, or in more dimensions the eigenvectors of its axes
        where a and c are constant; a dense factorisation; or 50 sweeps.
    omega : float, optional
        Damping of Jacobi (2/3, in more dimensions 8/9) or relaxation of red-black (1).
    x0 : array, shape ``(..., *nodes)``, optional
        First guess of an iteration, boundary included; it is not changed.
    tol : float, optional
        Accepted estimated error, relative to the largest nodal value, :eq:`stopping`. By default 1e-10 in
        float64 and 1e-5 in float32, or four times what rounding leaves, ``eps * (4 + sqrt(n))`` (in a box 32
        instead of 4), where that is more; with ``refine`` 1e-10 in both. "exact" and "direct" are checked
        against it where it is given.
    maxiter : int, optional
        Most cycles, by default 100 on an interval and 1000 in a box.
    refine : bool, default False
        Compute residuals in float64, and the solution from float32 corrections.
    dtype : torch.dtype, optional
        float32 or float64; that of a floating-point array ``f`` or ``b`` by default, else float64.
        Integers and other precisions become float64.
    device : str or torch.device, optional
        That of the first tensor among f, b, a, c, the nodes and the g of the conditions by default, else the
        CPU.
    throw : bool, default True
        Whether to raise when the solution has not converged; it counts for gradients too.
    group : torch.distributed.ProcessGroup, optional
        The processes that share the problem, each of which makes this call; all of them by default, where
        ``torch.distributed`` is initialised. Each gets a slab of the first axis, a
        :class:`mgnet.solver.slabs.solution.SlabSolution`. A group of one process solves alone.

    Returns
    -------
    Solution
        In torch tensors if f, b, a, c, the nodes or the values of ``fixed`` came as such, the function f
        returns one, or anything requires a gradient; else in NumPy arrays.

    Raises
    ------
    TypeError, ValueError
        For bad input, before any work; the message names argument, value and what is accepted.
    ResourceError
        When the problem does not fit into memory.
    ConvergenceError
        When the tolerance is not met; it carries the solution. Taking a gradient may raise it as well.

    Notes
    -----
    ``u`` is differentiable with respect to f, b, a, c, the g of the conditions and Robin's alpha, where those
    are tensors that require a gradient or functions that return them: by one more solve, :eq:`adjoint`.
    Nodes and the domain that require one are refused.

    Arrays may be of any kind with real numbers: lists, tuples and ranges, NumPy's and torch's of any layout,
    and what turns into a NumPy array, as the data of pandas and xarray do. Those with a mask are refused.

    Warns with a RuntimeWarning where a function f, or g on a side, has a peak so narrow that quadrature sees
    nothing of it but the points that it hits.

    Examples
    --------
    >>> import mgnet
    >>> mgnet.solve(1.0, n=4).u
    array([0.     , 0.09375, 0.125  , 0.09375, 0.     ])
    """
    with within_memory(n), together():

        def pose() -> Posed:
            problem = Poisson(
                f,
                dim=dim,
                n=n,
                domain=domain,
                nodes=nodes,
                a=a,
                c=c,
                left=left,
                right=right,
                periodic=periodic,
                boundary=boundary,
                load=load,
                b=b,
                cells=cells,
                fixed=fixed,
                compatible=compatible,
            )
            stopping = Stopping(tol, maxiter, refine, throw)
            how: dict[str, Any] = {"method": method, "smoother": smoother, "sweeps": sweeps, "levels": levels}
            how |= {"coarse": coarse, "omega": omega, "dtype": dtype, "device": device}
            known = (f, b, *(a if isinstance(a, tuple) else (a,)), c, nodes)
            return Posed(problem, _placed(how, problem, known), stopping, x0)

        processes = processes_of(group)
        if processes.world == 1:
            return _alone(pose())
        from .slabs import shared  # which one process does not pay for

        return shared.solve(processes, pose)


def _placed(options: dict[str, Any], problem: Poisson, known: Sequence[Any]) -> dict[str, Any]:
    """Return the options with the precision and the device that the data have, where none is said."""
    given = problem.b if problem.f is None else problem.f
    dtype, device = options["dtype"], options["device"]
    if dtype is None:
        dtype = given.dtype if isinstance(given, Tensor) else torch.float64
    if device is None:
        sides = [side.g for pair in problem.conditions for side in pair]
        several = (*known, *sides, problem.region.values)
        device = next((x.device for x in several if isinstance(x, Tensor)), None)
    return {**options, "dtype": dtype, "device": device}


def _alone(posed: Posed) -> Solution:
    """Solve in this process."""
    problem, options, stopping = posed.problem, posed.options, posed.stopping
    one = problem.sample((0,) * len(problem.samples)) if problem.samples else problem
    hierarchy = Hierarchy(one, **options)
    wide = torch.float64 if stopping.refine else hierarchy.dtype
    rhs = assembly.load(problem, wide, hierarchy.device, problem.tensors)
    solver = Samples(problem, hierarchy) if problem.samples else hierarchy
    return solver.run(rhs, stopping, posed.x0)
