"""solve: a problem and a method in, a Solution out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import assembly
from .checks import find_device, float_type
from .hierarchy import Hierarchy, Stopping
from .problem import Condition, Data, Poisson
from .solution import Solution

__all__ = ["solve"]


def solve(
    f: Data | None = None,
    n: int | None = None,
    *,
    domain: tuple[float, float] = (0.0, 1.0),
    nodes: Any = None,
    a: Data | None = None,
    c: Data | None = None,
    left: Condition | None = None,
    right: Condition | None = None,
    periodic: bool = False,
    dim: int = 1,
    load: str | None = None,
    b: Any = None,
    method: str = "auto",
    smoother: str = "jacobi",
    sweeps: tuple[int, int] = (2, 2),
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
) -> Solution:
    """Solve −(a u′)′ + c u = f on an interval by finite elements, :eq:`system`.

    Parameters
    ----------
    f, n, domain, nodes, a, c, left, right, periodic, load, b
        The problem, as for :class:`Poisson`.
    dim : int, default 1
        Number of space dimensions; only 1 so far.
    method : str, default "auto"
        "exact", one cycle and the answer is there, for any coefficients, nodes and number of cells
        (what "auto" takes in 1-D); "vcycle", "wcycle" or "fcycle"; "fmg", full multigrid and then
        V-cycles; "pcg", conjugate gradients preconditioned by a V-cycle; "direct", SciPy's banded or
        sparse solver in float64, with one step of refinement.
    smoother : {"jacobi", "red-black", "chebyshev"}, default "jacobi"
        Smoother of the cycles.
    sweeps : (int, int), default (2, 2)
        Sweeps before and after the coarse correction, ν₁ and ν₂.
    levels : int, optional
        Most grids; as many as there are by default.
    coarse : {"exact", "direct", "smoother"}, default "exact"
        What solves the coarsest grid: the exact cycle, a dense factorisation, or 50 sweeps.
    omega : float, optional
        Damping of Jacobi (2/3) or relaxation of red-black (1).
    x0 : array, shape (..., n + 1), optional
        First guess of an iteration, boundary included; it is not changed.
    tol : float, optional
        Accepted estimated error, relative to the largest nodal value, :eq:`stopping`. By default 1e-10 in
        float64 and 1e-5 in float32, or four times what rounding leaves, ``eps * (4 + sqrt(n))``, where
        that is more; with ``refine`` 1e-10 in both. "exact" and "direct" are checked against it
        where it is given.
    maxiter : int, optional
        Most cycles, 100 by default.
    refine : bool, default False
        Compute residuals in float64, and the solution from float32 corrections.
    dtype : torch.dtype, optional
        float32 or float64; that of a floating-point array ``f`` or ``b`` by default, else float64.
        Integers and other precisions become float64.
    device : str or torch.device, optional
        That of a tensor ``f`` or ``b`` by default, else the CPU.
    throw : bool, default True
        Whether to raise when the solution has not converged.

    Returns
    -------
    Solution
        In torch tensors if f, b, a, c or the nodes came as such, or the function f returns one; else in
        NumPy arrays.

    Raises
    ------
    TypeError, ValueError
        For bad input, before any work; the message names argument, value and what is accepted.
    ResourceError
        When the problem does not fit into memory.
    ConvergenceError
        When the tolerance is not met; it carries the solution.

    Examples
    --------
    >>> import mgnet
    >>> mgnet.solve(1.0, n=4).u
    array([0.     , 0.09375, 0.125  , 0.09375, 0.     ])
    """
    if isinstance(dim, bool) or dim != 1:
        raise ValueError(f"dim: got {dim!r}; accepted: 1")
    problem = Poisson(
        f,
        n=n,
        domain=domain,
        nodes=nodes,
        a=a,
        c=c,
        left=left,
        right=right,
        periodic=periodic,
        load=load,
        b=b,
    )
    stopping = Stopping(tol, maxiter, refine, throw)
    given = problem.b if problem.f is None else problem.f
    if dtype is None:
        dtype = given.dtype if isinstance(given, Tensor) else torch.float64
    if device is None and isinstance(given, Tensor):
        device = given.device
    hierarchy = Hierarchy(
        problem,
        method=method,
        smoother=smoother,
        sweeps=sweeps,
        levels=levels,
        coarse=coarse,
        omega=omega,
        dtype=dtype,
        device=device,
    )
    tensors = any(isinstance(value, Tensor) for value in (f, b, a, c, nodes))
    with torch.no_grad():
        wide = torch.float64 if refine else float_type(dtype)
        rhs = assembly.load(problem, wide, find_device(device), tensors)
    return hierarchy.run(rhs, stopping, x0)
