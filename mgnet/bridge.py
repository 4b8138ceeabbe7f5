"""Between network and solver: a hierarchy as an MgNet, and what a trained MgNet is as a multigrid method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .core.checks import count, flag, shown, sweep_counts
from .models import MgNet
from .multigrid.cycles import Level, cycle
from .operators.convolutions import Prolongation
from .operators.smoothers import Relaxation

__all__ = ["convergence_factor", "galerkin_defects", "levels_of", "network_of"]


def network_of(levels: Sequence[Level], sweeps: tuple[int, int] = (2, 2), up: bool = True) -> MgNet:
    """Make the network that is the cycle of these grids, :eq:`mgnet-cycle`: it calls their own objects.

    A, R and P of the network *are* those of the levels. B is all sweeps of a level's smoother, from zero, and
    on the coarsest grid what solves there. So this is a network for any problem and any smoother.

    Parameters
    ----------
    levels : sequence of Level
        The grids, finest first: of a :class:`mgnet.Hierarchy`, of a learned cycle.
    sweeps : (int, int), default (2, 2)
        Sweeps before and after the coarse correction.
    up : bool, default True
        Whether the network is a whole V-cycle, or its fine-to-coarse half.

    Returns
    -------
    MgNet
        From loads (N, 1, ...) to u, on the finest grid or without ``up`` on the coarsest.

    Examples
    --------
    >>> import mgnet, torch
    >>> H = mgnet.Hierarchy(mgnet.Poisson(n=8), method="vcycle")
    >>> V = network_of(H.levels)
    >>> V.levels[0].A is H.levels[0].A
    True
    >>> b = torch.ones(1, 1, 7, dtype=torch.float64) / 8
    >>> bool((V(b) - cycle(H.levels, b)).abs().max() < 1e-12)
    True
    """
    levels, sweeps, up = _levels(levels), sweep_counts(sweeps), flag("up", up)
    last, dim = len(levels) - 1, len(_shape(levels[0]))
    with torch.device("meta"):  # its own kernels are not used
        network = MgNet(
            linear=True, dim=dim, in_channels=1, image_size=2**last, nu=[1] * (last + 1), Pi="zero", up=up
        )
    parts: Any = network  # torch declares that attributes of modules are tensors
    for i, level in enumerate(levels):
        B = _Called(level.solve) if level.solve else _Called(level.smoother, level.A, None, sweeps=sweeps[0])
        parts.levels[i].A, parts.levels[i].B = _module(level.A), nn.ModuleList([B])
        if i < last:
            parts.transfers[i].R = _module(level.R)
        if i < last and up:
            B = _Called(level.smoother, level.A, None, sweeps=sweeps[1], post=True)
            parts.returns[i].P = level.P if isinstance(level.P, Prolongation) else _Called(level.P)
            parts.returns[i].level.A, parts.returns[i].level.B = _module(level.A), nn.ModuleList([B])
    return network


def _levels(levels: Any) -> Sequence[Level]:
    if not isinstance(levels, Sequence) or not levels or not all(isinstance(x, Level) for x in levels):
        raise TypeError(f"levels: got {shown(levels)}; accepted: the levels of a hierarchy, finest first")
    return levels


class _Called(nn.Module):
    """Any operator as a module, called with some arguments first; of those that come it takes one."""

    def __init__(self, operator: Any, *before: Any, **options: Any) -> None:
        super().__init__()
        self.call = operator, before, options  # in a tuple, where it is no part of the module

    def forward(self, x: Tensor, *shape: Any) -> Tensor:
        """Apply the operator."""
        operator, before, options = self.call
        return operator(*before, x, **options)


def _module(operator: Any) -> nn.Module:
    return operator if isinstance(operator, nn.Module) else _Called(operator)


def _shape(level: Level) -> tuple[int, ...]:
    return level.unknowns if isinstance(level.unknowns, tuple) else (level.unknowns,)


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
    ValueError
        When it has one level of one iteration, which needs no A.
    """
    if not isinstance(network, MgNet):
        raise TypeError(f"network: got {type(network).__name__}; accepted: MgNet")
    found: list[Level] = []
    levels: list[Any] = list(network.levels)
    if isinstance(levels[0].A, nn.Identity):
        raise ValueError("network: got one level of one iteration, without A; accepted: more of either")
    shape: tuple[int, ...] = (count("image_size", image_size, 2 ** (len(levels) - 1)),) * network.dim
    for i, level in enumerate(levels):
        smoother = Relaxation(level.B)
        found.append(Level(level.A, shape, shape, smoother))
        if i < len(network.transfers):
            R: Any = network.transfers[i].R
            found[-1].R, found[-1].P = R, partial(Prolongation.of(R), output_size=shape)
            with torch.no_grad():
                shape = tuple(R(torch.zeros(1, R.in_channels, *shape, **R.like)).shape[2:])
    times = len(levels[-1].residual_norms)
    last = found[-1]
    last.solve = lambda b: last.smoother(last.A, None, b, times)
    return found


def convergence_factor(
    levels: Sequence[Level], sweeps: tuple[int, int] = (2, 2), cycles: int = 40, seed: int = 0
) -> float:
    """Return by which factor a V-cycle shrinks an error in the long run, measured with b = 0.

    Parameters
    ----------
    levels, sweeps
        As for :func:`network_of`; the grids may be those of :func:`levels_of` too.
    cycles : int, default 40
        How many, from a random error; the last ten count.
    seed : int, default 0
        Of the error.

    Returns
    -------
    float
        The geometric mean of the last factors; above 1 the cycle diverges.
    """
    levels, sweeps = _levels(levels), sweep_counts(sweeps)
    count("cycles", cycles)
    count("seed", seed, 0)
    finest, shape = levels[0], _shape(levels[0])
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

    Raises
    ------
    ValueError
        When the coarsest grid of a network has no A.
    """
    levels = _levels(levels)
    if isinstance(levels[-1].A, nn.Identity):
        raise ValueError("levels: got a coarsest grid without A; accepted: a network with Π or nu of 2 there")
    defects = []
    with torch.no_grad():
        for fine, coarse in zip(levels, levels[1:], strict=False):
            shape = _shape(coarse)
            channels = getattr(coarse.A, "in_channels", 1)
            like = getattr(coarse.A, "like", {"dtype": torch.float64})
            unit = torch.eye(channels * math.prod(shape), **like).reshape(-1, channels, *shape)
            own = coarse.A(unit)
            defects.append(float((fine.R(fine.A(fine.P(unit))) - own).norm() / own.norm()))
    return defects
