"""The system that is solved: an operator, the unknowns among the nodes, and the constants that it leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..operators.contract import Operator
from ..poisson import assembly
from ..poisson.constants import Constants
from ..poisson.problem import Poisson
from .factorised import factorised

__all__ = ["Lazy", "System"]


class Lazy:
    """What is set up when it is first needed, and set up again in a copy: factorisations cannot be copied."""

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in self.__dict__.items()
            if not isinstance(getattr(type(self), name, None), cached_property)
        }


class System(Lazy):
    """A u = b on the unknowns of a problem, whose f is not used.

    A is its operator, or, by ``own``, another one.
    """

    def __init__(self, problem: Poisson, A: Operator, own: bool = False) -> None:
        self.problem, self.A, self.own = problem, A, own
        self.box = problem.space
        like = A.like
        self.dtype, self.device = like["dtype"], torch.device(like["device"])
        self.constants = Constants(problem) if A.singular else None

    @classmethod
    def of(cls, problem: Poisson, dtype: torch.dtype, device: torch.device) -> System:
        """Return that of a problem, its operator assembled."""
        return cls(problem, assembly.operator(problem, dtype, device))

    @cached_property
    def double(self) -> System:
        """The same in float64; assembled there, unless the operator is not the problem's own."""
        if self.dtype == torch.float64:
            return self
        if self.own:
            return self.replaced(*(number.double() for number in self.A.numbers))
        return System.of(self.problem, torch.float64, self.device)

    def replaced(self, *numbers: Tensor) -> System:
        """Return the system with other numbers in A."""
        return System(self.problem, self.A.replaced(*numbers), own=True)

    @cached_property
    def factorised(self) -> Callable[[Tensor], Tensor]:
        """SciPy's solver: from loads to values at the unknowns, shape ``(batch, *unknowns)``, in float64."""
        return factorised(self.A, self.problem.floats)

    @cached_property
    def scale(self) -> float:
        """The reciprocal of the largest diagonal entry; 1 where nothing is unknown."""
        diagonal = self.A.diagonal()
        # A lone joined node may have nothing on it.
        return 1 / (float(diagonal.max()) or 1.0) if diagonal.numel() else 1.0

    def remove_mean(self, u: Tensor) -> Tensor:
        """Take the mean off nodal values, shape ``(batch, *nodes)``, where the problem leaves it open."""
        return self.constants.remove(u) if self.constants else u

    def without_mean(self, x: Tensor) -> Tensor:
        """Take the mean off unknowns, shape ``(batch, 1, *unknowns)``, where the problem leaves it open."""
        if not self.constants:
            return x
        return self.box.unknowns(self.constants.remove(self.box.nodes(x[:, 0])))[:, None]
