"""Derivatives by Robin's alpha, against differences and against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import mgnet
from mgnet import Dirichlet, Neumann, Robin


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def line(**keywords: Any) -> Callable[[Tensor, Tensor], Tensor]:
    def u(low: Tensor, high: Tensor) -> Tensor:
        ends = {"left": Robin(low, 0.3), "right": Robin(high, -1.0)}
        return torch.as_tensor(mgnet.solve(lambda x: np.exp(x), **ends, **{"n": 7} | keywords).u)

    return u


def box(dim: int, **keywords: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Give the solution for alpha on two sides that share an edge with each other and with a given value."""

    def u(low: Tensor, high: Tensor) -> Tensor:
        sides = {
            "left": Robin(low, 0.2),
            "right": Neumann(1.0),
            "top": Robin(high, 0.1),
            "bottom": Dirichlet(0.7),
        }
        return torch.as_tensor(mgnet.solve(1.0, 3, dim=dim, boundary=sides, throw=False, **keywords).u)

    return u


CASES = {
    "uniform": line(),
    "reaction": line(c=2.0),
    "coefficients": line(a=np.linspace(1, 2, 7), c=np.linspace(0, 1, 8)),
    "nodes": line(n=None, nodes=np.linspace(0, 1, 8) ** 2),
    "direct": line(method="direct"),
    "plane": box(2, tol=1e-14),
    "plane, direct": box(2, method="direct"),
    "plane, coefficients": box(2, a=np.linspace(1, 2, 9).reshape(3, 3), c=1.5, tol=1e-14),
    "space": box(3, a=np.linspace(1, 2, 27).reshape(3, 3, 3), tol=1e-14),
}


@pytest.mark.parametrize("u", CASES.values(), ids=CASES)
def test_alpha_gets_a_gradient(u: Callable[..., Tensor]) -> None:
    assert gradcheck(u, (number(1.0), number(0.5)), atol=1e-5)
    # Nothing but derivatives depends on how alpha is given.
    np.testing.assert_allclose(
        u(number(1.0), number(0.5)).detach(), u(torch.tensor(1.0), torch.tensor(0.5)), rtol=1e-9
    )


@pytest.mark.parametrize("name", ["uniform", "coefficients", "plane"])
def test_second_derivatives_and_transforms(name: str) -> None:
    u = CASES[name]
    assert gradgradcheck(u, (number(1.0), number(0.5)), atol=1e-4)
    high = torch.tensor(0.5, dtype=torch.float64)
    alphas = torch.tensor([1.0, 2.0], dtype=torch.float64)
    many = torch.func.vmap(lambda low: u(low, high))(alphas)
    for row, alpha in zip(many, alphas, strict=True):
        torch.testing.assert_close(row, u(alpha, high), rtol=1e-8, atol=1e-10)
    forwards, backwards = (
        jac(lambda low: u(low, high))(alphas[0]) for jac in (torch.func.jacfwd, torch.func.jacrev)
    )
    torch.testing.assert_close(forwards, backwards, rtol=1e-7, atol=1e-9)


def test_an_alpha_of_zero_gets_a_gradient_too() -> None:
    """d/dα of u(1) = ½/(1 + α) for −u″ = 1, u(0) = 0: also where nothing of alpha is in the operator."""
    for dim in (1, 2):
        alpha = number(0.0)
        sides = {"left": Dirichlet(), "right": Robin(alpha)}
        sides |= {"bottom": Neumann(), "top": Neumann()} if dim == 2 else {}
        u = mgnet.solve(1.0, 4, dim=dim, boundary=sides).u
        at_end = u[-1] if dim == 1 else u[-1, 0]
        (slope,) = torch.autograd.grad(at_end, alpha)
        assert float(slope) == pytest.approx(-0.5, rel=1e-8)


def test_an_alpha_in_another_precision() -> None:
    alpha = torch.tensor(1.0, requires_grad=True)
    u = mgnet.solve(np.ones(9), 8, right=Robin(alpha)).u
    assert isinstance(u, Tensor)
    assert u.dtype == torch.float64
    (slope,) = torch.autograd.grad(u[-1], alpha)
    assert slope.dtype == torch.float32
    assert float(slope) == pytest.approx(-0.125)


def test_what_alpha_may_be() -> None:
    for bad in (-1.0, float("nan"), float("inf")):
        for kind in (float, number, np.float32):
            with pytest.raises(ValueError, match="^Robin alpha: got "):
                Robin(kind(bad))
    with pytest.raises(TypeError, match="^left: got Robin.* with alpha = .*; accepted: a number"):
        mgnet.solve(1.0, 4, left=Robin(torch.ones(3, requires_grad=True)))
