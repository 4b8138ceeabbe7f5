"""Gradients through ``solve``: against differences, against autograd of a dense solve, and what they cost."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, vmap

import mgnet
from mgnet import ConvergenceError, Dirichlet, Neumann, Robin, Status
from mgnet.multigrid.exact import Condensation
from mgnet.poisson import quadrature

METHODS = ("auto", "exact", "vcycle", "fmg", "pcg", "direct") + tuple(
    pytest.param(name, marks=pytest.mark.slow) for name in ("wcycle", "fcycle")
)
F64 = torch.float64
# An iteration must be closer to its limit than a finite difference can see.
TIGHT = {"tol": 1e-13}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def positive(*shape: int, seed: int = 0) -> Tensor:
    return 0.5 + torch.rand(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=F64)


def leaves(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.detach().clone().requires_grad_() for x in tensors)


def solved(f: Any = None, **keywords: Any) -> Any:
    return mgnet.solve(f, **keywords).u


N = 5
X = np.array([0.0, 0.1, 0.35, 0.6, 0.95, 1.3])
# Data whose mean is zero, whatever the vector; the mean is with the weights of the trapezoidal rule.
WITHOUT_MEAN = torch.eye(N, dtype=F64) - 1 / N
TRAPEZOIDS = torch.tensor([0.5, 1, 1, 1, 1, 0.5], dtype=F64) / N


def on_a_line(**keywords: Any) -> Callable[..., Tensor]:
    return lambda f, a, c: solved(f, n=N, a=a, c=c, **keywords)


# Every kind of data in one dimension: a function of tensors, and the tensors.
LINE: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "f a number": (lambda f: solved(f, n=N), (number(1.5),)),
    "f and a numbers": (lambda f, a: solved(f, n=N, a=a), (number(1.5), number(0.7))),
    "f a number, c constant": (lambda f: solved(f, n=N, c=2.0, right=Robin(1.0)), (number(1.5),)),
    "f": (lambda f: solved(f, n=N), (normal(N + 1),)),
    "f and a": (lambda f, a: solved(f, n=N, a=a), (normal(N + 1), positive(N))),
    "f, a, c": (on_a_line(), (normal(N + 1), positive(N), positive(N + 1))),
    "consistent load": (on_a_line(load="exact"), (normal(N + 1), positive(N), positive(N + 1))),
    "a and c numbers": (on_a_line(), (normal(N + 1), number(0.7), number(1.2))),
    "b": (lambda b: solved(b=b, n=N), (normal(N - 1),)),
    "b and a": (lambda b, a: solved(b=b, n=N, a=a, right=Neumann(0.3)), (normal(N), positive(N))),
    "Dirichlet": (
        lambda a, g, q: solved(n=N, a=a, left=Dirichlet(g), right=Dirichlet(q)),
        (positive(N), number(0.3), number(-0.4)),
    ),
    "Dirichlet alone": (lambda g: solved(n=N, left=Dirichlet(g)), (number(0.3),)),
    "Dirichlet and Neumann": (
        lambda f, a, g, q: solved(f, n=N, a=a, left=Dirichlet(g), right=Neumann(q)),
        (normal(N + 1), positive(N), number(0.3), number(0.7)),
    ),
    "Robin": (
        lambda f, a, g, q: solved(f, n=N, a=a, left=Robin(1.5, g), right=Robin(0.5, q)),
        (normal(N + 1), positive(N), number(0.3), number(0.7)),
    ),
    "Neumann and c": (
        lambda f, c, g: solved(f, n=N, c=c, left=Neumann(g), right=Neumann()),
        (normal(N + 1), positive(N + 1), number(0.3)),
    ),
    "given nodes": (
        lambda f, a, c, g: solved(f, nodes=X, a=a, c=c, left=Dirichlet(g), right=Robin(2.0, 0.1)),
        (normal(N + 1), positive(N), positive(N + 1), number(0.3)),
    ),
    "given nodes, consistent": (lambda f: solved(f, nodes=X, load="exact"), (normal(N + 1),)),
    "periodic": (lambda f, a: solved(f @ WITHOUT_MEAN, n=N, periodic=True, a=a), (normal(N), positive(N))),
    "periodic and c": (lambda f, c: solved(f, n=N, periodic=True, c=c), (normal(N), positive(N + 1))),
    "Neumann": (
        lambda f, a, q: solved(
            f - TRAPEZOIDS @ f - q, n=N, a=a, left=Neumann(q / 3), right=Neumann(2 * q / 3)
        ),
        (normal(N + 1), positive(N), number(0.3)),
    ),
    "batch": (lambda f, a: solved(f, n=N, a=a), (normal(2, 3, N + 1), positive(N))),
    "functions": (
        lambda p, q, r: solved(
            lambda x: torch.sin(p * torch.as_tensor(x)),
            n=N,
            a=lambda x: torch.exp(q * torch.as_tensor(x)),
            c=lambda x: r * torch.as_tensor(x) ** 2,
        ),
        (number(1.2), number(0.5), number(2.0)),
    ),
    "function, lumped": (
        lambda p: solved(
            lambda x: torch.sin(p * torch.as_tensor(x)), n=N, load="nodal", periodic=True, c=1.0
        ),
        (number(1.2),),
    ),
    "one cell": (
        lambda f, a, g: solved(f, n=1, a=a, left=Dirichlet(g)),
        (normal(2), positive(1), number(0.3)),
    ),
    "one cell, Robin": (
        lambda f, a, g: solved(f, n=1, a=a, left=Robin(1.0, g)),
        (normal(2), positive(1), number(0.3)),
    ),
}


@pytest.mark.parametrize("name", LINE)
def test_first_and_second_derivatives_on_a_line(name: str) -> None:
    function, inputs = LINE[name]
    inputs = leaves(*inputs)
    assert gradcheck(function, inputs, check_forward_ad=True)
    assert gradgradcheck(function, inputs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("varying", [False, True])
def test_derivatives_by_every_method(method: str, varying: bool) -> None:
    tol = {} if method in ("auto", "exact", "direct") else TIGHT
    right = Robin(1.0, 0.2)
    f, a, g = leaves(normal(2, 9), positive(8), number(0.4))

    def function(f: Tensor, g: Tensor, a: Any = 1.0) -> Tensor:
        return solved(f, n=8, a=a, left=Dirichlet(g), right=right, method=method, **tol)

    inputs = (f, g, a) if varying else (f, g)
    # The fast mode checks a random combination of all entries instead of each.
    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)


NODES = {2: (4, 5), 3: (4, 3, 3)}
CELLS = {2: (3, 4), 3: (3, 2, 2)}


def in_a_box(dim: int, **keywords: Any) -> dict[str, Any]:
    return {
        "n": CELLS[dim],
        "dim": dim,
        "domain": ((0.0, 1.5),) + ((0.0, 1.0),) * (dim - 1),
        **TIGHT,
        **keywords,
    }


def box_cases(dim: int) -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
    nodes, cells = NODES[dim], CELLS[dim]
    f, a, c, g = normal(*nodes), positive(*cells), positive(*nodes), normal(*nodes, seed=1)
    side = normal(*nodes[1:])
    weights = torch.ones(nodes, dtype=F64)
    for axis, size in enumerate(nodes):
        ends = torch.tensor([0.5, *[1.0] * (size - 2), 0.5], dtype=F64) / (size - 1)
        weights = weights * ends.reshape([-1 if i == axis else 1 for i in range(dim)])
    periodic = (True,) + (False,) * (dim - 1)

    def all_kinds(f: Tensor, a: Any, c: Any, g: Tensor, side: Tensor, q: Tensor) -> Tensor:
        sides = {
            "left": Neumann(side),
            "right": Dirichlet(g[-1]),
            "top": Robin(0.5, q),
            "bottom": Robin(1.0, g),
        }
        return solved(f, a=a, c=c, boundary=sides, **in_a_box(dim))

    def functions(p: Tensor, q: Tensor) -> Tensor:
        def g(*x: Any) -> Tensor:
            return p * torch.as_tensor(x[0]) * torch.as_tensor(x[1])

        return solved(
            lambda *x: torch.cos(q * torch.as_tensor(x[0])) + 0 * torch.as_tensor(x[1]),
            a=lambda *x: 1 + q**2 * torch.as_tensor(x[1]),
            boundary={"left": Dirichlet(g), "top": Neumann(g), "bottom": Robin(1.0, g)},
            **in_a_box(dim),
        )

    return {
        "f a number": (lambda f: solved(f, **in_a_box(dim)), (number(1.5),)),
        "f": (lambda f: solved(f, **in_a_box(dim)), (f,)),
        "b": (lambda b: solved(b=b, **in_a_box(dim)), (f[(slice(1, -1),) * dim],)),
        "consistent load": (lambda f: solved(f, load="exact", **in_a_box(dim)), (f,)),
        "Dirichlet": (lambda g: solved(boundary=Dirichlet(g), **in_a_box(dim)), (g,)),
        "Dirichlet a number": (lambda g: solved(boundary=Dirichlet(g), **in_a_box(dim)), (number(0.3),)),
        "Dirichlet a function": (
            lambda p: solved(
                boundary=Dirichlet(lambda *x: p * torch.as_tensor(x[0]) + 0 * torch.as_tensor(x[1])),
                **in_a_box(dim),
            ),
            (number(0.3),),
        ),
        "numbers": (
            lambda f, a, c: solved(f, a=a, c=c, right=Neumann(0.1), **in_a_box(dim)),
            (f, number(0.7), number(1.2)),
        ),
        "all kinds": (all_kinds, (f, a, c, g, side, number(0.4))),
        "all kinds, constant a": (lambda *x: all_kinds(x[0], 0.7, 1.2, *x[1:]), (f, g, side, number(0.4))),
        "functions": (functions, (number(0.6), number(0.8))),
        "periodic axis": (
            lambda f, a: solved(f, a=a, periodic=periodic, **in_a_box(dim)),
            (f[1:], a),
        ),
        "all periodic": (
            lambda f, a: solved(f - f.mean(), a=a, periodic=True, **in_a_box(dim)),
            (f[(slice(1, None),) * dim], a),
        ),
        "Neumann": (
            lambda f, a, q: solved(
                f - (weights * f).sum(),
                a=a,
                boundary={
                    name: Neumann(q if name == "left" else -q if name == "right" else 0.0)
                    for name in ("left", "right", "bottom", "top", "back", "front")[: 2 * dim]
                },
                **in_a_box(dim),
            ),
            (f, a, number(0.3)),
        ),
    }


@pytest.mark.parametrize(
    ("dim", "name"),
    [(2, name) for name in box_cases(2)]
    + [pytest.param(3, name, marks=() if name == "functions" else pytest.mark.slow) for name in box_cases(3)],
    ids=str,
)
def test_first_and_second_derivatives_in_a_box(dim: int, name: str) -> None:
    function, inputs = box_cases(dim)[name]
    inputs = leaves(*inputs)
    assert gradcheck(function, inputs, fast_mode=True, atol=1e-6, check_forward_ad=True)
    assert gradgradcheck(function, inputs, fast_mode=True, atol=1e-6)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "exact"])
@pytest.mark.parametrize("varying", [False, True])
def test_derivatives_by_every_method_in_the_plane(method: str, varying: bool) -> None:
    f, g, a = leaves(normal(2, 5, 5), normal(5, 5, seed=1), positive(4, 4))
    tol = {} if method == "direct" else TIGHT

    def function(f: Tensor, g: Tensor, a: Any = 1.0) -> Tensor:
        return solved(f, n=4, dim=2, a=a, boundary=Dirichlet(g), method=method, **tol)

    inputs = (f, g, a) if varying else (f, g)
    assert gradcheck(function, inputs, fast_mode=True, atol=1e-6)
    assert gradgradcheck(function, inputs, fast_mode=True, atol=1e-6)


# Against a dense matrix that torch differentiates by itself.


def assembled(cells: tuple[int, ...], elements: Tensor) -> Tensor:
    """Add up element matrices, shape (*cells, corners, corners), one after the other."""
    nodes = tuple(n + 1 for n in cells)
    numbers = np.arange(math.prod(nodes)).reshape(nodes)
    corners = list(itertools.product((0, 1), repeat=len(cells)))
    A = torch.zeros(math.prod(nodes), math.prod(nodes), dtype=F64)
    for cell in np.ndindex(*cells):
        at = torch.tensor([int(numbers[tuple(np.add(cell, corner))]) for corner in corners])
        place = torch.zeros(len(at), len(A), dtype=F64)
        place[torch.arange(len(at)), at] = 1
        A = A + place.T @ elements[cell] @ place
    return A


def held_solution(A: Tensor, b: Tensor, held: Tensor, g: Tensor) -> Tensor:
    """Solve where some nodes are held: their rows are those of the unit matrix."""
    unit = torch.eye(len(A), dtype=F64)
    rows = torch.where(held[:, None], unit, A)
    return torch.linalg.solve(rows, torch.where(held, g, b))


@pytest.mark.parametrize("load", ["nodal", "exact"])
def test_gradients_on_a_line_are_those_of_a_dense_solve(load: str) -> None:
    h = torch.from_numpy(np.diff(X))
    f, a, c, g, q = normal(N + 1), positive(N), positive(N + 1), number(0.3), number(0.7)
    w = normal(N + 1, seed=3)

    def by_mgnet(f: Tensor, a: Tensor, c: Tensor, g: Tensor, q: Tensor) -> Tensor:
        return solved(f, nodes=X, a=a, c=c, left=Dirichlet(g), right=Robin(2.0, q), load=load)

    def by_torch(f: Tensor, a: Tensor, c: Tensor, g: Tensor, q: Tensor) -> Tensor:
        stiff = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=F64)
        low, high = c[:-1], c[1:]
        mixed = (low + high) / 12
        rows = [torch.stack((low / 4 + high / 12, mixed), -1), torch.stack((mixed, low / 12 + high / 4), -1)]
        last = torch.eye(N + 1, dtype=F64)[-1]
        A = assembled((N,), (a / h)[:, None, None] * stiff) + 2.0 * torch.outer(last, last)
        weights = (torch.cat((h, h.new_zeros(1))) + torch.cat((h.new_zeros(1), h))) / 2
        mass = assembled((N,), h[:, None, None] * torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=F64) / 6)
        b = (weights * f if load == "nodal" else mass @ f) + q * last
        of_c = assembled((N,), h[:, None, None] * torch.stack(rows, -2))
        A = A + (torch.diag(weights * c) if load == "nodal" else of_c)
        held = torch.arange(N + 1) == 0
        return held_solution(A, b, held, g.expand(N + 1))

    compare(by_mgnet, by_torch, (f, a, c, g, q), w)  # eq: adjoint


@pytest.mark.parametrize("load", ["nodal", "exact"])
@pytest.mark.parametrize("dim", [2, 3])
def test_gradients_in_a_box_are_those_of_a_dense_solve(dim: int, load: str) -> None:
    cells, nodes = CELLS[dim], NODES[dim]
    h = [1.0 / n for n in cells]
    f, a, c, g, q = (
        normal(*nodes),
        positive(*cells),
        positive(*nodes),
        normal(*nodes, seed=1),
        normal(*nodes[1:]),
    )
    names = ("left", "right", "bottom", "top", "back", "front")[: 2 * dim]

    def by_mgnet(f: Tensor, a: Tensor, c: Tensor, g: Tensor, q: Tensor) -> Tensor:
        sides = {name: Dirichlet(g) for name in names}
        sides |= {"left": Robin(1.5, q), "right": Dirichlet(g[-1])}
        return solved(f, n=cells, dim=dim, a=a, c=c, boundary=sides, method="direct", load=load)

    def by_torch(f: Tensor, a: Tensor, c: Tensor, g: Tensor, q: Tensor) -> Tensor:
        K = [np.array([[1.0, -1.0], [-1.0, 1.0]]) / width for width in h]
        M = [np.array([[2.0, 1.0], [1.0, 2.0]]) * width / 6 for width in h]

        def product(factors: list[np.ndarray]) -> Tensor:
            whole = np.ones((1, 1))
            for factor in factors:
                whole = np.kron(whole, factor)
            return torch.from_numpy(whole)

        stiff = sum(product([*M[:i], K[i], *M[i + 1 :]]) for i in range(dim))
        mass = product(M)
        side = product([np.array([[1.0, 0.0], [0.0, 0.0]]), *M[1:]])
        # The function through nodal values c, hat by hat, against products of two.
        of_hat = [np.array([[[3.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 3.0]]]) * width / 12 for width in h]
        weights = [
            torch.from_numpy(np.convolve(np.full(n, width / 2), [1, 1]))
            for n, width in zip(cells, h, strict=True)
        ]
        at_left = torch.zeros(cells, dtype=F64)
        at_left[0] = 1

        def whole(weights: Tensor, element: Any) -> Tensor:
            return assembled(cells, weights[..., None, None] * element)

        on_side = whole(at_left, side)
        A = whole(a, stiff) + 1.5 * on_side
        q_nodes = torch.cat((q[None], q.new_zeros(nodes[0] - 1, *nodes[1:])))
        if load == "nodal":
            lumped, *on_left = (
                torch.stack(torch.meshgrid(*some, indexing="ij")).prod(0) for some in (weights, weights[1:])
            )
            A = A + torch.diag((lumped * c).flatten())
            flux = torch.cat((on_left[0][None], q.new_zeros(nodes[0] - 1, *nodes[1:]))) * q_nodes
            b = (lumped * f + flux).flatten()
        else:
            for corner in itertools.product((0, 1), repeat=dim):
                at = c[tuple(slice(low, low + n) for low, n in zip(corner, cells, strict=True))]
                A = A + whole(at, product([of_hat[i][high] for i, high in enumerate(corner)]))
            b = whole(torch.ones(cells, dtype=F64), mass) @ f.flatten() + on_side @ q_nodes.flatten()
        held = torch.zeros(nodes, dtype=torch.bool)
        held[-1] = True
        for axis in range(1, dim):
            held.select(axis, 0).fill_(True)
            held.select(axis, -1).fill_(True)
        return held_solution(A, b, held.flatten(), g.flatten()).reshape(nodes)

    compare(by_mgnet, by_torch, (f, a, c, g, q), normal(*nodes, seed=3))


def compare(
    one: Callable[..., Tensor], other: Callable[..., Tensor], inputs: tuple[Tensor, ...], w: Tensor
) -> None:
    """Compare values, gradients, and the gradients of a product with gradients."""
    found = []
    for function in (one, other):
        x = leaves(*inputs)
        u = function(*x)
        first = torch.autograd.grad((w * u + u**2).sum(), x, create_graph=True)
        directions = [normal(*g.shape, seed=7) for g in first]
        second = torch.autograd.grad(sum((d * g).sum() for d, g in zip(directions, first, strict=True)), x)
        found.append((u, *first, *second))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10 * float(theirs.detach().abs().max()))


def test_a_problem_without_a_fixed_value_has_the_gradient_of_the_bordered_system() -> None:
    """Data that are not compatible lose their mean, and u has none: one Lagrange multiplier says both."""
    a, f = positive(N), normal(N + 1)
    f = f - TRAPEZOIDS @ f
    stiff = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=F64)
    weights = TRAPEZOIDS[:, None]

    def bordered(f: Tensor, a: Tensor) -> Tensor:
        A = assembled((N,), N * a[:, None, None] * stiff)
        whole = torch.cat((torch.cat((A, weights), 1), torch.cat((weights.T, A.new_zeros(1, 1)), 1)))
        return torch.linalg.solve(whole, torch.cat((TRAPEZOIDS * f, A.new_zeros(1))))[:-1]

    def by_mgnet(f: Tensor, a: Tensor) -> Tensor:
        return solved(f, n=N, a=a, left=Neumann(), right=Neumann())

    compare(by_mgnet, bordered, (f, a), normal(N + 1, seed=3))


# torch.func.


@pytest.mark.parametrize("name", LINE)
def test_jacobians_are_the_same_backwards_and_forwards(name: str) -> None:
    function, inputs = LINE[name]
    arguments = tuple(range(len(inputs)))
    backwards = jacrev(function, arguments)(*inputs)
    expected = torch.autograd.functional.jacobian(function, inputs)
    for mine, theirs, forwards in zip(backwards, expected, jacfwd(function, arguments)(*inputs), strict=True):
        torch.testing.assert_close(mine, theirs)
        torch.testing.assert_close(forwards, theirs)


@pytest.mark.parametrize("name", ["all kinds", "functions", "periodic axis", "Neumann"])
def test_jacobians_in_the_plane(name: str) -> None:
    function, inputs = box_cases(2)[name]
    arguments = tuple(range(len(inputs)))
    backwards = jacrev(function, arguments)(*inputs)
    for mine, theirs in zip(backwards, jacfwd(function, arguments)(*inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["f, a, c", "Dirichlet and Neumann", "periodic", "Neumann", "functions"])
def test_a_hessian_is_symmetric_and_the_same_in_every_order(name: str) -> None:
    function, inputs = LINE[name]

    def loss(x: Tensor) -> Tensor:
        parts = x.split([part.numel() for part in inputs])
        return (function(*(p.reshape(like.shape) for p, like in zip(parts, inputs, strict=True))) ** 2).sum()

    x = torch.cat([part.flatten() for part in inputs])
    H = jacrev(jacrev(loss))(x)
    torch.testing.assert_close(H, H.T)
    assert float(H.abs().max()) > 1e-3
    torch.testing.assert_close(H, torch.autograd.functional.hessian(loss, x))
    torch.testing.assert_close(H, hessian(loss)(x))


def batched(inputs: tuple[Tensor, ...], which: tuple[int, ...], rows: int = 3) -> tuple[tuple[Any, ...], ...]:
    """Give inputs of which some have a leading batch, and the axes that ``vmap`` wants to know."""
    many = [
        torch.stack([x * (1 + 0.2 * row) for row in range(rows)]) if i in which else x
        for i, x in enumerate(inputs)
    ]
    return tuple(many), tuple(0 if i in which else None for i in range(len(inputs)))


def row_by_row(function: Callable[..., Tensor], inputs: tuple[Any, ...], dims: tuple[Any, ...]) -> Tensor:
    rows = next(len(x) for x, dim in zip(inputs, dims, strict=True) if dim == 0)
    return torch.stack(
        [
            torch.as_tensor(
                function(*(x if dim is None else x[row] for x, dim in zip(inputs, dims, strict=True)))
            )
            for row in range(rows)
        ]
    )


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_functions_evaluated_piece_by_piece(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many quadrature points exist a few at a time; derivatives by what a function refers to are the same."""

    def total(p: Tensor) -> Tensor:
        def f(*x: Any) -> Tensor:
            return p[0] * torch.as_tensor(np.exp(sum(x)))

        def a(*x: Any) -> Tensor:
            return 1 + p[1] ** 2 * torch.as_tensor(x[0] ** 2 + sum(x))

        def c(*x: Any) -> Tensor:
            return p[2] ** 2 * torch.as_tensor(1 + sum(x))

        return solved(f, n=7, dim=dim, a=a, c=c, **({} if dim == 1 else TIGHT)).square().sum()

    p = normal(3, 3)
    whole = vmap(total)(p), jacrev(total)(p[0]), jacfwd(total)(p[0]), total(p[0])
    monkeypatch.setattr(quadrature, "MOST", 1)
    pieces = vmap(total)(p), jacrev(total)(p[0]), jacfwd(total)(p[0]), total(p[0])
    for found, expected in zip(pieces, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    (gradient,) = torch.autograd.grad(total(q := p[0].clone().requires_grad_()), q)
    torch.testing.assert_close(gradient, whole[1], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", LINE)
def test_vmap_over_any_of_the_data_on_a_line(name: str) -> None:
    function, inputs = LINE[name]
    arguments = range(len(inputs))
    for which in [(i,) for i in arguments] + [tuple(arguments)]:
        many, dims = batched(inputs, which)
        expected = row_by_row(function, many, dims)
        torch.testing.assert_close(vmap(function, dims)(*many), expected)


@pytest.mark.parametrize(
    "name", ["all kinds", "all kinds, constant a", "functions", "periodic axis", "Neumann", "b"]
)
def test_vmap_over_any_of_the_data_in_the_plane(name: str) -> None:
    function, inputs = box_cases(2)[name]
    arguments = range(len(inputs))
    for which in [(i,) for i in arguments] + [tuple(arguments)]:
        many, dims = batched(inputs, which, 2)
        expected = row_by_row(function, many, dims)
        torch.testing.assert_close(vmap(function, dims)(*many), expected, rtol=1e-9, atol=1e-11)


def test_vmap_over_f_is_one_solve_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    u = vmap(lambda f: solved(f, n=N))(normal(7, N + 1))
    assert u.shape == (7, N + 1)
    assert calls == [7]


FIXED: dict[str, dict[str, Any]] = {
    "uniform": {"n": N},
    "nodes": {"nodes": X},
    "nodes in torch": {"nodes": torch.from_numpy(X)},
    "arrays": {"n": N, "a": positive(N).numpy(), "c": positive(N + 1).numpy(), "right": Robin(1.0, 0.3)},
    "functions": {"n": N, "a": lambda x: 1 + x * x, "c": 2.0},
    "plane": {
        "n": N,
        "dim": 2,
        "boundary": {"left": Neumann(np.arange(6.0)), "top": Dirichlet([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])},
    },
    "plane, arrays": {"n": N, "dim": 2, "a": positive(N, N).numpy(), "right": Dirichlet(positive(6))},
}


@pytest.mark.parametrize("method", ["auto", "vcycle", "fmg", "pcg", "direct"])
@pytest.mark.parametrize("name", FIXED)
def test_transforms_where_other_data_stay_as_they_are(name: str, method: str) -> None:
    """What is new inside of ``torch.func`` is wrapped, and NumPy cannot look at it."""
    keywords = {"method": method, **FIXED[name]} | ({} if method in ("auto", "direct") else {"tol": 1e-12})
    dim = keywords.get("dim", 1)
    f = normal(*[N + 1] * dim)
    points = torch.linspace(0.3, 0.9, 3, dtype=F64)

    def function(f: Tensor) -> Tensor:
        sol = mgnet.solve(f, **keywords)
        assert "CONVERGED" in repr(sol)
        return torch.cat((sol(*[points] * dim), sol.derivative(*[points] * dim).flatten(), sol.u.flatten()))

    expected = torch.autograd.functional.jacobian(function, f)
    for transform in (jacrev, jacfwd):
        torch.testing.assert_close(transform(function)(f), expected, rtol=1e-8, atol=1e-8)
    many = torch.stack((f, -f))
    torch.testing.assert_close(vmap(function)(many)[1], function(-f), rtol=1e-8, atol=1e-8)
    each = vmap(grad(lambda f: (function(f) ** 2).sum()))(many)
    torch.testing.assert_close(each[0], 2 * torch.tensordot(function(f), expected, 1), rtol=1e-8, atol=1e-8)


def test_vmap_inside_vmap_and_along_another_axis() -> None:
    f, a = normal(2, 3, N + 1), positive(N, 2)
    nested = vmap(vmap(lambda f, a: solved(f, n=N, a=a), (0, None)), (0, 1))(f, a)
    expected = torch.stack([solved(f[i], n=N, a=a[:, i]) for i in range(2)])
    torch.testing.assert_close(nested, expected)


def test_gradients_for_each_sample() -> None:
    f, a = normal(4, N + 1), positive(4, N)

    def loss(f: Tensor, a: Tensor) -> Tensor:
        return (solved(f, n=N, a=a) ** 2).sum()

    each = vmap(grad(loss, (0, 1)))(f, a)
    for row in range(4):
        one = leaves(f[row], a[row])
        for mine, theirs in zip(each, torch.autograd.grad(loss(*one), one), strict=True):
            torch.testing.assert_close(mine[row], theirs)


def test_a_vmap_tells_when_one_of_its_rows_has_not_converged() -> None:
    a = torch.ones((2, 64), dtype=F64)
    a[1, 31:] = 1e6
    statuses: list[Status] = []

    def function(a: Tensor, maxiter: int = 100) -> Tensor:
        sol = mgnet.solve(
            1.0, n=64, a=a, method="vcycle", sweeps=(1, 1), maxiter=maxiter, throw=False, tol=1e-6
        )
        statuses.append(sol.status)
        cycles.append(sol.iterations)
        return sol.u

    cycles: list[int] = []
    for row in a:
        function(row)
    assert cycles[0] != cycles[1]
    statuses.clear()
    for order in (a, a.flip(0)):
        vmap(lambda a: function(a, min(cycles[:2])))(order)
    assert statuses == [Status.MAXITER] * 2


# What it costs.


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the number of rows of each exact solve and of each iteration."""
    calls: list[int] = []
    exact, iterate = Condensation.solve, mgnet.solver.method.iterate

    def note_exact(self: Condensation, b: Tensor, *values: Any) -> Tensor:
        calls.append(b.shape[0])
        return exact(self, b, *values)

    def note_iterate(step: Any, loads: Any, *others: Any, **more: Any) -> Any:
        calls.append(len(loads.norm))
        return iterate(step, loads, *others, **more)

    monkeypatch.setattr(Condensation, "solve", note_exact)
    monkeypatch.setattr(mgnet.solver.method, "iterate", note_iterate)
    return calls


@pytest.mark.parametrize("keywords", [{"n": 8}, {"n": 8, "dim": 2}], ids=["line", "plane"])
@pytest.mark.parametrize("rows", [(), (3,)])
def test_a_gradient_is_one_more_solve(
    keywords: dict[str, Any], rows: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    dim = keywords.get("dim", 1)
    f, a, g = leaves(normal(*rows, *[9] * dim), positive(*[8] * dim), number(0.2))
    calls = counted(monkeypatch)
    u = mgnet.solve(f, a=a, left=Dirichlet(g), **keywords).u
    assert calls == [math.prod(rows)]
    u.square().sum().backward()
    assert calls == [math.prod(rows)] * 2
    assert all(x.grad is not None and bool(x.grad.any()) for x in (f, a, g))


def saved_by(function: Callable[[], Any], *given: Tensor) -> int:
    """Count the values that a graph keeps for the way back, each storage once, those given apart."""
    sizes: dict[int, int] = {}
    kept = []

    def pack(x: Tensor) -> Tensor:
        kept.append(x)  # so that no address is used twice
        sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes() // x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        function()
    own = {x.untyped_storage().data_ptr() for x in given}
    return sum(size for address, size in sizes.items() if address not in own)


@pytest.mark.parametrize("method", ["exact", "vcycle", "fmg", "pcg", "direct"])
def test_a_graph_keeps_one_solution_whatever_the_iteration_took(method: str) -> None:
    n = 3000
    f, a = leaves(normal(n + 1), positive(n))
    cycles = []
    for tol in (1e-2, 1e-9):
        keywords = {"n": n, "method": method} | ({} if method in ("exact", "direct") else {"tol": tol})
        cycles.append(mgnet.solve(f.detach(), **keywords).iterations)
        of_f = saved_by(lambda keywords=keywords: mgnet.solve(f, **keywords), f)
        assert of_f == n - 1
        # Beside it the numbers in A, and the cell widths that a was divided by.
        of_both = saved_by(lambda keywords=keywords: mgnet.solve(f, a=a, **keywords), f, a)
        assert n < of_both <= 3 * n + 2
    assert cycles[1] > cycles[0] or method in ("exact", "direct")


def test_in_the_plane_a_graph_keeps_one_solution_too() -> None:
    n = 40
    f, a = leaves(normal(n + 1, n + 1), positive(n, n))
    widths = 3 * (n + 1)  # and numbers
    assert saved_by(lambda: mgnet.solve(f, n=n, dim=2), f) <= (n - 1) ** 2 + widths
    assert saved_by(lambda: mgnet.solve(f, n=n, dim=2, a=a), f, a) <= (n - 1) ** 2 + widths


# Where no gradient is asked for.


def test_without_gradients_nothing_is_recorded() -> None:
    f, a, g = leaves(normal(N + 1), positive(N), number(0.3))
    plain = solved(f.detach(), n=N, a=a.detach(), left=Dirichlet(g.detach()))
    assert not plain.requires_grad
    condition = Dirichlet(g)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            for left in (condition, Dirichlet(g)):
                u = solved(f, n=N, a=a, left=left)
                assert not u.requires_grad
                torch.testing.assert_close(u, plain)
    assert solved(f, n=N, a=a, left=condition).requires_grad


def test_a_problem_keeps_its_gradients_for_later() -> None:
    a, g, b = leaves(positive(N), number(0.3), normal(N))
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=N, a=a, left=Dirichlet(g), right=Neumann()))
    with torch.no_grad():
        assert not hierarchy.solve(b).u.requires_grad
    expected = solved(b=b, n=N, a=a, left=Dirichlet(g), right=Neumann())
    for load in (b, b.detach(), b.detach().numpy()):
        u = hierarchy.solve(load).u
        torch.testing.assert_close(u, expected)
        for x in (a, g):
            torch.testing.assert_close(
                torch.autograd.grad(u.sum(), x, retain_graph=True),
                torch.autograd.grad(expected.sum(), x, retain_graph=True),
            )


@pytest.mark.parametrize("keywords", [{"n": 8}, {"n": 4, "dim": 2}], ids=["line", "plane"])
def test_a_hierarchy_passes_gradients_to_its_loads(keywords: dict[str, Any]) -> None:
    problem = mgnet.Poisson(**keywords)
    (b,) = leaves(normal(2, *problem.shape))
    hierarchy = mgnet.Hierarchy(problem)
    assert gradcheck(
        lambda b: hierarchy.solve(b, tol=1e-13 if problem.dim > 1 else None).u, (b,), fast_mode=True
    )
    assert torch.equal(hierarchy.solve(b).u.detach(), hierarchy.solve(b.detach()).u)


def test_numpy_with_a_tensor_that_requires_a_gradient_gives_tensors() -> None:
    a, g = leaves(positive(N), number(0.3))
    f = np.ones(N + 1)
    for keywords in ({"a": a}, {"left": Dirichlet(g)}, {"right": Neumann(g)}):
        u = mgnet.solve(f, n=N, **keywords).u
        assert isinstance(u, Tensor)
        assert u.requires_grad
    assert isinstance(mgnet.solve(f, n=N, left=Dirichlet(g.detach())).u, np.ndarray)


def test_values_are_those_without_gradients() -> None:
    for name, (function, inputs) in LINE.items():
        torch.testing.assert_close(function(*leaves(*inputs)), torch.as_tensor(function(*inputs)), msg=name)
    for name, (function, inputs) in box_cases(2).items():
        torch.testing.assert_close(function(*leaves(*inputs)), torch.as_tensor(function(*inputs)), msg=name)


# Precision.


@pytest.mark.parametrize("keywords", [{}, {"refine": True}, {"method": "pcg"}, {"method": "direct"}])
@pytest.mark.parametrize("dim", [1, 2])
def test_in_single_precision(keywords: dict[str, Any], dim: int) -> None:
    n = 32
    double = leaves(normal(*[n + 1] * dim), positive(*[n] * dim), number(0.3))
    single = leaves(*(x.float() for x in double))
    found = []
    for f, a, g in (double, single):
        options = keywords if f.dtype == torch.float32 else {}
        u = mgnet.solve(f, n=n, a=a, dim=dim, left=Dirichlet(g), **options).u
        assert u.dtype == f.dtype
        found.append(torch.autograd.grad(u.square().sum(), (f, a, g)))
        assert [x.dtype for x in found[-1]] == [f.dtype] * 3
    for theirs, mine in zip(*found, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=1e-4 * float(theirs.abs().max()))


def test_a_gradient_has_the_precision_of_its_tensor() -> None:
    f, a = torch.ones(N + 1, requires_grad=True), positive(N).requires_grad_()
    u = mgnet.solve(f, n=N, a=a).u
    assert u.dtype == torch.float32
    of_f, of_a = torch.autograd.grad(u.sum(), (f, a))
    assert (of_f.dtype, of_a.dtype) == (torch.float32, F64)
    whole = torch.ones(N + 1, dtype=torch.int64)
    assert mgnet.solve(whole, n=N, a=a).u.dtype == F64


def test_a_long_line_has_the_gradient_of_the_closed_form() -> None:
    """Of u(1/2) for −(a u′)′ = 1 by a constant a: u = x(1 − x)/(2 a), so the derivatives sum to −1/8."""
    n = 2**16
    a = torch.ones(n, dtype=F64, requires_grad=True)
    middle = mgnet.solve(1.0, n=n, a=a)(0.5)
    (of_a,) = torch.autograd.grad(middle, a)
    assert float(of_a.sum()) == pytest.approx(-0.125, rel=1e-12)
    # Cell by cell, it is −∫ u′ G′, and G is the hat with its corner in the middle: ∓(1/2 − x)/2.
    x = (torch.arange(n, dtype=F64) + 0.5) / n
    # A step of u is known to its rounding, which is that of u, over the width of a cell.
    known = 4 * torch.finfo(F64).eps * 0.125 * n
    torch.testing.assert_close(of_a * n, -(0.5 - x).abs() / 2, rtol=1e-9, atol=known)


# Bad input.


@pytest.mark.parametrize("method", ["exact", "direct", "vcycle", "pcg", "fmg"])
def test_what_is_not_finite_is_named(method: str) -> None:
    f = normal(2, N + 1)
    f[1, 2] = math.nan
    with pytest.raises(ValueError, match=r"^f: got nan at index 2 of row 1; accepted: finite numbers"):
        mgnet.solve(f.requires_grad_(), n=N, method=method)
    b = normal(N - 1)
    b[3] = math.inf
    with pytest.raises(ValueError, match=r"^b: got inf at index 3; accepted"):
        mgnet.solve(b=b.requires_grad_(), n=N, method=method)


def test_coefficients_and_boundary_data_are_checked() -> None:
    for a, message in (
        (0.0, "got 0.0 in cell 2"),
        (math.nan, "got nan in cell 2"),
        (-1.0, "got -1.0 in cell 2"),
    ):
        values = positive(N)
        values[2] = a
        with pytest.raises(ValueError, match=f"^a: {message}; accepted: positive"):
            mgnet.solve(1.0, n=N, a=values.requires_grad_())
    with pytest.raises(ValueError, match="^a: got -1"):
        mgnet.solve(1.0, n=N, a=number(-1.0).requires_grad_())
    with pytest.raises(ValueError, match="^c: got -1"):
        mgnet.solve(1.0, n=N, c=number(-1.0).requires_grad_())
    for kind in (Dirichlet, Neumann, lambda g: Robin(1.0, g)):
        with pytest.raises(ValueError, match=r"g: got tensor\(nan.*accepted: a finite number"):
            kind(number(math.nan).requires_grad_())
    with pytest.raises(TypeError, match="Neumann g: .* accepted: a real number"):
        Neumann(torch.tensor(1j, requires_grad=True))
    with pytest.raises(ValueError, match="^x0: got shape"):
        mgnet.solve(normal(N + 1).requires_grad_(), n=N, method="vcycle", x0=np.zeros(3))
    with pytest.raises(ValueError, match=r"^f: got data that sum to"):
        mgnet.solve(torch.ones(N + 1, requires_grad=True), n=N, left=Neumann(), right=Neumann())


def test_a_gradient_that_is_not_finite_is_named() -> None:
    (f,) = leaves(normal(N + 1))
    u = mgnet.solve(f, n=N).u
    with pytest.raises(ValueError, match=r"^gradient: got nan at index"):
        (u * math.nan).sum().backward()


def test_a_solution_out_of_range_is_not_handed_over() -> None:
    f = torch.full((N + 1,), 1e307, dtype=F64, requires_grad=True)
    with pytest.raises(ConvergenceError, match="DIVERGED"):
        mgnet.solve(f, n=N, a=1e-300)
    sol = mgnet.solve(f, n=N, a=1e-300, throw=False)
    assert sol.status is Status.DIVERGED


def test_too_few_iterations_are_an_error_forwards_and_backwards() -> None:
    x = torch.linspace(0, 1, 65, dtype=F64)
    f = torch.sin(math.pi * x).requires_grad_()
    with pytest.raises(ConvergenceError, match="MAXITER") as caught:
        mgnet.solve(f, n=64, method="vcycle", maxiter=2)
    assert caught.value.solution.u.shape == (65,)
    sol = mgnet.solve(f, n=64, method="vcycle", maxiter=2, throw=False)
    assert sol.status is Status.MAXITER
    sol.u.sum().backward()  # as wanted, without complaint
    guess = mgnet.solve(f.detach(), n=64).u
    sol = mgnet.solve(f, n=64, method="vcycle", maxiter=3, x0=guess)
    assert sol.status is Status.CONVERGED
    with pytest.raises(ConvergenceError, match="MAXITER"):
        sol.u[20].backward()  # the way back starts from nothing


def test_a_first_guess_is_used() -> None:
    (f,) = leaves(normal(65))
    exact = mgnet.solve(f.detach(), n=64)
    for method in ("vcycle", "pcg"):
        cold, warm = (mgnet.solve(f, n=64, method=method, x0=x0) for x0 in (None, exact.u))
        assert warm.iterations < cold.iterations
        of_cold, of_warm = (torch.autograd.grad(sol.u.sum(), f)[0] for sol in (cold, warm))
        torch.testing.assert_close(of_warm, of_cold, rtol=1e-8, atol=1e-9)


# The solution.


@pytest.mark.parametrize("method", ["exact", "vcycle", "pcg", "fmg", "direct"])
def test_a_solution_with_a_graph_says_the_same(method: str) -> None:
    f, g = normal(2, 17), number(0.3)
    plain = mgnet.solve(f, n=16, left=Dirichlet(0.3), method=method)
    sol = mgnet.solve(f.clone().requires_grad_(), n=16, left=Dirichlet(g.requires_grad_()), method=method)
    assert sol.status is plain.status
    assert sol.iterations == plain.iterations
    assert len(sol.residuals) == len(plain.residuals)
    assert sol.error_estimate == pytest.approx(plain.error_estimate, rel=2, abs=1e-15)
    assert "residual" in repr(sol)
    assert sol._repr_html_()
    assert sol.plot().get_title() == plain.plot().get_title()
    for twin in (pickle.loads(pickle.dumps(sol)), copy.deepcopy(sol)):  # noqa: S301
        assert torch.equal(twin.u, sol.u)
        assert not twin.u.requires_grad
        assert twin.error_estimate == sol.error_estimate


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_evaluation_passes_gradients_on(dim: int) -> None:
    (f,) = leaves(normal(*[4] * dim))
    points = [np.array([0.2, 0.55, 1.0])] * dim
    assert gradcheck(lambda f: mgnet.solve(f, n=3, dim=dim)(*points), (f,), atol=1e-6, fast_mode=True)
    assert gradcheck(
        lambda f: mgnet.solve(f, n=3, dim=dim).derivative(*points), (f,), atol=1e-6, fast_mode=True
    )
    many = torch.stack((f.detach(), 2 * f.detach()))
    values = vmap(lambda f: mgnet.solve(f, n=3, dim=dim)(*points))(many)
    torch.testing.assert_close(values[1], 2 * values[0])


def test_an_inner_problem_of_an_optimiser() -> None:
    """Gradient descent by torch recovers a number: the conductivity that a measured value belongs to."""
    measured = float(mgnet.solve(1.0, n=64, a=2.5)(0.5))
    log_a = torch.zeros((), dtype=F64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_a], line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        error = (mgnet.solve(1.0, n=64, a=log_a.exp())(0.5) / measured - 1) ** 2
        error.backward()
        return error

    optimiser.step(loss)
    assert float(log_a.detach().exp()) == pytest.approx(2.5, rel=1e-3)
