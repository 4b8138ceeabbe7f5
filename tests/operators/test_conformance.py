"""One conformance test for every operator: what they are is in ``operator_list``, what they owe is here."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import pickle
import pkgutil
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from operator_list import (
    EPS,
    OPERATORS,
    Case,
    bound_of,
    coarsened,
    dense_of,
    diagonal_of,
    known,
    padded,
    residual_of,
    sparse_of,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import mgnet
from mgnet.operators import loops

pytestmark = pytest.mark.usefixtures("one_thread")


def random(case: Case, dtype: torch.dtype, batch: int = 2, seed: int = 0) -> Tensor:
    return randn((batch, case.channels, *case.shape), dtype, seed)


def randn(shape: Any, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def flat(x: Tensor) -> np.ndarray:
    return x.detach().double().flatten(1).numpy()


def close(x: Any, expected: np.ndarray, dtype: torch.dtype, scale: float) -> None:
    np.testing.assert_allclose(np.asarray(x, dtype=float), expected, rtol=0, atol=32 * EPS[dtype] * scale)


def largest(case: Case) -> float:
    """Give the size of the entries, which rounding is measured by."""
    return float(np.abs(case.dense).max()) * case.slack


def reach(case: Case, axis: int = 1) -> float:
    """Give the size of what a row, or a column, makes of values that are not above five."""
    return float(np.abs(case.dense).sum(axis).max()) * 5 * case.slack


# The list.


def is_operator(kind: type) -> bool:
    """Say whether a class has the marks of one: a matrix, or an adjoint, which it may be made from."""
    code = getattr(kind.__init__, "__code__", None)
    given = code is not None and "T" in code.co_varnames[: code.co_argcount]
    return given or hasattr(kind, "to_dense") or hasattr(kind, "T")


def classes() -> set[type]:
    """Find the operators among all classes of the package."""
    found: set[type] = set()
    for module in pkgutil.walk_packages(mgnet.__path__, "mgnet."):
        if not module.name.endswith("__main__"):
            members = vars(importlib.import_module(module.name)).values()
            found |= {
                kind for kind in members if inspect.isclass(kind) and kind.__module__.startswith("mgnet.")
            }
    return {kind for kind in found if is_operator(kind) and not issubclass(kind, Tensor)}


def test_every_operator_of_the_package_is_in_the_list() -> None:
    """Each class itself or, where it is a family, its members.

    What several processes have parts of is held to dense matrices in ``test_slabs.py``.
    """
    found = {kind for kind in classes() if not kind.__module__.endswith(".slabs")}
    listed = {type(case.make(torch.float64)) for case in OPERATORS}
    assert len(found) > 20
    leaves = {
        kind for kind in found if not any(other is not kind and issubclass(other, kind) for other in found)
    }
    assert leaves <= listed
    assert all(any(issubclass(kind, family) for kind in listed) for family in found)


def test_the_names_of_the_list_differ() -> None:
    names = [case.name for case in OPERATORS]
    assert len(set(names)) == len(names)


# What is asked of all. Of each case one test asks it, which calls what comes below: there are thousands.


@pytest.mark.parametrize("case", OPERATORS, ids=str)
def test_map(case: Case) -> None:
    has_its_matrix(case)  # eq: cell-energy, tensor-stiffness
    applies_it(case)
    has_an_adjoint(case)
    if not case.inverse:
        gives_gradients_to_the_input(case)
        can_be_copied(case)


def has_its_matrix(case: Case) -> None:
    for dtype in EPS:
        matrix = dense_of(case.make(dtype), case.shape, dtype, case.channels)
        assert matrix.shape == case.dense.shape
        close(matrix, case.dense, dtype, largest(case))


def applies_it(case: Case) -> None:
    """That of the matrix, for each row of a batch, and linear."""
    for dtype in EPS:
        operator = case.make(dtype)
        for batch in (1, 3) if case.inverse else (0, 1, 3):
            x = random(case, dtype, batch)
            before, expected = x.clone(), flat(x) @ case.dense.T
            y = operator(x)
            assert (y.dtype, y.shape[0]) == (dtype, batch)
            close(flat(y), expected, dtype, reach(case))
        with loops.without():
            close(flat(operator(x)), expected, dtype, reach(case))
        assert (x == before).all()
        combined, apart = operator(x[:1] - 300 * x[1:2]), operator(x[:1]) - 300 * operator(x[1:2])
        close(flat(combined), flat(apart), dtype, 301 * reach(case))


def has_an_adjoint(case: Case) -> None:
    for dtype in EPS:
        operator, u = case.make(dtype), random(case, dtype)
        Au = operator(u)
        v = randn(Au.shape, dtype, 1)
        left, right = (flat(Au) * flat(v)).sum(), (flat(u) * flat(operator.T(v))).sum()
        size = np.linalg.norm(case.dense, 2) * np.linalg.norm(flat(u)) * np.linalg.norm(flat(v))
        assert left == pytest.approx(right, abs=16 * EPS[dtype] * size * case.slack)
        assert abs(right) > 1e-6 * size or not case.dense.any()
    matrix = dense_of(operator.T, tuple(Au.shape[2:]), dtype, Au.shape[1])
    close(matrix, case.dense.T, dtype, largest(case))
    close(dense_of(operator.T.T, case.shape, dtype, case.channels), case.dense, dtype, largest(case))
    assert (operator.T is operator) == (case.stiffness or case.inverse)


def gives_gradients_to_the_input(case: Case) -> None:
    x = random(case, torch.float64, 1).requires_grad_()
    y = case.make(torch.float64)(x)
    v = randn(y.shape, torch.float64, 3)
    y.backward(v)
    close(flat(x.grad), flat(v) @ case.dense, torch.float64, reach(case, 0))


def can_be_copied(case: Case) -> None:
    operator = case.make(torch.float32)
    x = random(case, torch.float32)
    expected = operator(x)
    pickled = [pickle.loads(pickle.dumps(operator))] if case.kind else []  # noqa: S301
    for other in (copy.deepcopy(operator), *pickled):
        assert type(other) is type(operator)
        assert (other(x) == expected).all()
        assert (other.T(other(x)) == operator.T(expected)).all()


# What is asked of stiffness operators.


@pytest.mark.parametrize("case", [case for case in OPERATORS if case.stiffness], ids=str)
def test_stiffness(case: Case) -> None:
    knows_its_diagonal_and_what_becomes_of_constants(case)
    if case.bounded:
        bounds_its_spectrum(case)  # eq: cell-bound
    gives_residuals(case)
    has_coarse_operators_that_are_galerkin(case)
    has_other_forms(case)
    if getattr(case.make(torch.float64), "numbers", ()):
        is_its_numbers(case)
        knows_derivatives_by_its_numbers(case)


def knows_its_diagonal_and_what_becomes_of_constants(case: Case) -> None:
    sums, scale = np.abs(case.dense.sum(1)).max(), np.abs(case.dense).max()
    singular = sums <= 1e-12 * scale
    assert singular or sums > 1e-6 * scale
    for dtype in EPS:
        A = case.make(dtype)
        diagonal = diagonal_of(A, case.shape)
        assert diagonal.dtype == dtype
        close(diagonal.flatten(), np.diag(case.dense), dtype, scale)
        # What nothing holds is asked of each piece where not all unknowns have an equation.
        assert A.singular == (singular and not getattr(A, "gaps", False))


def radius(D: np.ndarray) -> float:
    """Give the largest eigenvalue of D⁻¹ A, of unknowns that have an equation."""
    there = np.diag(D) > 0
    D = D[np.ix_(there, there)]
    return float(scipy.linalg.eigvalsh(D, np.diag(np.diag(D))).max())


def bounds_its_spectrum(case: Case) -> None:
    true = radius(case.dense)
    for dtype in EPS:
        bound = bound_of(case.make(dtype))
        assert true <= bound * (1 + 8 * EPS[dtype])
        assert bound <= max(3.0, 2.0 * true, 2.0 ** len(case.shape))


def gives_residuals(case: Case) -> None:
    for dtype in EPS:
        A, x, b = case.make(dtype), random(case, dtype), random(case, dtype, seed=1)
        expected = flat(b) - flat(x) @ case.dense.T
        close(flat(residual_of(A, x, b)), expected, dtype, 1 + reach(case))
        with loops.without():
            close(flat(residual_of(A, x, b)), expected, dtype, 1 + reach(case))


def has_coarse_operators_that_are_galerkin(case: Case) -> None:
    """R A P at every level, with R the transpose of P."""
    A, shape, dense, dtype = case.make(torch.float64), case.shape, case.dense, torch.float64
    while (step := coarsened(A, shape)) is not None:
        A, P, coarse = step
        dense_P = dense_of(P, coarse, dtype)
        assert dense_P.shape == (len(dense), int(np.prod(coarse)))
        assert dense_P.shape[0] > dense_P.shape[1]
        assert np.linalg.matrix_rank(dense_P) == dense_P.shape[1]
        close(dense_of(P.T, shape, dtype), dense_P.T, dtype, 1)
        expected, found = dense_P.T @ dense @ dense_P, dense_of(A, coarse, dtype)
        if case.galerkin:
            close(found, expected, dtype, 4 * np.abs(expected).max())
            assert A.singular == case.make(dtype).singular
        close(diagonal_of(A, coarse).flatten(), np.diag(found), dtype, np.abs(found).max())
        if case.bounded:
            assert radius(found) <= bound_of(A) * (1 + 1e-12)
        shape, dense = coarse, found


def has_other_forms(case: Case) -> None:
    """SciPy's matrix, and multiples in another precision."""
    A = case.make(torch.float64)
    close(sparse_of(A, case.shape), case.dense, torch.float64, largest(case))
    A = known(A, case.shape)
    for dtype in EPS:
        close(dense_of(A.scaled(3.0, dtype), case.shape, dtype), 3 * case.dense, dtype, 3 * largest(case))


def is_its_numbers(case: Case) -> None:
    A, x = case.make(torch.float64), random(case, torch.float64)
    again = A.replaced(*A.numbers)
    assert type(again) is type(A)
    assert (again(x) == A(x)).all()
    assert again.singular == A.singular
    for dtype in EPS:
        other = A.replaced(*(number.to(dtype) for number in A.numbers))
        close(dense_of(other, case.shape, dtype), case.dense, dtype, largest(case))


def knows_derivatives_by_its_numbers(case: Case) -> None:
    """The energy v · A u is linear in each number, so its difference is its derivative; autograd agrees."""
    A = case.make(torch.float64)
    v, u = (randn(case.shape, torch.float64, seed) for seed in (1, 2))
    energies, scale = A.energies(v, u), 30 * reach(case) * v.numel()

    def energy(*numbers: Tensor) -> Tensor:
        return (v * A.replaced(*numbers)(u[None, None])[0, 0]).sum()

    moving = [number.detach().clone().requires_grad_() for number in A.numbers]
    grads = torch.autograd.grad(energy(*moving), moving)
    for i, (found, grad, number) in enumerate(zip(energies, grads, A.numbers, strict=True)):
        assert found.shape == number.shape
        torch.testing.assert_close(found, grad, rtol=1e-12, atol=1e-14 * scale)
        step = randn(number.shape, torch.float64, i).abs()
        moved = energy(*A.numbers[:i], number + step, *A.numbers[i + 1 :]) - energy(*A.numbers)
        assert float((found * step).sum()) == pytest.approx(float(moved), rel=1e-10, abs=1e-12 * scale)


# What is asked of torch's convolutions.


@pytest.mark.parametrize("case", [case for case in OPERATORS if case.kind], ids=str)
def test_module(case: Case) -> None:
    is_a_torch_convolution(case)
    can_be_saved_and_moved(case)
    if case.learned:
        gives_gradients_to_its_kernel(case)
    if case.pinned:
        is_applied_as_torch_does(case)  # eq: difference-form


def is_a_torch_convolution(case: Case) -> None:
    operator = case.make(torch.float64)
    assert isinstance(operator, case.kind)
    assert operator.bias is None
    named = dict(operator.named_parameters() if case.learned else operator.named_buffers())
    assert list(named) == ["weight"]
    assert list(operator.state_dict()) == ["weight"]
    assert isinstance(operator.weight, nn.Parameter) == case.learned
    assert len(list(operator.parameters())) == int(case.learned)


def can_be_saved_and_moved(case: Case) -> None:
    operator, x = case.make(torch.float32), random(case, torch.float32)
    file = io.BytesIO()
    torch.save(operator.state_dict(), file)
    file.seek(0)
    other = case.make(torch.float32)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert (other(x) == operator(x)).all()
    moved, x = operator.double(), x.double()
    assert moved.weight.dtype == moved(x).dtype == torch.float64
    # A kernel whose numbers are known in float64 lost none; a learned one has float32's.
    close(flat(moved(x)), flat(x) @ case.dense.T, torch.float32, reach(case))


def gives_gradients_to_its_kernel(case: Case) -> None:
    operator = case.make(torch.float64)
    x = random(case, torch.float64, 1)

    def applied(weight: Tensor) -> Tensor:
        return torch.func.functional_call(operator, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(applied, (operator.weight,))
    assert operator.T.weight is operator.weight
    assert operator.T.T.weight is operator.weight
    both = operator.T(operator(x)).square().sum()
    both.backward()
    assert operator.weight.grad.abs().max() > 0
    with torch.no_grad():
        operator.weight.mul_(2)
    close(flat(operator(x)), 2 * flat(x) @ case.dense.T, torch.float64, 2 * reach(case))


def by_torch(operator: Any, x: Tensor) -> Tensor:
    """Convolve by torch alone, which pads too; a transposed one by the derivative of its adjoint."""
    if isinstance(operator, nn.modules.conv._ConvTransposeNd):
        u = torch.zeros_like(operator(x)).requires_grad_()
        return torch.autograd.grad(by_torch(operator.T, u), u, x)[0]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[operator.dim - 1]
    return convolve(padded(x, operator), operator.weight, stride=operator.stride)


def is_applied_as_torch_does(case: Case) -> None:
    for dtype in EPS:
        operator, x = case.make(dtype), random(case, dtype)
        close(flat(operator(x)), flat(by_torch(operator, x)), dtype, reach(case))
