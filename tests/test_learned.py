"""Learned cycles: what they are before training, what it may change, and that they beat the textbook."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import mgnet
from mgnet.bridge import convergence_factor, galerkin_defects
from mgnet.learned import LearnedCycle, train
from mgnet.multigrid import cycle
from mgnet.operators.stiffness import Stiffness

each_dim = pytest.mark.parametrize("dim", [1, 2, 3])
SIZES = {1: 32, 2: 16, 3: 8}

pytestmark = pytest.mark.usefixtures("one_thread")


def hierarchy(n: int, dim: int, smoother: str, **options: Any) -> mgnet.Hierarchy:
    return mgnet.Hierarchy(mgnet.Poisson(n=n, dim=dim), method="vcycle", smoother=smoother, **options)


def factor(n: int, dim: int, smoother: str, sweeps: int = 2) -> float:
    return convergence_factor(hierarchy(n, dim, smoother).levels, (sweeps, sweeps))


def loads(n: int, dim: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 1, *[n - 1] * dim, generator=generator, dtype=torch.float64)


def perturbed(learned: LearnedCycle, size: float = 0.02) -> LearnedCycle:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in learned.parameters():
            p += size * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return learned


# Before training.


@each_dim
@pytest.mark.parametrize("sweeps", [1, 3])
def test_untrained_it_is_the_v_cycle_with_damped_jacobi(dim: int, sweeps: int) -> None:
    n = SIZES[dim]
    learned = LearnedCycle(dim, sweeps)
    levels = hierarchy(n, dim, "jacobi", levels=len(learned.levels(n))).levels
    b = loads(n, dim)
    expected = cycle(levels, b, None, (sweeps, sweeps))
    for other in (learned, LearnedCycle(dim, sweeps, reach=0), LearnedCycle(dim, sweeps, 2, 2)):
        with torch.no_grad():
            u = other(b)
            assert float((u - expected).abs().max()) < 1e-12 * float(expected.abs().max())
            again, twice = other(b, u), cycle(levels, b, expected, (sweeps, sweeps))
            assert float((again - twice).abs().max()) < 1e-12 * float(twice.abs().max())
    measured = convergence_factor(learned.levels(n), (sweeps, sweeps))
    assert measured == pytest.approx(convergence_factor(levels, (sweeps, sweeps)), rel=1e-9)
    assert max(galerkin_defects(learned.levels(n))) < 1e-14


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 12, 40])
def test_any_number_of_cells(n: int) -> None:
    """The coarsest grid has an odd number of cells or few, and is solved exactly."""
    levels = LearnedCycle(1).levels(n)
    assert [level.unknowns for level in levels] == [(n // 2**i - 1,) for i in range(len(levels))]
    assert levels[-1].solve is not None and all(level.solve is None for level in levels[:-1])
    b = loads(n, 1)
    u = LearnedCycle(1)(b)
    error = (Stiffness(1 / n)(u) - b).norm() / b.norm()
    assert error < (1e-12 if len(levels) == 1 else 1)


@each_dim
def test_kernels_know_no_grid(dim: int) -> None:
    """The same kernels serve every level and every size: B for cells of width 1 is scaled by h^(2 - dim)."""
    learned = perturbed(LearnedCycle(dim))
    n = 2 * SIZES[dim]
    u = torch.zeros(1, 1, *[n - 1] * dim, dtype=torch.float64)
    b = torch.zeros_like(u)
    b[(0, 0, *[n // 2] * dim)] = 1.0
    with torch.no_grad():
        for level in learned.levels(n)[:1]:
            h = 1 / n
            step = level.smoother(level.A, u, b, 1)
            assert torch.allclose(step, h ** (2 - dim) * learned.B[0](b))


# Constants.


@each_dim
@pytest.mark.parametrize("reach", [1, 2, 3])
def test_constants_are_preserved(dim: int, reach: int) -> None:
    learned = perturbed(LearnedCycle(dim, transfer_reach=reach), 0.1)
    learned.preserve_constants()
    coarse = torch.ones(1, 1, *[9] * dim, dtype=torch.float64)
    with torch.no_grad():
        fine = learned.R.T(coarse)
    inner = fine[(..., *[slice(reach, -reach)] * dim)]
    assert inner.numel() and torch.allclose(inner, torch.ones(()).double(), atol=1e-13)


@each_dim
def test_constants_are_preserved_by_the_smallest_change(dim: int) -> None:
    learned = LearnedCycle(dim, transfer_reach=2)
    before = [p.detach().clone() for p in learned.parameters()]
    learned.preserve_constants()
    assert all(torch.equal(p, q) for p, q in zip(learned.parameters(), before, strict=True))

    perturbed(learned, 0.1)
    smoother = [B.weight.detach().clone() for B in learned.B]
    kernel = learned.R.weight.detach().clone()
    learned.preserve_constants()
    change = learned.R.weight.detach() - kernel
    # Orthogonal to all that keeps the sums over each parity, hence constant on each.
    for parity in itertools.product((0, 1), repeat=dim):
        part = change[(0, 0, *[slice(p, None, 2) for p in parity])]
        assert torch.allclose(part, part.mean(), atol=1e-15)
    assert change.abs().max() > 1e-3
    assert all(torch.equal(B.weight, w) for B, w in zip(learned.B, smoother, strict=True))
    once = learned.R.weight.detach().clone()
    learned.preserve_constants()
    assert torch.allclose(learned.R.weight, once, rtol=0, atol=1e-15)


# Gradients.


@each_dim
def test_gradients_flow_to_smoother_and_transfers(dim: int) -> None:
    learned = perturbed(LearnedCycle(dim, sweeps=1, transfer_reach=2))
    n = {1: 16, 2: 8, 3: 8}[dim]
    b, target = loads(n, dim), loads(n, dim, 1)

    def loss() -> Tensor:
        return (learned(b, learned(b)) - target).square().sum()

    loss().backward()
    for name, p in learned.named_parameters():
        index = tuple(size // 2 for size in p.shape)
        slopes = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                p[index] += step
                slopes.append(float(loss()))
                p[index] -= step
        difference = (slopes[0] - slopes[1]) / 2e-6
        assert p.grad is not None and p.grad.abs().min() > 0, name
        assert float(p.grad[index]) == pytest.approx(difference, rel=1e-5), name


# Training.


def test_a_few_steps_beat_the_textbook_elsewhere() -> None:
    """Trained on 16 cells; on other grids, and for loads that it has not seen, it is faster."""
    learned = LearnedCycle()
    factors = train(learned, 16, steps=30, batch=4, lr=0.1)
    assert len(factors) == 30 and factors[-1] < 0.5 * factors[0]
    for n in (24, 64):
        own = convergence_factor(learned.levels(n))
        assert own < 0.6 * factor(n, 2, "chebyshev") < 0.6 * factor(n, 2, "jacobi")
    n = 48
    x = torch.arange(1, n, dtype=torch.float64) / n
    smooth = (torch.sin(3 * math.pi * x)[:, None] * torch.exp(x) / n**2)[None, None]
    point = torch.zeros_like(smooth)
    point[..., 10, 30] = 1
    b = torch.cat([smooth, point])
    exact = torch.as_tensor(mgnet.solve(b=b[:, 0], n=n, dim=2, method="direct").u)[:, 1:-1, 1:-1][:, None]
    others = [hierarchy(n, 2, smoother).levels for smoother in ("jacobi", "chebyshev")]
    with torch.no_grad():
        mine, *theirs = (
            error(lambda u, levels=levels: cycle(levels, b, u), b, exact)
            for levels in (learned.levels(n), *others)
        )
    assert all((mine < 0.5 * other).all() for other in theirs)


def error(step: Any, b: Tensor, exact: Tensor) -> Tensor:
    """Return what is left of the error after five cycles, for each load."""
    u = torch.zeros_like(b)
    for _ in range(5):
        u = step(u)
    return (u - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)


@each_dim
def test_training_in_all_dimensions(dim: int) -> None:
    learned = LearnedCycle(dim)
    lr = 0.03 if dim == 3 else 0.1
    train(learned, SIZES[dim], steps=30, batch=4, lr=lr, parameters=list(learned.B.parameters()))
    n = 2 * SIZES[dim]
    assert convergence_factor(learned.levels(n)) < min(factor(n, dim, s) for s in ("jacobi", "chebyshev"))


@each_dim
def test_the_loss_is_what_the_last_cycle_leaves(dim: int) -> None:
    """Of the first step, by Jacobi's cycle and SciPy's solver; and a step goes downhill."""
    n, m, batch = SIZES[dim], 3, 4
    first, *_ = train(LearnedCycle(dim), n, steps=1, cycles=m, batch=batch, seed=5)
    b = torch.randn(
        (batch, 1, *[n - 1] * dim), generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    levels = hierarchy(n, dim, "jacobi", levels=len(LearnedCycle(dim).levels(n))).levels
    u, sizes = torch.zeros_like(b), []
    inner = (slice(None), *[slice(1, -1)] * dim)
    exact = torch.as_tensor(mgnet.solve(b=b[:, 0], n=n, dim=dim, method="direct").u)[inner][:, None]
    for _ in range(m):
        u = cycle(levels, b, u)
        sizes.append((u - exact).flatten(1).norm(dim=1))
    assert first == pytest.approx(math.exp(float((sizes[-1] / sizes[-2]).log().mean())))  # eq: learned-cycle
    factors = train(LearnedCycle(dim), n, steps=10, cycles=m, batch=batch, lr=0.02, seed=5)
    assert factors[0] == pytest.approx(first) and factors[-1] < first


def test_only_the_chosen_kernels_are_trained() -> None:
    learned = LearnedCycle(1)
    before = copy.deepcopy(learned.state_dict())
    train(learned, 8, steps=2, parameters=list(learned.B.parameters()))
    assert torch.equal(learned.R.weight, before["R.weight"])
    assert not torch.equal(learned.B[0].weight, before["B.0.weight"])
    train(learned, 8, steps=2, parameters=[learned.R.weight])
    trained = learned.R.weight.detach().flatten()
    assert not torch.equal(trained, before["R.weight"].flatten())
    assert float(trained[1]) == 1 and float(trained[0] + trained[2]) == pytest.approx(1, abs=1e-15)


def test_each_sweep_has_a_kernel_of_its_own() -> None:
    first, second = (B.weight for B in LearnedCycle(2).B)
    with torch.no_grad():
        first.zero_()
    assert second.abs().max() > 0


def test_the_same_seed_trains_the_same() -> None:
    state = torch.get_rng_state()
    runs = []
    for seed in (0, 0, 1):
        learned = LearnedCycle(2, transfer_reach=2)
        runs.append((train(learned, 8, steps=3, seed=seed), learned.R.weight.detach()))
    assert runs[0][0] == runs[1][0] and torch.equal(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]
    assert torch.equal(torch.get_rng_state(), state)


def test_one_cycle_is_enough_for_a_loss() -> None:
    learned = LearnedCycle(1)
    factors = train(learned, 16, steps=20, cycles=1, lr=0.1)
    assert factors[-1] < factors[0] < 1


def test_a_learned_cycle_is_an_ordinary_module() -> None:
    learned = perturbed(LearnedCycle(2, sweeps=3, reach=2, transfer_reach=2))
    b = loads(8, 2)
    other = LearnedCycle(2, sweeps=3, reach=2, transfer_reach=2)
    other.load_state_dict(learned.state_dict())
    assert torch.equal(other(b), learned(b)) and torch.equal(copy.deepcopy(learned)(b), learned(b))
    assert {name for name, _ in learned.named_parameters()} == {
        "B.0.weight",
        "B.1.weight",
        "B.2.weight",
        "R.weight",
    }


@pytest.mark.slow
def test_full_training_beats_the_textbook() -> None:
    """The figures that the documentation states."""
    learned = LearnedCycle(transfer_reach=2)
    train(learned, 16, steps=80, lr=0.05, parameters=list(learned.B.parameters()))
    smoother = {n: convergence_factor(learned.levels(n)) for n in (16, 64, 128, 256)}
    assert all(value < 0.45 * factor(n, 2, "chebyshev") for n, value in smoother.items())
    train(learned, 32, steps=120, lr=0.04, seed=1)
    for n, before in smoother.items():
        assert convergence_factor(learned.levels(n)) < min(0.7 * before, 0.2 * factor(n, 2, "chebyshev"))


# Wrong arguments.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dim": 4}, "^dim: got 4; accepted: 1, 2 or 3"),
        ({"dim": 0}, "^dim: got 0; accepted: 1, 2 or 3"),
        ({"sweeps": 0}, "^sweeps: got 0; accepted: an integer of at least 1"),
        ({"sweeps": 1.5}, "^sweeps: got 1.5; accepted: an integer"),
        ({"reach": -1}, "^reach: got -1; accepted: an integer of at least 0"),
        ({"transfer_reach": 0}, "^transfer_reach: got 0; accepted: an integer of at least 1"),
    ],
)
def test_wrong_sizes_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        LearnedCycle(**arguments)


@pytest.mark.parametrize("name", ["n", "steps", "cycles", "batch"])
def test_wrong_training_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: got 0; accepted: an integer of at least"):
        train(LearnedCycle(1), **{"n": 8, "steps": 1, name: 0})


@pytest.mark.parametrize("shape", [(1, 1, 7), (1, 1, 7, 6), (1, 2, 7, 7), (7, 7)])
def test_loads_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^b: got shape .*; accepted: \(N, 1, n - 1, n - 1\)"):
        LearnedCycle(2)(torch.zeros(shape, dtype=torch.float64))
