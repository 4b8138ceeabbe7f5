"""Networks rewritten: norms folded into kernels, linear layers as convolutions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mgnet import Stencil
from mgnet.layers import Averaging, BatchNorm, fold_batchnorm, foldable, linear_to_conv

TORCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

pytestmark = pytest.mark.usefixtures("one_thread", "seed")


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest number."""
    assert a.shape == b.shape
    return ((a - b).abs().max() / b.abs().max()).item()


# Folding.


class SmallNet(nn.Module):
    """The network of the exercise: two convolutions and a linear layer with norms, one without."""

    def __init__(self, norm1: Any = nn.BatchNorm1d, norm2: Any = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), norm2(16), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), norm2(16), nn.ReLU())
        self.fc1 = nn.Sequential(nn.Linear(16 * 8 * 8, 64), norm1(64), nn.ReLU())
        self.fc2 = nn.Sequential(nn.Linear(64, 10), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x))
        x = x.float().view(-1, 16 * 8 * 8)
        return self.fc2(self.fc1(x))


class Forward(nn.Module):
    """A module with these children and this forward pass."""

    def __init__(self, forward: Callable[..., Tensor], **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self.function = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def randomised(model: nn.Module) -> nn.Module:
    """Give every norm statistics and numbers of its own, and switch to evaluation."""
    for norm in model.modules():
        if isinstance(norm, BatchNorm | nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                if norm.running_mean is not None:
                    norm.running_mean.normal_()
                    norm.running_var.uniform_(0.5, 2)
                if norm.weight is not None:
                    norm.weight.normal_()
                    norm.bias.normal_()
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(m, BatchNorm | nn.modules.batchnorm._BatchNorm) for m in model.modules())


@pytest.mark.parametrize(
    "kinds", [(nn.BatchNorm1d, nn.BatchNorm2d), (BatchNorm, BatchNorm)], ids=["torch", "ours"]
)
def test_folding_the_network_of_the_exercise(kinds: tuple[Any, Any]) -> None:
    model = randomised(SmallNet(*kinds))
    before = copy.deepcopy(model.state_dict())
    folded = fold_batchnorm(model)
    assert foldable(model) == [("conv1.0", "conv1.1"), ("conv2.0", "conv2.1"), ("fc1.0", "fc1.1")]
    assert norms(folded) == 0 and foldable(folded) == [] and not folded.training
    x = torch.rand(100, 3, 8, 8)
    assert ((model(x) - folded(x)) ** 2).sum() < 1e-8 * model(x).square().sum()
    assert difference(folded(x), model(x)) < 1e-5
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(("groups", "bias", "affine"), [(1, True, True), (2, False, True), (1, False, False)])
def test_folding_any_convolution(dim: int, groups: int, bias: bool, affine: bool) -> None:
    # eq: folding
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dim - 1](4, 6, 3, groups=groups, bias=bias)
    norm = TORCH_NORMS[dim](6, affine=affine, eps=0.1)
    model = randomised(nn.Sequential(convolution, norm)).double()
    x = torch.randn(2, 4, *[5] * dim, dtype=torch.float64)
    folded = fold_batchnorm(model)
    assert norms(folded) == 0
    assert difference(folded(x), model(x)) < 1e-13


def test_folding_into_an_operator_keeps_it_one() -> None:
    model = randomised(
        nn.Sequential(Stencil(torch.randn(4, 2, 3), learned=True, bias=True), nn.BatchNorm1d(4))
    )
    folded = fold_batchnorm(model.double())
    assert isinstance(folded[0], Stencil) and folded[0].boundary == ("dirichlet", "dirichlet")
    x = torch.randn(2, 2, 9, dtype=torch.float64)
    assert difference(folded(x), model(x)) < 1e-13


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 3, 3, padding=1)


def norm(**settings: Any) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(3, **settings)


def tied() -> nn.Module:
    model = nn.Sequential(conv(), norm(), conv(), norm())
    model[2].weight = model[0].weight
    return model


STAY = {
    "norm first": lambda: nn.Sequential(norm(), conv()),
    "activation between": lambda: nn.Sequential(conv(), nn.ReLU(), norm()),
    "no running statistics": lambda: nn.Sequential(conv(), norm(track_running_stats=False)),
    "fixed kernel": lambda: nn.Sequential(Averaging(dim=2), norm()),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(3, 3, 3), norm()),
    "tied kernels": tied,
    "two norms": lambda: Forward(lambda m, x: m.a(m.c(x)) + m.b(m.c(x)), c=conv(), a=norm(), b=norm()),
    "two norms of one output": lambda: Forward(
        lambda m, x: m.a(y := m.c(x)) + m.b(y), c=conv(), a=norm(), b=norm()
    ),
    "output not used": lambda: Forward(lambda m, x: (m.c(x), m.a(x))[1], c=conv(), a=norm()),
    "output used twice": lambda: Forward(lambda m, x: m.a(y := m.c(x)) + y, c=conv(), a=norm()),
    "output given away": lambda: Forward(lambda m, x: m.a(m.c(x)) + m.c(x), c=conv(), a=norm()),
    "difference": lambda: Forward(lambda m, x: m.a(x - m.c(x)), c=conv(), a=norm()),
    "kernel used": lambda: Forward(lambda m, x: F.conv2d(m.a(m.c(x)), m.c.weight), c=conv(), a=norm()),
    "norm's numbers used": lambda: Forward(
        lambda m, x: m.a(m.c(x)) * m.a.eps + m.a.weight[0], c=conv(), a=norm()
    ),
    "norm of another": lambda: Forward(lambda m, x: m.a(m.c(x)) + m.a(x), c=conv(), a=norm()),
    "in place between": lambda: Forward(lambda m, x: (m.a(y := m.c(x)), y.relu_())[0], c=conv(), a=norm()),
}


@pytest.mark.parametrize("make", STAY.values(), ids=STAY)
def test_norms_that_cannot_be_folded_stay(make: Callable[[], nn.Module]) -> None:
    model = randomised(make()).double()
    folded = fold_batchnorm(model)
    assert foldable(model) == [] and norms(folded) == norms(model)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert torch.equal(folded(x), model(x))


def test_a_pair_that_is_called_twice_is_folded() -> None:
    model = Forward(lambda m, x: m.a(m.c(m.a(m.c(x)).relu())), c=conv(), a=norm())
    randomised(model).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert foldable(model) == [("c", "a")]
    assert difference(fold_batchnorm(model)(x), model(x)) < 1e-13


def test_a_norm_with_two_names_is_folded_under_both() -> None:
    model = Forward(lambda m, x: m.a(m.c(x)), c=conv(), a=norm())
    model.also = model.a
    folded = fold_batchnorm(randomised(model))
    assert norms(folded) == 0 and isinstance(folded.also, nn.Identity)


def test_folding_follows_the_default_of_an_argument() -> None:
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.a = conv(), norm()

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            y = self.c(x)
            return self.a(y) if mask is None else y * mask

    model = randomised(Optional()).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    assert foldable(model) == [("c", "a")]
    assert difference(fold_batchnorm(model)(x), model(x)) < 1e-13


def test_folding_refuses_training_mode() -> None:
    model = SmallNet().eval()
    for part in (model, model.conv1[1]):
        part.train()
        with pytest.raises(ValueError, match="training mode; accepted: evaluation mode"):
            fold_batchnorm(model)
        model.eval()


@pytest.mark.parametrize("rewrite", [fold_batchnorm, foldable, linear_to_conv])
def test_rewriting_refuses_what_depends_on_numbers(rewrite: Callable[[nn.Module], Any]) -> None:
    model = Forward(lambda m, x: m.c(x) if x.sum() > 0 else x, c=conv()).eval()
    with pytest.raises(TypeError, match="cannot follow"):
        rewrite(model)


# Linear layers as convolutions.


class Flattening(nn.Module):
    """The network of the exercise, smaller: convolutions without padding, then linear layers."""

    def __init__(self, flatten: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 7), nn.ReLU(), nn.Conv2d(8, 6, 3))
        self.classifier = nn.Sequential(
            nn.Linear(6 * 4 * 4, 20),
            nn.BatchNorm1d(20),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(20, 5, bias=False),
        )
        self.flatten = flatten

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.classifier(self.flatten(self.features(x))))


FLATTENINGS = {
    "torch.flatten": lambda x: torch.flatten(x, 1),
    "flatten": lambda x: x.flatten(1),
    "view": lambda x: x.view(-1, 6 * 4 * 4),
    "view by size": lambda x: x.view(x.size(0), -1),
    "reshape": lambda x: x.reshape(x.shape[0], -1),
    "module": nn.Flatten(),
}


@pytest.mark.parametrize("image_shape", [None, (3, 12, 12)], ids=str)
@pytest.mark.parametrize("flatten", FLATTENINGS.values(), ids=FLATTENINGS)
def test_convolutions_slide(flatten: Callable[[Tensor], Tensor], image_shape: Any) -> None:
    # eq: linear-as-convolution
    model = randomised(Flattening(flatten))
    convolutions = linear_to_conv(model, image_shape)
    assert not any(isinstance(m, nn.Linear | nn.Flatten) for m in convolutions.modules())
    assert sum(p.numel() for p in convolutions.parameters()) == sum(p.numel() for p in model.parameters())
    assert not convolutions.training
    images = torch.rand(2, 3, 16, 18)
    windows = images.unfold(2, 12, 1).unfold(3, 12, 1)  # (2, 3, 5, 7, 12, 12)
    expected = model(windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 12, 12))
    result = convolutions(images)
    assert result.shape == (2, 5, 5, 7)
    assert (result - expected.reshape(2, 5, 7, 5).permute(0, 3, 1, 2)).square().mean() < 1e-15


def test_convolutions_have_numbers_of_their_own() -> None:
    model = Flattening(nn.Flatten())
    convolutions = linear_to_conv(model)
    assert convolutions.training
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in convolutions.parameters()}
    assert not shared
    assert isinstance(model.classifier[0], nn.Linear)


@given(dim=st.sampled_from([1, 3]), size=st.integers(1, 4), extra=st.integers(0, 3))
def test_convolutions_slide_in_other_dimensions(dim: int, size: int, extra: int) -> None:
    convolution = {1: nn.Conv1d, 3: nn.Conv3d}[dim](2, 3, 3)
    model = nn.Sequential(convolution, nn.Flatten(), nn.Linear(3 * size**dim, 4)).double()
    x = torch.rand(1, 2, *[size + 2 + extra] * dim, dtype=torch.float64)
    y = linear_to_conv(model)(x)
    assert y.shape == (1, 4, *[extra + 1] * dim)
    last = (..., *[slice(extra, None)] * dim)
    assert difference(y[(..., *[-1] * dim)], model(x[last])) < 1e-13


def test_pooling_slides_with_the_window_it_had() -> None:
    pools = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)).double()
    x = torch.rand(1, 1, 9, 10, dtype=torch.float64)
    y = linear_to_conv(pools, (1, 8, 8))(x)
    assert y.shape == (1, 3, 2, 3)
    assert difference(y[..., 1, 2], pools(x[..., 1:9, 2:10])) < 1e-13
    coarse = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(18, 3)
    ).double()
    x = torch.rand(1, 1, 12, 10, dtype=torch.float64)
    y = linear_to_conv(coarse, (1, 8, 8))(x)
    assert y.shape == (1, 3, 3, 2)[:2] + (2, 1) or y.shape[2:] == (3, 2)


def test_pooling_with_unlike_windows_stays() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32, 3)
    ).double()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    assert difference(linear_to_conv(model, (1, 8, 8))(x).flatten(1), model(x)) < 1e-13


NOT_CONVERTED = {
    "no linear layer": (lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), "no linear layer"),
    "no flattening": (lambda: nn.Sequential(nn.Linear(8, 2)), "accepted: one behind a flattening"),
    "norm of pixels": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.BatchNorm1d(72), nn.Linear(72, 2)),
        "behind the flattening; accepted there",
    ),
    "our norm of pixels": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), BatchNorm(72), nn.Linear(72, 2)),
        "behind the flattening; accepted there",
    ),
    "softmax over the last axis": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2), nn.Softmax(-1)),
        "behind the flattening; accepted there",
    ),
    "shape not known": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), "image_shape: got None"),
    "pool not known": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)),
        "image_shape: got None",
    ),
}


@pytest.mark.parametrize(("make", "said"), NOT_CONVERTED.values(), ids=NOT_CONVERTED)
def test_what_cannot_slide_is_refused(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        linear_to_conv(make())
