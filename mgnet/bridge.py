"""From the network back to the solver: what a trained MgNet is as a multigrid method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .models import MgNet
from .multigrid import Level, cycle
from .operators import Prolongation
from .smoothers import Relaxation

__all__ = ["convergence_factor", "galerkin_defects", "levels_of"]


def levels_of(network: MgNet, image_size: int) -> list[Level]:
    """Take the operators of a network as the grids of :func:`mgnet.multigrid.cycle`.

    A and R are the network's own objects, P is the transpose of R, the smoother is x ← x + B (b − A x), and
    on the coarsest grid as many of its sweeps as the network makes there. Norms and activations are left out.

    Parameters
    ----------
    network : MgNet
        The network, trained or not.
    image_size : int
        Size of the images along each axis.

    Returns
    -------
    list of Level
        Finest first; vectors have as many channels as the features of the finest level.

    Raises
    ------
    TypeError
        When it is no MgNet.
    """
    if not isinstance(network, MgNet):
        raise TypeError(f"network: got {type(network).__name__}; accepted: MgNet")
    found: list[Level] = []
    levels: list[Any] = list(network.levels)
    shape: tuple[int, ...] = (image_size,) * levels[0].dim
    for i, level in enumerate(levels):
        smoother = Relaxation(level.B)
        found.append(Level(level.A, shape, shape, smoother))
        if i < len(network.transfers):
            R: Any = network.transfers[i].R
            found[-1].R, found[-1].P = R, _Transposed(R, shape)
            shape = tuple(R(torch.zeros(1, R.in_channels, *shape, dtype=R.weight.dtype)).shape[2:])
    times = len(levels[-1].residual_norms)
    last = found[-1]
    last.solve = lambda b: last.smoother(last.A, None, b, times)
    return found


class _Transposed:
    """The transpose of a restriction, for one fine shape."""

    def __init__(self, R: Any, shape: tuple[int, ...]) -> None:
        self.P, self.shape = Prolongation.of(R), shape

    def __call__(self, e: Tensor) -> Tensor:
        return self.P(e, self.shape)


def convergence_factor(
    levels: Sequence[Level], sweeps: tuple[int, int] = (2, 2), cycles: int = 40, seed: int = 0
) -> float:
    """Return by which factor a V-cycle shrinks an error in the long run, measured with b = 0.

    Parameters
    ----------
    levels : sequence of Level
        The grids, finest first: of a :class:`mgnet.Hierarchy`, of :func:`levels_of`, of a learned cycle.
    sweeps : (int, int), default (2, 2)
        Sweeps before and after the coarse correction.
    cycles : int, default 40
        How many, from a random error; the last ten count.
    seed : int, default 0
        Of the error.

    Returns
    -------
    float
        The geometric mean of the last factors; above 1 the cycle diverges.
    """
    finest = levels[0]
    shape = finest.unknowns if isinstance(finest.unknowns, tuple) else (finest.unknowns,)
    channels = getattr(finest.A, "in_channels", 1)
    like = getattr(finest.A, "like", {"dtype": torch.float64})
    generator = torch.Generator().manual_seed(seed)
    error = torch.randn((1, channels, *shape), generator=generator, dtype=torch.float64).to(**like)
    zero, factors = torch.zeros_like(error), []
    with torch.no_grad():
        for _ in range(cycles):
            error = error / error.norm()
            error = cycle(levels, zero, error, sweeps)
            factors.append(float(error.norm()))
            if not math.isfinite(factors[-1]) or factors[-1] == 0:
                return factors[-1]
    last = factors[-10:]
    return math.exp(sum(map(math.log, last)) / len(last))


def galerkin_defects(levels: Sequence[Level]) -> list[float]:
    """Return ‖R A P − A_H‖ / ‖A_H‖ in the Frobenius norm between each grid and the next, :eq:`galerkin`.

    Parameters
    ----------
    levels : sequence of Level
        The grids, finest first; small ones, since the matrices are dense.

    Returns
    -------
    list of float
        One for each pair of grids; zero to rounding for the hat functions' own.
    """
    defects = []
    with torch.no_grad():
        for fine, coarse in zip(levels, levels[1:], strict=False):
            shape = coarse.unknowns if isinstance(coarse.unknowns, tuple) else (coarse.unknowns,)
            channels = getattr(coarse.A, "in_channels", 1)
            like = getattr(coarse.A, "like", {"dtype": torch.float64})
            unit = torch.eye(channels * math.prod(shape), **like).reshape(-1, channels, *shape)
            own = coarse.A(unit)
            defects.append(float((fine.R(fine.A(fine.P(unit))) - own).norm() / own.norm()))
    return defects
