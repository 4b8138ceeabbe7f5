"""Derivatives of a linear solve by one more solve, :eq:`adjoint`: nothing of the iteration is recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core.arrays import require_finite
from ..poisson.assembly import Load
from ..poisson.boundary import Held
from .method import Found, Method, attempt
from .solution import ConvergenceError, Solution
from .stopping import Status, Stopping

__all__ = ["LinearSolve", "Solving"]


class Solvable(Protocol):
    """A symmetric system whose operator depends on tensors of numbers."""

    def solve(self, b: Tensor, numbers: tuple[Tensor, ...]) -> Tensor:
        """Return u of A(numbers) u = b, shape ``(..., *unknowns)``."""

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A(numbers) u by the numbers, with the batch axes of v and u."""


class LinearSolve(torch.autograd.Function):
    """u of A u = b as a function of b and of the numbers in A, with derivatives of any order, and vmap."""

    @staticmethod
    def forward(system: Solvable, b: Tensor, *numbers: Tensor) -> Tensor:
        """Solve."""
        return system.solve(b, numbers)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the solution and the numbers: the memory of one solution, whatever the iteration took."""
        ctx.system, _, *numbers = inputs
        ctx.save_for_backward(output, *numbers)
        ctx.save_for_forward(output, *numbers)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Solve once more: A λ = gradient; then db = λ, and dA = −λ uᵀ."""
        u, *numbers = ctx.saved_tensors
        adjoint = LinearSolve.apply(ctx.system, gradient, *numbers)  # eq: adjoint
        if not numbers:
            return None, adjoint
        of_numbers = [
            -energy.flatten(0, energy.ndim - number.ndim - 1).sum(0) if energy.ndim > number.ndim else -energy
            for energy, number in zip(ctx.system.energies(adjoint, u), numbers, strict=True)
        ]
        return None, adjoint, *of_numbers

    @staticmethod
    def jvp(ctx: Any, _: None, db: Tensor | None, *changes: Tensor | None) -> Tensor:
        """Solve once more, forwards: A du = db − dA u."""
        u, *numbers = ctx.saved_tensors
        load = torch.zeros_like(u) if db is None else db
        if any(change is not None for change in changes):
            # v · dA u is linear in v, hence dA u is its gradient.
            found: Any = torch.func.vjp(lambda v: ctx.system.energies(v, u), u)
            energies, pull = found
            whole = [
                torch.zeros_like(energy) if change is None else change.expand_as(energy)
                for change, energy in zip(changes, energies, strict=True)
            ]
            load = load - pull(tuple(whole))[0]
        return LinearSolve.apply(ctx.system, load, *numbers)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], system: Solvable, b: Tensor, *numbers: Tensor) -> Any:
        """Solve many right-hand sides at once; many operators one after the other."""
        _, b_dim, *dims = in_dims
        if all(dim is None for dim in dims):
            return LinearSolve.apply(system, b.movedim(b_dim, 0), *numbers), 0
        solutions = []
        for i in range(info.batch_size):
            b_i = b if b_dim is None else b.select(b_dim, i)
            own = [
                number if dim is None else number.select(dim, i)
                for number, dim in zip(numbers, dims, strict=True)
            ]
            solutions.append(LinearSolve.apply(system, b_i, *own))
        return torch.stack(solutions), 0


class Solving:
    """A method as the system of :class:`mgnet.solver.adjoint.LinearSolve`.

    On the way forward, until ``leave``, it knows the load and the first guess, and notes how it ended. What
    comes after that are derivatives.
    """

    def __init__(self, method: Method, stopping: Stopping, load: Load, x0: Any) -> None:
        self.method, self.stopping, self.x0 = method, stopping, x0
        self.load: Load | None = load
        self.found: Found | None = None

    def leave(self) -> Found:
        """Say how the way forward ended, and forget everything that derivatives do not need."""
        found = self.found
        assert found is not None
        self.load = self.x0 = self.found = None
        return found

    def solve(self, b: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        """Return u of A(numbers) u = b, shape ``(..., *unknowns)``."""
        method = self._with(numbers) if numbers else self.method
        system, shape = method.system, method.system.box.shape
        rows = b.detach().reshape(math.prod(b.shape[: b.ndim - len(shape)]), *shape)
        found = attempt(
            method,
            rows,
            Held(system.box),
            self.x0,
            self.stopping,
            lambda constants: constants.project(rows),
            lambda: self._blame(rows),
        )
        u, outcome, _ = found
        if self.load is None and self.stopping.throw and outcome.status is not Status.CONVERGED:
            name = self.method.options.method
            raise ConvergenceError(Solution(u, system.problem.grids, outcome, method=name))
        if self.load is not None and (self.found is None or self.found.outcome.status is Status.CONVERGED):
            # Of many operators the last counts, or the first that did not converge.
            self.found = found
        # In memory of its own, since the graph keeps it.
        return system.box.unknowns(u).clone(memory_format=torch.contiguous_format).reshape(b.shape)

    def _with(self, numbers: Sequence[Tensor]) -> Method:
        """Give the method for other numbers in A."""
        return type(self.method)(self.method.system.replaced(*numbers), self.method.options)

    def _blame(self, rows: Tensor) -> None:
        """Name what is not finite: the data, or a gradient that came back."""
        if self.load is None:
            require_finite("gradient", rows)
        elif self.load.given is not None:
            require_finite(self.load.name, self.load.given)

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A u by the numbers."""
        return self.method.system.A.energies(v, u)
