"""Batches of a and c: every sample as it is by itself, one answer of all, derivatives for each."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet import Dirichlet, Neumann, Poisson, Robin
from mgnet.solver.stopping import Status
from mgnet.solver.system import System

CELLS = {1: (9,), 2: (5, 6), 3: (3, 4, 3)}


def number_of(cells: tuple[int, ...]) -> Any:
    return cells if len(cells) > 1 else cells[0]


def drawn(dim: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Data whose batches broadcast to (2, 4, 3)."""
    rng, cells = np.random.default_rng(seed), CELLS[dim]
    nodes = tuple(n + 1 for n in cells)
    return {
        "a": 10.0 ** rng.uniform(-1, 1, size=(2, 1, 3, *cells)),
        "c": rng.random((1, 3, *nodes)),
        "f": rng.normal(size=(4, 1, *nodes)),
    }


@pytest.mark.parametrize("method", ["auto", "direct", "pcg"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_each_sample_is_as_by_itself(dim: int, method: str) -> None:
    data, cells = drawn(dim), CELLS[dim]
    nodes = tuple(n + 1 for n in cells)
    g = np.random.default_rng(1).normal(size=(4, 1, *nodes[1:])) if dim > 1 else 2.0
    options = {"n": number_of(cells), "dim": dim, "method": method}
    whole = mgnet.solve(**data, **options, boundary={"left": Dirichlet(g), "right": Robin(1.0, 2.0)})
    assert whole.u.shape == (2, 4, 3, *nodes)
    spread = {name: np.broadcast_to(x, (2, 4, 3, *x.shape[-dim:])) for name, x in data.items()}
    alone = []
    for index in np.ndindex(2, 4, 3):
        own = g[index[1], 0] if dim > 1 else g
        sides = {"left": Dirichlet(own), "right": Robin(1.0, 2.0)}
        alone.append(mgnet.solve(**{k: x[index] for k, x in spread.items()}, **options, boundary=sides))
        np.testing.assert_allclose(whole.u[index], alone[-1].u, atol=1e-9 * np.abs(alone[-1].u).max())
    assert whole.status is Status.CONVERGED
    assert whole.iterations == max(each.iterations for each in alone)
    assert whole.error_estimate >= max(each.error_estimate for each in alone) / 2
    assert len(whole.residuals) == max(len(each.residuals) for each in alone)


def test_a_batch_of_a_alone_and_of_c_alone() -> None:
    rng = np.random.default_rng(0)
    for name, x in {"a": 1 + rng.random((3, 8)), "c": rng.random((3, 9)), "b": rng.random((3, 7))}.items():
        keywords = (
            {"f": 1.0, "n": 8, name: x} if name != "b" else {"n": 8, "b": x, "a": 1 + rng.random((3, 8))}
        )
        whole = mgnet.solve(**keywords)
        one = mgnet.solve(**{k: v[1] if np.ndim(v) == 2 else v for k, v in keywords.items()})
        np.testing.assert_array_equal(whole.u[1], one.u)
        assert "batch of 3 right-hand sides" in repr(whole)


def test_kinds_and_precisions() -> None:
    a = np.random.default_rng(0).random((2, 4, 4)).astype(np.float32) + 1
    sol = mgnet.solve(np.ones((5, 5), np.float32), n=4, dim=2, a=torch.tensor(a))
    assert isinstance(sol.u, torch.Tensor)
    assert sol.dtype == "float32"
    refined = mgnet.solve(np.ones((5, 5), np.float32), n=4, dim=2, a=a, refine=True)
    exact = mgnet.solve(np.ones((5, 5)), n=4, dim=2, a=a, method="direct")
    np.testing.assert_allclose(refined.u, exact.u, atol=1e-7 * exact.u.max())


def test_a_first_guess_for_each() -> None:
    a = 1 + np.random.default_rng(0).random((3, 8, 8))
    found = mgnet.solve(1.0, n=8, dim=2, a=a, method="vcycle")
    again = mgnet.solve(1.0, n=8, dim=2, a=a, method="vcycle", x0=found.u)
    assert again.residuals[0] < 1e-8
    np.testing.assert_allclose(again.u, found.u, atol=1e-9 * found.u.max())
    with pytest.raises(ValueError, match=r"^x0: got leading axes \(2, 3\); accepted: those of the solution"):
        mgnet.solve(1.0, n=8, dim=2, a=a, x0=np.zeros((2, 3, 9, 9)))


def test_the_worst_sample_counts() -> None:
    a = 10.0 ** np.random.default_rng(0).uniform(-1, 1, size=(3, 16, 16))
    a[::2] = 1.0
    sol = mgnet.solve(1.0, n=16, dim=2, a=a, method="vcycle", maxiter=4, throw=False)
    alone = [mgnet.solve(1.0, n=16, dim=2, a=x, method="vcycle", maxiter=4, throw=False) for x in a]
    assert sol.status is Status.MAXITER
    assert sol.error_estimate == max(each.error_estimate for each in alone)
    assert sol.residuals == np.max([each.residuals for each in alone], axis=0).tolist()
    tolerance = alone[0].error_estimate / alone[0].u.max() * 1.01
    only = mgnet.solve(1.0, n=16, dim=2, a=a, method="vcycle", maxiter=4, tol=tolerance, throw=False)
    assert "(row 1)" in only.message
    with pytest.raises(mgnet.ConvergenceError, match=r"row 1\)") as caught:
        mgnet.solve(1.0, n=16, dim=2, a=a, method="vcycle", maxiter=4, tol=tolerance)
    assert caught.value.solution.u.shape == (3, 17, 17)


def test_singular_samples_beside_others() -> None:
    """Of a c that is zero in one sample only that one asks for data that sum to zero."""
    c = np.stack((np.ones(9), np.zeros(9), np.full(9, 4.0)))
    ends = {"left": Neumann(0.0), "right": Neumann(0.0)}
    with pytest.raises(ValueError, match=r"sum to 1\.000e\+00 in row 1, the defect"):
        mgnet.solve(1.0, n=8, c=c, **ends)
    f = np.cos(np.pi * np.linspace(0, 1, 9))
    u = mgnet.solve(f, n=8, c=c, **ends).u
    np.testing.assert_allclose(u[1], mgnet.solve(f, n=8, **ends).u, atol=1e-14)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"a": np.ones((3, 4)), "c": np.ones((2, 5))}, r"^c: got leading axes \(2,\) beside \(3,\) of other"),
        ({"a": np.ones((3, 4)), "f": np.ones((2, 5))}, r"^f: got leading axes \(2,\) beside \(3,\) of other"),
        ({"a": np.ones((3, 4)), "b": np.ones((2, 3))}, r"^b: got leading axes \(2,\) beside \(3,\) of other"),
        ({"a": np.ones((3, 4)), "f": lambda x: np.ones((2, 1)) * x}, r"^f: got leading axes \(2,\)"),
        ({"a": np.ones((3, 4)), "x0": np.ones((2, 5))}, r"^x0: got leading axes \(2,\)"),
        (
            {"a": np.ones((3, 4, 4)), "dim": 2, "boundary": Dirichlet(np.ones((2, 5, 5)))},
            r"^boundary: got leading axes \(2,\) beside \(3,\)",
        ),
        ({"a": np.ones((0, 4))}, r"^a: got shape \(0, 4\); accepted: no empty leading axis"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_does_not_broadcast(keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mgnet.solve(n=4, **keywords)


def test_a_hierarchy_has_one_operator() -> None:
    for problem in (Poisson(n=4, a=np.ones((3, 4))), Poisson(n=4, dim=2, c=np.ones((1, 5, 5)))):
        with pytest.raises(ValueError, match=r"^problem: got a or c with leading axes .*mgnet\.solve"):
            mgnet.Hierarchy(problem)


@pytest.mark.parametrize("dim", [1, 2])
def test_derivatives_for_each_sample(dim: int) -> None:
    rng, cells = np.random.default_rng(0), (4,) if dim == 1 else (2, 2)
    nodes = tuple(n + 1 for n in cells)

    def u(a: torch.Tensor, c: torch.Tensor, f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        sides = {"left": Dirichlet(g), "right": Robin(1.0, 0.5)}
        options = {"n": number_of(cells), "dim": dim, "boundary": sides}
        return mgnet.solve(f, a=a, c=c, **options, method="exact" if dim == 1 else "direct").u

    inputs = (
        1 + rng.random((2, *cells)),
        rng.random((1, *nodes)),
        rng.normal(size=(2, *nodes)),
        np.array(0.7) if dim == 1 else rng.normal(size=(2, *nodes[1:])),
    )
    assert torch.autograd.gradcheck(u, [torch.tensor(x, requires_grad=True) for x in inputs])


def test_derivatives_of_a_batch_are_those_of_its_samples() -> None:
    data = {name: torch.tensor(x, requires_grad=True) for name, x in drawn(2).items()}
    weights = torch.tensor(np.random.default_rng(1).normal(size=(2, 4, 3, 6, 7)))
    (mgnet.solve(**data, n=(5, 6), dim=2).u * weights).sum().backward()
    found = {name: x.grad.clone() for name, x in data.items()}
    for x in data.values():
        x.grad = None
    for i, j, k in np.ndindex(2, 4, 3):
        own = {"a": data["a"][i, 0, k], "c": data["c"][0, k], "f": data["f"][j, 0]}
        (mgnet.solve(**own, n=(5, 6), dim=2).u * weights[i, j, k]).sum().backward()
    for name, x in data.items():
        torch.testing.assert_close(found[name], x.grad, rtol=1e-7, atol=1e-9)


def test_a_batch_within_vmap() -> None:
    a = torch.tensor(1 + np.random.default_rng(0).random((2, 3, 8)))
    by_map = torch.func.vmap(lambda x: mgnet.solve(1.0, n=8, a=x).u)(a)
    torch.testing.assert_close(by_map, mgnet.solve(1.0, n=8, a=a).u, rtol=0, atol=0)


@pytest.mark.parametrize("by", ["nothing", "f", "a"])
def test_no_more_than_one_set_up_is_kept(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the factors of all samples one is alive at a time, also where a graph waits for derivatives."""
    from mgnet.solver import system as module

    alive: list[Any] = []
    most = 0
    original = module.factorised

    def counted(*arguments: Any) -> Any:
        nonlocal most
        solver = original(*arguments)
        alive.append(weakref.ref(solver))
        most = max(most, sum(reference() is not None for reference in alive))
        return solver

    monkeypatch.setattr(module, "factorised", counted)
    a = torch.tensor(1 + np.random.default_rng(0).random((3, 5, 5)), requires_grad=by == "a")
    f = torch.ones(6, 6, dtype=torch.float64, requires_grad=by == "f")
    sol = mgnet.solve(f, n=5, dim=2, a=a, method="direct")
    assert len(alive) >= 3
    assert most == 1
    assert not any(reference() is not None for reference in alive)
    assert sol.error_estimate < 1e-13  # set up again
    assert most == 1
    if by != "nothing":
        sol.u.sum().backward()
        assert (a if by == "a" else f).grad is not None


def test_an_operator_for_each_is_assembled_when_its_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    original = System.__init__

    def noted(self: System, *arguments: Any, **keywords: Any) -> None:
        made.append(weakref.ref(self))
        assert sum(reference() is not None for reference in made) <= 3  # and that of the first
        original(self, *arguments, **keywords)

    monkeypatch.setattr(System, "__init__", noted)
    mgnet.solve(1.0, n=8, dim=2, a=np.ones((6, 8, 8)), method="vcycle")
    assert len(made) >= 6
