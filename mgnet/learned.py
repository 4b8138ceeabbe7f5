"""Learned multigrid: smoother and transfer kernels trained by gradient through a few cycles.

The kernels know no grid: trained on a small one they make the cycle of any other. The cycle is the solver's
own, :func:`mgnet.multigrid.cycle`, whose operators are learned here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from . import stencils
from .core.checks import count, instance, positive
from .multigrid.coarsest import TensorSolver
from .multigrid.cycles import Level, cycle
from .operators.axes import Axis
from .operators.boxes import Box
from .operators.convolutions import Restriction, Stencil
from .operators.smoothers import Relaxation, damping
from .operators.stiffness import Stiffness

__all__ = ["LearnedCycle", "train"]


class LearnedCycle(nn.Module):
    """A V-cycle for −Δu = f on the unit interval, square or cube whose smoother and transfers are learned.

    Parameters
    ----------
    dim : {1, 2, 3}, default 2
        Number of axes.
    sweeps : int, default 2
        Sweeps before and after the coarse correction; each has a kernel of its own, B.
    reach : int, default 1
        How many nodes the kernels B reach to either side; with 0 each is one weight, as in damped Jacobi.
    transfer_reach : int, default 1
        The same for R, whose transpose is P, and at least 1.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    Untrained it is the V-cycle with damped Jacobi:

    >>> from mgnet.bridge import convergence_factor
    >>> round(convergence_factor(LearnedCycle().levels(32)), 2)
    0.08
    """

    def __init__(self, dim: int = 2, sweeps: int = 2, reach: int = 1, transfer_reach: int = 1) -> None:
        super().__init__()
        count("sweeps", sweeps)
        count("reach", reach, 0)
        count("transfer_reach", transfer_reach)
        if dim not in (1, 2, 3):
            raise ValueError(f"dim: got {dim!r}; accepted: 1, 2 or 3")
        self.dim, self.sweeps = dim, sweeps
        jacobi = torch.zeros((2 * reach + 1,) * dim, dtype=torch.float64)
        # For cells of width 1; the diagonal there.
        jacobi[(reach,) * dim] = damping(dim) / float(stencils.stiffness([1.0] * dim)[(1,) * dim])
        self.B = nn.ModuleList(Stencil(jacobi, learned=True, dim=dim) for _ in range(sweeps))
        hats = torch.from_numpy(stencils.tensor(*[stencils.hat()] * dim))
        padded = nn.functional.pad(hats, [transfer_reach - 1] * (2 * dim))
        self.R = Restriction(kernel=padded, learned=True, dim=dim)

    def levels(self, n: int) -> list[Level]:
        """Return the grids for ``n`` cells along each axis, as :func:`mgnet.multigrid.cycle` takes them.

        Parameters
        ----------
        n : int
            Number of cells, an even one at least as long as the grids are to be coarsened.

        Returns
        -------
        list of Level
            Finest first; the coarsest, of an odd number of cells or of 4 at most, is solved exactly.
        """
        found: list[Level] = []
        while True:
            h, shape = 1 / count("n", n, 2), (n - 1,) * self.dim
            A = Stiffness(h, dim=self.dim)
            # B is for h = 1, and A grows like h to the power of dim - 2.
            smoother = Relaxation([partial(_scaled, B, h ** (2 - self.dim)) for B in self.B])
            found.append(Level(A, (n,) * self.dim, shape, smoother, self.R.T, self.R))
            if n <= 4 or n % 2:
                break
            n //= 2
        box = Box([Axis(n, 1 / n)] * self.dim)
        found[-1].solve = TensorSolver(box, 1.0, 0.0, {"dtype": torch.float64})
        return found

    def forward(self, b: Tensor, u: Tensor | None = None) -> Tensor:
        """Improve u in A u = b by one cycle.

        Parameters
        ----------
        b : torch.Tensor, shape (N, 1, n - 1, ...)
            Loads.
        u : torch.Tensor, optional
            Approximation; zero by default.

        Returns
        -------
        torch.Tensor, shape (N, 1, n - 1, ...)
            The better one.

        Raises
        ------
        ValueError
            For loads of another shape.
        """
        if b.ndim != self.dim + 2 or b.shape[1] != 1 or len(set(b.shape[2:])) > 1:
            axes = ", n - 1" * self.dim
            raise ValueError(f"b: got shape {tuple(b.shape)}; accepted: (N, 1{axes})")
        return cycle(self.levels(b.shape[-1] + 1), b, u, (self.sweeps, self.sweeps))

    @torch.no_grad()
    def preserve_constants(self) -> None:
        """Change R as little as possible so that P maps constants to constants, as hats do.

        The numbers that one fine node takes are those of one parity along each axis: their sum becomes 1.
        """
        kernel = self.R.weight[0, 0]
        centre = kernel.shape[0] // 2
        for parity in product((0, 1), repeat=self.dim):
            part = kernel[tuple(slice((centre + p) % 2, None, 2) for p in parity)]
            part += (1 - part.sum()) / part.numel()


def _scaled(operator: nn.Module, factor: float, x: Tensor) -> Tensor:
    return factor * operator(x)


def train(
    learned: LearnedCycle,
    n: int = 32,
    *,
    steps: int = 150,
    cycles: int = 4,
    batch: int = 4,
    lr: float = 0.05,
    parameters: Sequence[nn.Parameter] | None = None,
    seed: int = 0,
) -> list[float]:
    """Train a cycle by gradient through a few cycles on random right-hand sides, :eq:`learned-cycle`.

    Parameters
    ----------
    learned : LearnedCycle
        What is trained, in place.
    n : int, default 32
        Number of cells along each axis.
    steps : int, default 150
        Steps of Adam; its rate falls to zero along a cosine.
    cycles : int, default 4
        Cycles that the gradient goes through. The loss is the mean logarithm of the factor of the last one.
    batch : int, default 4
        Right-hand sides in a step.
    lr : float, default 0.05
        Rate of the first step, relative to the size of the kernels.
    parameters : sequence of torch.nn.Parameter, optional
        Which kernels; all by default: ``learned.B.parameters()`` are the smoother's.
    seed : int, default 0
        Of the right-hand sides.

    Returns
    -------
    list of float
        The factor of the last cycle, step by step.
    """
    for name, value, least in (("n", n, 2), ("steps", steps, 1), ("cycles", cycles, 1), ("batch", batch, 1)):
        count(name, value, least)
    instance("learned", learned, LearnedCycle, "a LearnedCycle")
    positive("lr", lr)
    count("seed", seed, 0)
    chosen = list(learned.parameters() if parameters is None else parameters)
    optimizer = torch.optim.Adam([{"params": [p], "lr": lr * float(p.detach().abs().max())} for p in chosen])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    shape, factors = (batch, 1, *[n - 1] * learned.dim), []
    box = Box([Axis(n, 1 / n)] * learned.dim)
    exact = TensorSolver(box, 1.0, 0.0, {"dtype": torch.float64})
    levels, sweeps = learned.levels(n), (learned.sweeps, learned.sweeps)
    for _ in range(steps):
        b = torch.randn(shape, generator=generator, dtype=torch.float64)
        u, errors = torch.zeros_like(b), []
        target = exact(b)
        for _ in range(cycles):
            u = cycle(levels, b, u, sweeps)
            errors.append(torch.linalg.vector_norm((u - target).flatten(1), dim=1))
        before = errors[-2] if cycles > 1 else torch.linalg.vector_norm(target.flatten(1), dim=1)
        loss = (errors[-1] / before).log().mean()  # eq: learned-cycle
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        learned.preserve_constants()
        factors.append(math.exp(float(loss.detach())))
    return factors
