"""The system that is solved: an operator, the unknowns among the nodes, and the constants that it leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..operators import loops
from ..operators.contract import Operator
from ..poisson import assembly
from ..poisson.boundary import floating, may_float
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

    def forget(self) -> None:
        """Drop what is set up, until it is needed again."""
        self.__dict__ = Lazy.__getstate__(self)


def _floats(problem: Poisson) -> bool:
    """Say whether nothing holds the constants, where all numbers are known."""
    return problem.floats and not problem.c and not any(map(any, problem.alphas))


class System(Lazy):
    """A u = b on the unknowns of a problem, whose f is not used.

    A is its operator, or, by ``own``, another one. Of cells of a line that are alike the form says all, and A
    is assembled when it is first needed.
    """

    def __init__(
        self, problem: Poisson, dtype: torch.dtype, device: torch.device, own: Operator | None = None
    ) -> None:
        self.problem, self.dtype, self.device = problem, dtype, device
        self.whole = problem  # what it is a part of: itself
        self.own, self.box = own is not None, problem.space
        self.form = None if self.own else assembly.form(problem, dtype)
        self._A = own or (None if self.form else assembly.operator(problem, dtype, device))
        self.constants = self._constants()

    def _constants(self) -> Constants | None:
        """Give the constants that the system leaves open, of each piece of the domain."""
        if not self.problem.region.whole:
            pieces = floating(self.problem, self._A)
            return Constants(self.problem, pieces) if bool(pieces.any()) else None
        # A number is seen without a look at what is made of it, for which a GPU would be waited for.
        singular = may_float(self.problem) and self._A.singular if self._A else _floats(self.problem)
        return Constants(self.problem) if singular else None

    @property
    def A(self) -> Operator:
        """The operator."""
        if self._A is None:
            self._A = assembly.operator(self.problem, self.dtype, self.device)
        return self._A

    @property
    def numbers(self) -> tuple[Tensor, ...]:
        """The tensors in A that derivatives can be taken by."""
        return () if self._A is None else self._A.numbers

    @classmethod
    def of(cls, problem: Poisson, A: Operator) -> System:
        """Return a system with an operator of its own."""
        return cls(problem, A.like["dtype"], torch.device(A.like["device"]), A)

    @property
    def double(self) -> System:
        """The same in float64; assembled there, unless the operator is not the problem's own."""
        return self if self.dtype == torch.float64 else self._double  # to keep itself would keep it for long

    @cached_property
    def _double(self) -> System:
        if self.own:
            return self.replaced(*(number.double() for number in self.A.numbers))
        return System(self.problem, torch.float64, self.device)

    def replaced(self, *numbers: Tensor) -> System:
        """Return the system with other numbers in A."""
        return System.of(self.problem, self.A.replaced(*numbers))

    @cached_property
    def factorised(self) -> Callable[[Tensor], Tensor]:
        """SciPy's solver: from loads to values at the unknowns, shape ``(batch, *unknowns)``, in float64."""
        pieces = self.constants.pieces if self.constants else None
        return factorised(self.A, self.problem.floats, pieces)

    @cached_property
    def scale(self) -> float:
        """The reciprocal of the largest diagonal entry; 1 where nothing is unknown."""
        diagonal = self.A.diagonal()
        # A lone joined node may have nothing on it.
        return 1 / (float(loops.plain(diagonal).max()) or 1.0) if diagonal.numel() else 1.0

    def remove_mean(self, u: Tensor) -> Tensor:
        """Take the mean off nodal values, shape ``(batch, *nodes)``, where the problem leaves it open."""
        return self.constants.remove(u) if self.constants else u

    def balanced(self, r: Tensor) -> Tensor:
        """Take off residuals, ``(batch, 1, *unknowns)``, what rounding leaves of their sums in pieces."""
        if not self.constants or not self.A.gaps:
            return r
        return self.constants.project(r[:, 0])[:, None]

    def blend(self, values: Tensor) -> Tensor:
        """Continue values at Dirichlet nodes into the box, shape ``(..., *nodes)``, :eq:`blending`."""
        return self.box.blend(values)

    def without_mean(self, x: Tensor) -> Tensor:
        """Take the mean off unknowns, shape ``(batch, 1, *unknowns)``, where the problem leaves it open.

        What cycles write at unknowns that have no equation goes as well.
        """
        x = self.A.kept(x)
        if not self.constants:
            return x
        return self.box.unknowns(self.constants.remove(self.box.nodes(x[:, 0])))[:, None]
