"""Multigrid cycles and conjugate gradients for a box of which each process has a slab."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import scipy
import torch
from torch import Tensor

from ...core.arrays import NonFiniteError, sent
from ...multigrid.cycles import Level
from ...multigrid.krylov import dots
from ...multigrid.slabs import build_slab_levels
from ...operators import loops
from ...operators.boxes import Box
from ...operators.contract import Map, Operator
from ...operators.cuts import Cuts
from ...operators.fused import Survey
from ...operators.halos import missing
from ...operators.slabs import SlabOperator, noise
from ...poisson import assembly
from ...poisson.constants import Constants
from ...poisson.problem import Poisson
from ..cycling import Cycles
from ..iteration import Measure, surveyed
from ..method import Method
from ..system import System
from .constants import SharedConstants

__all__ = ["SharedMeasure", "SlabCycles", "SlabSystem"]


class SharedMeasure(Measure):
    """How large vectors are of which each process has a slab; what two have counts once.

    Parameters
    ----------
    cuts : Cuts
        The neighbours.
    """

    def __init__(self, cuts: Cuts) -> None:
        self.cuts = cuts

    def norms(self, x: Tensor) -> Tensor:
        """Return the Euclidean norm of each row, shape (batch,)."""
        own = surveyed(self.cuts.owned(x)).norm.double()
        return self.cuts.summed(own**2).sqrt().to(x.dtype)

    def largest(self, x: Tensor) -> Tensor:
        """Return the largest absolute value of each row, shape (batch,)."""
        return self.cuts.largest(super().largest(x))

    def surveyed(self, x: Tensor) -> Survey:
        """Return both."""
        return Survey(self.norms(x), self.largest(x))

    def sizes(self, e: Tensor, u: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the largest values of a correction and of what it made."""
        own = torch.stack([super(SharedMeasure, self).largest(x).double() for x in (e, u)])
        of_e, of_u = self.cuts.largest(own)
        return of_e.to(e.dtype), of_u.to(u.dtype)

    def products(self, *pairs: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Return the inner product of each pair of vectors, shape (batch, 1, ...)."""
        own = dots(*((self.cuts.owned(x), self.cuts.owned(y)) for x, y in pairs))
        return list(self.cuts.summed(torch.stack(own)))

    def missing(self, A: Map, u: Tensor, b: Tensor, size: Tensor, out: Tensor) -> Tensor:
        """Write b − A u over the size of each row, in another precision, and return its norm, (batch,)."""
        if isinstance(A, SlabOperator) and A.kind.same and loops.apply_to(u, b, out):
            return missing(A, u, b, 1 / size, out)
        return super().missing(A, u, b, size, out)

    def agreed(self, x: Tensor) -> Tensor:
        """Return a vector of which both slabs at a cut have the same values, in its own memory."""
        return self.cuts.agree(x)

    def noise(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return random numbers, always the same."""
        return noise(shape, self.cuts, dtype, device)


class SlabSystem(System):
    """A u = b on the unknowns of a slab.

    Parameters
    ----------
    whole, own : Poisson
        The problem, and the part of it that this process has.
    cuts : Cuts
        The neighbours.
    edges : list of int
        The first node of each slab, and the last of all.
    dtype, device
        Precision, and where this process computes.
    local : Operator, optional
        The operator of the part, if it is assembled already.
    """

    def __init__(
        self,
        whole: Poisson,
        own: Poisson,
        cuts: Cuts,
        edges: list[int],
        dtype: torch.dtype,
        device: torch.device,
        local: Operator | None = None,
    ) -> None:
        self.whole, self.problem, self.dtype, self.device = whole, own, dtype, device
        self.own, self.box, self.form, self.cuts, self.edges = False, own.space, None, cuts, edges
        local = local or assembly.operator(own, dtype, device)
        entire = whole.space
        if any(grid.nodes is not None for grid in whole.grids) or isinstance(whole.a, tuple):
            # Cells count by their number; how wide they are is in the weights.
            entire = Box([replace(axis, h=1.0, robin=(0.0, 0.0), nodes=None) for axis in entire.axes])
        self._A: SlabOperator = SlabOperator.of(local, entire, cuts)  # type: ignore[assignment]
        self.constants: Constants | None = None
        if self._A.singular:
            self.constants = SharedConstants(whole, own, cuts.processes)

    @cached_property
    def _double(self) -> System:
        return SlabSystem(self.whole, self.problem, self.cuts, self.edges, torch.float64, self.device)

    @cached_property
    def scale(self) -> float:
        """The reciprocal of the largest diagonal entry; 1 where nothing is unknown."""
        diagonal = self._A.diagonal()
        return 1 / (self.cuts.most(float(diagonal.max()))[0] or 1.0) if diagonal.numel() else 1.0

    def blend(self, values: Tensor) -> Tensor:
        """Continue values at Dirichlet nodes into the box, shape ``(..., *nodes)``, :eq:`blending`.

        Those on the sides of the first axis all slabs are told.
        """
        cuts, place = self.cuts, self.cuts.place
        ends = self.whole.space.axes[0].ends
        rest, total = values.clone(), torch.zeros_like(values)
        here = [at for at, end in zip((0, -1), ends, strict=True) if end == "dirichlet"]
        if here:
            planes = torch.stack([values.select(place, at) for at in here])
            for i, at in enumerate(here):
                if (at == 0 and cuts.low) or (at == -1 and cuts.high):
                    planes[i].zero_()
            planes = cuts.summed(planes).unsqueeze(place)
            t = torch.from_numpy(self.whole.space.axes[0].places)
            rank = cuts.processes.rank
            t = sent(t[self.edges[rank] : self.edges[rank + 1] + 1], values.device, values.dtype)
            part = torch.lerp(planes[0], planes[-1], t.reshape(-1, *[1] * (-1 - place)))
            total, rest = total + part, rest - part
        first, *others = self.box.axes
        return total + Box([replace(first, ends=("natural", "natural")), *others]).blend(rest)


class SlabCycles(Cycles):
    """Multigrid cycles, and conjugate gradients that are preconditioned by them, over several processes."""

    system: SlabSystem

    @cached_property
    def measure(self) -> Measure:  # type: ignore[override]
        """How large vectors are."""
        return SharedMeasure(self.system.cuts.named("conjugate gradients"))

    def assembled(self, load: Tensor) -> Tensor:
        """Return a load with what others have of its unknowns."""
        return self.system.cuts.assemble(load.clone())

    @cached_property
    def _levels(self) -> list[Level]:
        A: SlabOperator = self.system.A  # type: ignore[assignment]
        with torch.no_grad():
            try:
                A = A.scaled(self.system.scale, torch.float32) if self.mixed else A
                return build_slab_levels(A, self.system.edges, self.options)
            except (torch.linalg.LinAlgError, np.linalg.LinAlgError, FloatingPointError):  # type: ignore[attr-defined]
                raise NonFiniteError from None
            except scipy.sparse.linalg.ArpackError:
                raise NonFiniteError from None

    @cached_property
    def _even(self) -> bool:
        A = self.system.A
        return not A.entire.flat and A.smooth

    @property
    def small(self) -> bool:
        """Whether SciPy is asked too; it is not."""
        return False

    def last_resort(self) -> Method | None:
        """Return nothing else."""
        return None
