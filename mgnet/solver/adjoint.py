"""Derivatives of a linear solve by one more solve, :eq:`adjoint`: nothing of the iteration is recorded."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["LinearSolve"]


class System(Protocol):
    """A symmetric system whose operator depends on tensors of numbers."""

    def solve(self, b: Tensor, numbers: tuple[Tensor, ...]) -> Tensor:
        """Return u of A(numbers) u = b, shape (..., *unknowns)."""

    def energies(self, v: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """Return the derivatives of v · A(numbers) u by the numbers, with the batch axes of v and u."""


class LinearSolve(torch.autograd.Function):
    """u of A u = b as a function of b and of the numbers in A, with derivatives of any order, and vmap."""

    @staticmethod
    def forward(system: System, b: Tensor, *numbers: Tensor) -> Tensor:
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
    def vmap(info: Any, in_dims: tuple[Any, ...], system: System, b: Tensor, *numbers: Tensor) -> Any:
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
