"""The network is the cycle: MgNet against multigrid, dense matrices and plain torch; and the way back."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import mgnet
from mgnet import checkpoint, models
from mgnet.bridge import convergence_factor, galerkin_defects, levels_of, network_of
from mgnet.layers import fold_batchnorm, foldable, linear_to_conv
from mgnet.learned import LearnedCycle
from mgnet.multigrid import Level, cycle, descend
from mgnet.operators import Prolongation, Stencil
from mgnet.operators.smoothers import Relaxation
from mgnet.operators.stiffness import Stiffness

# Cells along each axis, three grids in space and four else.
CELLS = {1: 16, 2: 16, 3: 8}
SMOOTHERS = ("jacobi", "chebyshev")

each_dim = pytest.mark.parametrize("dim", [1, 2, 3])
each_smoother = pytest.mark.parametrize("smoother", SMOOTHERS)
each_nu = pytest.mark.parametrize("nu", [1, 2, 3])

pytestmark = pytest.mark.usefixtures("one_thread", "seed")


def grids(n: int) -> int:
    return n.bit_length() - 1


def network(dim: int, nu: int = 2, **options: Any) -> Any:
    """Make a linear MgNet with the kernels of -Δ, down to one unknown, where one exact sweep is enough."""
    n = CELLS[dim]
    options = {"Pi": "zero", "nu": [nu] * (grids(n) - 1) + [1], **options}
    return models.mgnet(kernels="poisson", linear=True, dim=dim, in_channels=1, image_size=n - 1, **options)


def hierarchy(dim: int, nu: int = 2, smoother: str = "jacobi", n: int | None = None) -> mgnet.Hierarchy:
    problem = mgnet.Poisson(n=CELLS[dim] if n is None else n, dim=dim)
    return mgnet.Hierarchy(problem, method="vcycle", smoother=smoother, sweeps=(nu, nu))


def loads(dim: int, size: int | None = None, batch: int = 2) -> Tensor:
    return torch.randn(batch, 1, *[CELLS[dim] - 1 if size is None else size] * dim, dtype=torch.float64)


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest number."""
    assert a.shape == b.shape and a.dtype == b.dtype
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max() / b.abs().max())


def going_down(levels: list[Level], b: Tensor, nu: int) -> list[tuple[Tensor, Tensor]]:
    """Return u and the load of every grid on the way down a cycle; on the coarsest what solves there."""
    states = []
    for level in levels[:-1]:
        x, r = descend(level, b, None, nu)
        states.append((x, b))
        b = r
    return [*states, (levels[-1].solve(b), b)]


# The identity, half by half.


@each_dim
@each_smoother
@each_nu
def test_the_network_is_the_way_down_a_cycle(dim: int, smoother: str, nu: int) -> None:
    b = loads(dim)
    net = network(dim, nu, smoother=smoother)
    states = net.descend(b)
    expected = going_down(hierarchy(dim, nu, smoother).levels, b, nu)
    assert len(states) == len(expected) == grids(CELLS[dim])
    for (u, f), (x, r) in zip(states, expected, strict=True):
        assert difference(u, x) < 1e-12
        assert difference(f, r) < 1e-12
    assert torch.equal(net(b), states[-1][0])


@each_dim
@each_smoother
@each_nu
@pytest.mark.parametrize("Pi", ["zero", "learned", "averaging"])
def test_with_the_way_up_it_is_the_v_cycle(dim: int, smoother: str, nu: int, Pi: str) -> None:
    b = loads(dim)
    net = network(dim, nu, smoother=smoother, Pi=Pi, up=True)
    expected = cycle(hierarchy(dim, nu, smoother).levels, b, None, (nu, nu))
    assert difference(net(b), expected) < 1e-12  # eq: mgnet-cycle


@each_dim
def test_with_features_handed_down_the_corrections_are_those_of_the_cycle(dim: int) -> None:
    """In the full approximation scheme u on a coarse grid is Π u and the correction."""
    b = loads(dim)
    net = network(dim, Pi="learned")
    states, expected = net.descend(b), going_down(hierarchy(dim).levels, b, 2)
    start = torch.zeros_like(b)
    for i, ((u, f), (x, r)) in enumerate(zip(states, expected, strict=True)):
        assert difference(u - start, x) < 1e-12
        assert difference(f - (net.levels[i].A(start) if i else 0), r) < 1e-12
        if i < len(net.transfers):
            start = net.transfers[i].Pi(u)


def stiffness_matrix(n: int, dim: int) -> np.ndarray:
    """Assemble -Δ for hats by Kronecker products of one-dimensional matrices."""
    one, size = np.eye(n - 1), n - 1
    K = n * (2 * one - np.eye(size, k=1) - np.eye(size, k=-1))
    M = (4 * one + np.eye(size, k=1) + np.eye(size, k=-1)) / (6 * n)
    total = np.zeros((size**dim, size**dim))
    for axis in range(dim):
        product = np.ones((1, 1))
        for other in range(dim):
            product = np.kron(product, K if other == axis else M)
        total += product
    return total


def restriction_matrix(n: int, dim: int) -> np.ndarray:
    R = np.zeros((n // 2 - 1, n - 1))
    for i in range(n // 2 - 1):
        R[i, 2 * i : 2 * i + 3] = 0.5, 1, 0.5
    product = np.ones((1, 1))
    for _ in range(dim):
        product = np.kron(product, R)
    return product


@each_dim
def test_the_way_down_in_matrices(dim: int) -> None:
    n, nu, omega = CELLS[dim], 2, 2 / 3 if dim == 1 else 8 / 9
    b = loads(dim, batch=1)
    f = b.numpy().ravel()
    for u, data in network(dim, nu).descend(b):
        np.testing.assert_allclose(data.numpy().ravel(), f, rtol=0, atol=1e-12)
        A = stiffness_matrix(n, dim)
        x = np.zeros_like(f)
        for _ in range(nu):
            x += (omega if n > 2 else 1.0) * (f - A @ x) / A.diagonal()
        np.testing.assert_allclose(u.numpy().ravel(), x, rtol=0, atol=1e-12 * abs(x).max())
        f, n = restriction_matrix(n, dim) @ (f - A @ x) if n > 2 else f, n // 2
    assert n == 1


@each_dim
def test_both_halves_have_channels_that_do_not_mix(dim: int) -> None:
    b = torch.cat([loads(dim), loads(dim), loads(dim)], 1)
    one = network(dim, up=True)
    wide = models.mgnet(
        kernels="poisson",
        linear=True,
        up=True,
        dim=dim,
        in_channels=3,
        image_size=CELLS[dim] - 1,
        nu=[2] * (grids(CELLS[dim]) - 1) + [1],
    )
    expected = torch.cat([one(b[:, i : i + 1]) for i in range(3)], 1)
    assert difference(wide(b), expected) < 1e-12
    assert isinstance(wide.levels[0].A, Stencil) and not isinstance(wide.levels[0].A, Stiffness)


@each_dim
@each_smoother
def test_the_network_solves(dim: int, smoother: str) -> None:
    b = loads(dim)
    direct = mgnet.solve(b=b[:, 0], n=CELLS[dim], dim=dim, method="direct").u
    inner = torch.as_tensor(direct)[(slice(None), *[slice(1, -1)] * dim)][:, None]
    net = network(dim, smoother=smoother, up=True)
    A, u = net.levels[0].A, torch.zeros_like(b)
    errors = []
    for _ in range(15):
        u = u + net(b - A(u))
        errors.append(difference(u, inner))
    assert errors[0] > 1e-3 and errors[-1] < 1e-12
    assert errors[4] < 0.12 * errors[3]


@each_dim
def test_the_v_cycle_is_symmetric(dim: int) -> None:
    """As a preconditioner of conjugate gradients has to be; also its derivative is itself."""
    b, c = loads(dim, batch=1).requires_grad_(), loads(dim, batch=1)
    y = network(dim, up=True, smoother="jacobi")(b)
    (gradient,) = torch.autograd.grad((y * c).sum(), b)
    assert difference(gradient, network(dim, up=True)(c)) < 1e-12


def test_one_unknown_is_solved() -> None:
    net = models.mgnet(kernels="poisson", linear=True, dim=1, in_channels=1, image_size=1, nu=[1])
    assert torch.allclose(net(torch.ones(1, 1, 1, dtype=torch.float64)), torch.tensor(0.25).double())


@each_dim
def test_its_operators_are_those_of_the_solver(dim: int) -> None:
    net, H = network(dim, up=True), hierarchy(dim)
    for level, own in zip(H.levels, net.levels, strict=True):
        assert type(own.A) is type(level.A)
        assert torch.equal(own.A.weight, level.A.weight)
        assert [type(B).__bases__[0] for B in own.B] == [Stencil]
    for level, transfer, back in zip(H.levels, net.transfers, net.returns, strict=False):
        assert type(transfer.R) is type(level.R) and type(back.P) is type(level.P)
        assert torch.equal(transfer.R.weight, level.R.weight) and back.P.weight is transfer.R.weight
    assert not list(net.parameters())
    assert {buffer.dtype for buffer in net.buffers()} == {torch.float64}


# The hierarchy's own objects.

PROBLEMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "line": ({"n": 16}, {}),
    "Chebyshev": ({"n": 16}, {"smoother": "chebyshev"}),
    "red-black": ({"n": 16}, {"smoother": "red-black"}),
    "Robin and Neumann": ({"n": 16, "left": mgnet.Robin(2.0), "right": mgnet.Neumann()}, {}),
    "odd": ({"n": 19}, {}),
    "varying": ({"n": 16, "a": lambda x: 1 + x}, {}),
    "one grid": ({"n": 8}, {"levels": 1}),
    "two grids": ({"n": 16}, {"levels": 2}),
    "plane": ({"n": (16, 8), "dim": 2}, {}),
    "plane, red-black": ({"n": 16, "dim": 2}, {"smoother": "red-black"}),
    "plane, odd": ({"n": (15, 9), "dim": 2}, {"smoother": "jacobi"}),
    "plane, Neumann": ({"n": 16, "dim": 2, "c": 1.0, "boundary": mgnet.Neumann()}, {}),
    "plane, varying": ({"n": 8, "dim": 2, "a": lambda x, y: 1 + x * y}, {}),
    "space": ({"n": 8, "dim": 3}, {}),
}


@pytest.mark.parametrize("sweeps", [(2, 2), (1, 3), (0, 1)], ids=str)
@pytest.mark.parametrize(("problem", "options"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_network_of_the_hierarchys_own_operators(
    problem: dict[str, Any], options: dict[str, Any], sweeps: tuple[int, int]
) -> None:
    H = mgnet.Hierarchy(mgnet.Poisson(**problem), method="vcycle", **options)
    unknowns = H.levels[0].unknowns
    shape = unknowns if isinstance(unknowns, tuple) else (unknowns,)
    b = torch.randn(2, 1, *shape, dtype=torch.float64)
    whole: Any = network_of(H.levels, sweeps)
    assert difference(whole(b), cycle(H.levels, b, None, sweeps)) < 1e-12
    half: Any = network_of(H.levels, sweeps, up=False)
    states, expected = half.descend(b), going_down(H.levels, b, sweeps[0])
    for (u, f), (x, r) in zip(states, expected, strict=True):
        assert difference(f, r) < 1e-12
        assert difference(u, x) < 1e-12 or sweeps[0] == 0
    for level, own in zip(H.levels, whole.levels, strict=True):
        assert own.A is level.A or not isinstance(level.A, nn.Module)
    if isinstance(H.levels[0].P, Prolongation):
        assert whole.transfers[0].R is H.levels[0].R and whole.returns[0].P is H.levels[0].P
    copied = copy.deepcopy(whole)
    assert torch.equal(copied(b), whole(b)) and copied.levels[0].A is not whole.levels[0].A


def test_a_learned_cycle_is_a_network_too() -> None:
    learned = LearnedCycle(dim=2)
    b = loads(2).requires_grad_()
    net = network_of(learned.levels(CELLS[2]))
    assert difference(net(b), learned(b)) < 1e-12
    net(b).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in learned.parameters())


def test_making_a_network_of_operators_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    network_of(hierarchy(2).levels)
    assert torch.equal(torch.get_rng_state(), before)


# The same class with learned kernels.

CLASSIFIERS: dict[str, dict[str, Any]] = {
    "up": {"up": True},
    "up, zero": {"up": True, "Pi": "zero"},
    "up, averaging": {"up": True, "Pi": "averaging"},
    "up, own B": {"up": True, "B": "iteration"},
    "up, no norms": {"up": True, "norm": "none"},
    "Poisson": {"kernels": "poisson"},
    "Poisson, up": {"kernels": "poisson", "up": True},
    "Poisson, averaging": {"kernels": "poisson", "Pi": "averaging"},
    "Poisson, Chebyshev": {"kernels": "poisson", "smoother": "chebyshev", "up": True},
    "Poisson, own B": {"kernels": "poisson", "B": "iteration"},
    "Poisson, wider": {"kernels": "poisson", "channels": [4, 6, 8], "up": True},
    "Poisson, A fixed": {"kernels": "poisson", "learned": "BRP"},
    "Poisson, all fixed": {"kernels": "poisson", "learned": "", "up": True},
}
classifiers = pytest.mark.parametrize("options", CLASSIFIERS.values(), ids=CLASSIFIERS)


def classifier(**options: Any) -> Any:
    sizes = {"num_classes": 5, "in_channels": 2, "image_size": 12, "channels": 4, "nu": [2, 1, 2]}
    model = models.create("mgnet", **{**sizes, **options})
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model


def pictures(model: Any, size: int | None = None) -> Tensor:
    spec, dtype = model.spec, next(model.parameters()).dtype
    size = spec["image_size"] if size is None else size
    return torch.rand(3, spec["in_channels"], *[size] * spec["dim"], dtype=dtype)


@classifiers
@each_dim
@pytest.mark.parametrize("size", [12, 9])
def test_a_classifier_learns(options: dict[str, Any], dim: int, size: int) -> None:
    model = classifier(dim=dim, image_size=size, **options)
    logits = model(pictures(model))
    assert logits.shape == (3, 5)
    F.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    learned = {m.lower() for m in options.get("learned", "ABRP")}
    kernels = {
        {"A": "a", "B": "b", "R": "r", "Pi": "p", "P": "r"}[part]
        for name, parameter in model.named_parameters()
        for part in name.split(".")[2:3]
        if part in ("A", "B", "R", "Pi", "P") and parameter.ndim > 1
    }
    if options.get("Pi", "learned") != "learned":
        learned -= {"p"}
    assert kernels == learned


def padded(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    return (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3](x, kernel, stride=stride, padding=1)


def spread(x: Tensor, kernel: Tensor, size: torch.Size) -> Tensor:
    more = [n - (2 * m - 1) for n, m in zip(size, x.shape[2:], strict=True)]
    transposed: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[x.ndim - 3]
    return transposed(x, kernel, stride=2, padding=1, output_padding=more)


@each_dim
@pytest.mark.parametrize("size", [12, 9])
@pytest.mark.parametrize("Pi", ["learned", "zero"])
def test_a_classifier_with_the_way_up_is_its_formula(dim: int, size: int, Pi: str) -> None:
    model = classifier(dim=dim, image_size=size, up=True, Pi=Pi, nu=[2, 1]).double().eval()
    state, x = model.state_dict(), pictures(model) - 0.5

    def bn(name: str, x: Tensor) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    def sweep(norms: str, kernels: str, nu: int, u: Tensor, f: Tensor) -> Tensor:
        A = state.get(f"{kernels}.A.weight")
        for i in range(nu):
            r = f if A is None else f - padded(u, A)
            r = bn(f"{norms}.residual_norms.{i}", r).relu()
            u = u + bn(f"{norms}.correction_norms.{i}", padded(r, state[f"{kernels}.B.0.weight"])).relu()
        return u

    f = bn("data.1", padded(x, state["data.0.weight"])).relu()
    u = sweep("levels.0", "levels.0", 2, torch.zeros_like(f), f)
    r = f - padded(u, state["levels.0.A.weight"])
    data = bn("transfers.0.data_norm", padded(r, state["transfers.0.R.weight"], 2)).relu()
    coarse = start = torch.zeros_like(data)
    if Pi == "learned":
        start = padded(u, state["transfers.0.Pi.weight"], 2)
        coarse = bn("transfers.0.feature_norm", start).relu()
        data = data + padded(coarse, state["levels.1.A.weight"])
    coarse = sweep("levels.1", "levels.1", 1, coarse, data)
    u = u + spread(coarse - start, state["transfers.0.R.weight"], u.shape[2:])
    u = sweep("returns.0.level", "levels.0", 2, u, f)
    expected = u.flatten(2).mean(2) @ state["head.2.weight"].T + state["head.2.bias"]
    with torch.no_grad():
        assert difference(model(x), expected) < 1e-12


@each_dim
def test_an_image_classifier_starts_from_poisson_kernels(dim: int) -> None:
    model = classifier(kernels="poisson", dim=dim)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    x = torch.rand(1, 4, *[9] * dim)
    A = Stiffness(1.0, dim=dim, dtype=torch.float32)
    assert torch.allclose(model.levels[2].A(x)[:, 1:2], A(x[:, 1:2]), atol=1e-6)
    constant = torch.ones(1, 4, *[9] * dim)
    inner = (..., *[slice(1, -1)] * dim)
    assert torch.allclose(model.transfers[0].Pi(constant)[inner], torch.ones(()))
    assert model.levels[0].A(constant)[inner].abs().max() < 1e-6


@classifiers
@each_dim
def test_a_classifier_can_be_made_again(options: dict[str, Any], dim: int, tmp_path: Path) -> None:
    model = classifier(dim=dim, **options).eval()
    spec = json.loads(json.dumps(model.spec))
    checkpoint.save(tmp_path / "a.ckpt", {"spec": model.spec, "state": model.state_dict()})
    read = checkpoint.load(tmp_path / "a.ckpt")
    assert read["spec"] == spec == model.spec
    again = models.create(**read["spec"]).eval()
    again.load_state_dict(read["state"])
    x = pictures(model)
    assert torch.equal(again(x), model(x))
    copied = copy.deepcopy(model)
    assert torch.equal(copied(x), model(x)) and copied.spec == model.spec
    double = copied.double()(x.double())
    assert difference(model(x).double(), double) < 1e-5
    assert difference(copied.to(torch.float32)(x), model(x)) < 1e-6


def test_transfers_up_and_down_stay_one_kernel() -> None:
    model = classifier(kernels="poisson", up=True)
    for other in (model, copy.deepcopy(model), copy.deepcopy(model).double()):
        for transfer, back, level in zip(other.transfers, other.returns, other.levels, strict=False):
            assert back.P.weight is transfer.R.weight and back.level.A is level.A
            assert all(again is B for again, B in zip(back.level.B, level.B, strict=True))
    without = sum(p.numel() for p in classifier(kernels="poisson").parameters())
    norms = 2 * 2 * 4 * (2 + 1)  # the way up has norms of its own, and all else from the way down
    assert sum(p.numel() for p in model.parameters()) == without + norms


@pytest.mark.parametrize("up", [False, True])
def test_folding_and_sliding(up: bool) -> None:
    model = classifier(kernels="poisson", up=up).double().eval()
    x = pictures(model)
    assert difference(fold_batchnorm(model)(x), model(x)) < 1e-12
    # The data, two Π, two R, and the B of the level with one iteration; on the way up all of these but the
    # first are used again.
    assert len(foldable(model)) == (1 if up else 6)
    assert difference(linear_to_conv(model)(x).flatten(1), model(x)) < 1e-12


@each_dim
@pytest.mark.parametrize("learned", ["", "A", "ABRP"])
def test_autocast_to_bfloat16(dim: int, learned: str) -> None:
    """Fixed kernels stay in full precision, whatever autocast has made of their inputs."""
    model = classifier(dim=dim, kernels="poisson", learned=learned, up=True, Pi="learned")
    x = pictures(model)
    expected = model.eval()(x)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(x)
    logits.float().sum().backward()
    assert logits.dtype == torch.bfloat16
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert difference(logits.float(), expected) < 0.05


@each_dim
def test_counting_knows_the_axes(dim: int) -> None:
    parameters, multiplications = models.summary(
        "mgnet", dim=dim, channels=4, nu=[1, 1], image_size=8, up=True
    )
    kernel, pixels = 3**dim, (8**dim, 4**dim)
    fine, coarse = (16 * kernel * p for p in pixels)
    # On the fine grid A before R, and A and B on the way up after B on the way down; on the coarse one A' u',
    # A in f' - A' u', B, R, Π twice, and P.
    expected = 3 * 4 * kernel * pixels[0] + 4 * fine + 7 * coarse + 40
    assert multiplications == expected
    assert parameters == 4 * 3 * kernel + (2 + 2 + 2) * 16 * kernel + 2 * 4 * (1 + 2 + 2 + 2 + 2) + 50


def test_kinds_of_linear_networks() -> None:
    random = models.mgnet(linear=True, dim=2, in_channels=2, image_size=8, nu=[2, 1], Pi="averaging", up=True)
    x, y = torch.randn(2, 1, 2, 8, 8, dtype=torch.float64)
    assert difference(random(2 * x - 3 * y), 2 * random(x) - 3 * random(y)) < 1e-12
    assert random(x).shape == x.shape and all(p.dtype == torch.float64 for p in random.parameters())
    learned = network(2, up=True, learned="BR")
    learned(loads(2)).square().sum().backward()
    names = {name.split(".")[-2] for name, _ in learned.named_parameters()}
    assert names == {"R", "0"} and all(p.grad.any() for p in learned.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kernels": "laplace"}, r"^kernels: got 'laplace'; accepted: one of \('random', 'poisson'\)"),
        ({"smoother": "red-black"}, "^smoother: got 'red-black'; accepted: one of"),
        ({"kernels": "poisson", "smoother": 3}, "^smoother: got 3; accepted: one of"),
        ({"learned": "A"}, "^learned: got 'A'; accepted: None with kernels='random'"),
        ({"kernels": "poisson", "learned": "AX"}, "^learned: got 'AX'; accepted: some of the letters of"),
        ({"kernels": "poisson", "learned": 3}, "^learned: got 3; accepted: some of the letters of"),
        ({"dim": 4}, r"^dim: got 4; accepted: one of \(1, 2, 3\)"),
        ({"up": "yes"}, r"^up: got 'yes'; accepted: one of \(True, False\)"),
        ({"linear": None}, "^linear: got None; accepted: one of"),
        (
            {"kernels": "poisson", "linear": True, "image_size": 16, "nu": [1, 1]},
            "^image_size: got 16 with 2 levels; accepted: a multiple of 2, less 1, from 3 on",
        ),
        (
            {"kernels": "poisson", "linear": True, "image_size": 11},
            "^image_size: got 11 with 4 levels; accepted: a multiple of 8, less 1, from 15 on",
        ),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        models.create("mgnet", **options)


# There and back.


def propagation(levels: list[Level], sweeps: tuple[int, int]) -> Tensor:
    """Return the matrix that a V-cycle multiplies errors with, from the matrices of its operators."""
    level = levels[0]
    channels = getattr(level.A, "in_channels", 1)
    shape = level.unknowns if isinstance(level.unknowns, tuple) else (level.unknowns,)
    A = level.A.to_dense(shape).detach()
    one = torch.eye(len(A), dtype=A.dtype)
    if level.solve:
        columns = one.reshape(-1, channels, *shape)
        return one - level.solve(columns).detach().flatten(1).T @ A
    assert isinstance(level.smoother, Relaxation)
    B = [B.to_dense(shape).detach() for B in level.smoother.B]
    before, after = (
        torch.linalg.multi_dot([one, one, *[one - B[i % len(B)] @ A for i in reversed(range(times))]])
        for times in sweeps
    )
    R = level.R.to_dense(shape).detach()
    A_H = levels[1].A.to_dense(levels[1].unknowns).detach()
    coarse = (torch.eye(len(A_H), dtype=A.dtype) - propagation(levels[1:], sweeps)) @ torch.linalg.inv(A_H)
    return after @ (one - R.T @ coarse @ R @ A) @ before


def radius(matrix: Tensor) -> float:
    return float(torch.linalg.eigvals(matrix).abs().max())


@each_dim
@each_smoother
def test_the_factor_of_poissons_own_network(dim: int, smoother: str) -> None:
    net = network(dim, smoother=smoother)
    levels = levels_of(net, CELLS[dim] - 1)
    assert all(level.A is own.A for level, own in zip(levels, net.levels, strict=True))
    assert all(level.R is own.R for level, own in zip(levels, net.transfers, strict=False))
    factor = convergence_factor(levels)
    assert factor == pytest.approx(convergence_factor(hierarchy(dim, 2, smoother).levels), rel=1e-6)
    factor = convergence_factor(levels, cycles=150)
    assert factor == pytest.approx(radius(propagation(levels, (2, 2))), rel=5e-3)
    assert galerkin_defects(levels) == pytest.approx([0.0] * (grids(CELLS[dim]) - 1), abs=1e-14)


@each_dim
@pytest.mark.parametrize("up", [False, True])
def test_the_factor_of_a_learned_network(dim: int, up: bool) -> None:
    options = {"dim": dim, "channels": [2, 3], "nu": [2, 3], "kernels": "poisson", "B": "iteration", "up": up}
    model = classifier(**options).double()
    size = {1: 12, 2: 7, 3: 4}[dim]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    levels = levels_of(model, size)
    assert [level.unknowns for level in levels] == [(size,) * dim, (-(-size // 2),) * dim]
    b = torch.randn(2, 2, *[size] * dim, dtype=torch.float64)
    E = propagation(levels, (2, 1))
    with torch.no_grad():
        u = cycle(levels, levels[0].A(b), None, (2, 1))
    assert difference(b - u, (b.flatten(1) @ E.T).reshape(b.shape)) < 1e-12
    assert convergence_factor(levels, (2, 1), 600) == pytest.approx(radius(E), rel=0.05)


@each_dim
def test_defects_are_those_of_the_matrices(dim: int) -> None:
    model = classifier(dim=dim, channels=[2, 3], nu=[1, 2], kernels="random").double()
    size = {1: 12, 2: 7, 3: 4}[dim]
    fine, coarse = levels_of(model, size)
    A, R, A_H = (
        m.to_dense(level.unknowns).detach()
        for m, level in ((fine.A, fine), (fine.R, fine), (coarse.A, coarse))
    )
    expected = float(torch.linalg.matrix_norm(R @ A @ R.T - A_H) / torch.linalg.matrix_norm(A_H))
    assert galerkin_defects([fine, coarse]) == pytest.approx([expected], rel=1e-12)
    assert expected > 0.1


def test_the_way_there_and_back_is_the_way() -> None:
    """A hierarchy as a network, and that as levels: the cycle that it was."""
    H = hierarchy(2)
    levels = levels_of(network_of(H.levels), CELLS[2] - 1)
    b = loads(2)
    assert difference(cycle(levels, b, None, (1, 1)), cycle(H.levels, b, None, (2, 2))) < 1e-12


def test_looking_at_a_network_leaves_it_as_it_is() -> None:
    model = classifier(kernels="poisson").train()
    before = copy.deepcopy(model.state_dict())
    levels = levels_of(model, 12)
    convergence_factor(levels, cycles=3)
    galerkin_defects(levels)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_divergent_network_says_so() -> None:
    model = classifier(kernels="random", nu=[2, 2])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1e5
    assert not convergence_factor(levels_of(model, 12)) < 1


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (lambda: levels_of(nn.Identity(), 8), "^network: got Identity; accepted: MgNet"),  # type: ignore[arg-type]
        (lambda: levels_of(classifier(), 3), "^image_size: got 3; accepted: an integer of at least 4"),
        (lambda: levels_of(classifier(nu=[1]), 8), "^network: got one level of one iteration"),
        (
            lambda: galerkin_defects(levels_of(classifier(nu=[2, 1], Pi="zero"), 8)),
            "^levels: got a coarsest grid without A",
        ),
    ],
)
def test_what_is_no_method_is_refused(case: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        case()


def test_without_a_on_the_coarsest_grid_there_is_a_factor() -> None:
    levels = levels_of(classifier(nu=[2, 1], Pi="zero", kernels="poisson"), 8)
    assert 0 < convergence_factor(levels) < 1
