"""The models: their sizes against published counts, their functions against plain torch, and the registry.

A model joins the tests by one line in ``MODELS``. What would take long runs with small images or without
numbers (on the device "meta"); big models do the rest in the slow tests.
"""

from __future__ import annotations

import copy
import inspect
import io
import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy
import pytest
import torch
from processes import finished
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from mgnet import models
from mgnet.layers import BatchNorm, Dropout, fold_batchnorm, foldable, linear_to_conv
from mgnet.operators import Stencil


class Facts(NamedTuple):
    """The smallest image that a model takes, its parameters, and its own (classes, channels, image size)."""

    least: int
    parameters: int
    sizes: tuple[int, int, int] = (10, 3, 32)


# One line for each model.
MODELS = {
    "logistic": Facts(1, 7_850, (10, 1, 28)),
    "mlp": Facts(1, 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10, (10, 1, 28)),
    "lenet5": Facts(32, 61_706, (10, 1, 32)),
    "net": Facts(16, 62_006),
    "maxconvnet": Facts(15, 4_885, (10, 1, 28)),
    "alexnet": Facts(67, 61_100_840, (1000, 3, 227)),
    "alexnet-cifar": Facts(29, 2_472_266),
    "vgg11": Facts(32, 9_231_114),
    "vgg13": Facts(32, 9_416_010),
    "vgg16": Facts(32, 14_728_266),
    "vgg19": Facts(32, 20_040_522),
    "googlenet": Facts(4, 6_166_250),
    "resnet": Facts(4, 269_722),
    "resnet20": Facts(4, 269_722),
    "resnet32": Facts(4, 464_154),
    "resnet44": Facts(4, 658_586),
    "resnet56": Facts(4, 853_018),
    "resnet110": Facts(4, 1_727_962),
    "resnet18": Facts(8, 11_173_962),
    "resnet34": Facts(8, 21_282_122),
    "resnet50": Facts(8, 23_520_842),
    "preact18": Facts(8, 11_171_146),
    "mgnet": Facts(8, 521_418),
    "mgnet-32": Facts(8, 131_690),
    "mgnet-64": Facts(8, 521_418),
    "mgnet-128": Facts(8, 2_075_018),
    "mgnet-256": Facts(8, 8_278_794),
}
LEAST = {name: facts.least for name, facts in MODELS.items()}
BIG = {"alexnet", "vgg13", "vgg16", "vgg19", "resnet34", "resnet50", "mgnet-128", "mgnet-256"}
DEEP = {"resnet44", "resnet56", "resnet110"}
SLOW = BIG | DEEP | {"resnet18", "googlenet"}

MGNETS: dict[str, dict[str, Any]] = {
    "one iteration": {"nu": [1, 1, 1]},
    "many": {"nu": [3, 1, 2], "channels": [4, 6, 8]},
    "own B": {"nu": [2, 2], "B": "iteration"},
    "averaging": {"nu": [2, 1], "Pi": "averaging"},
    "zero": {"nu": [1, 2], "Pi": "zero"},
    "zero, A not used": {"nu": [2, 1], "Pi": "zero"},
    "one level": {"nu": [2]},
    "one level, A not used": {"nu": [1]},
    "plain transfers": {"nu": [1, 2], "transfer_norm": False},
    "no norm": {"nu": [2, 2], "norm": "none"},
    "tanh": {"nu": [2, 2], "activation": "tanh"},
    "linear": {"nu": [2, 2], "norm": "none", "activation": "identity"},
}

pytestmark = pytest.mark.usefixtures("one_thread", "seed")


def every(slow: set[str]) -> Any:
    """Run a test for every model, for those named with the slow tests."""
    marks = {name: [pytest.mark.slow] if name in slow else [] for name in LEAST}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name]) for name in LEAST])


variants = pytest.mark.parametrize("options", MGNETS.values(), ids=MGNETS)


def small(name: str, **arguments: Any) -> nn.Module:
    """Make a model for the smallest images that it takes."""
    return models.create(name, **{"image_size": LEAST[name], **arguments})


def without_numbers(name: str, **arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return models.create(name, **arguments)


def tiny_mgnet(**options: Any) -> nn.Module:
    """Make an MgNet of 4 channels, unless told otherwise, with norms that do something."""
    return randomised(models.create("mgnet", **{"image_size": 9, "channels": 4, **options}))


def images(model: nn.Module, n: int = 2) -> Tensor:
    """Return random images as the model takes them."""
    parameter = next(model.parameters())
    size = model.spec["image_size"]
    return torch.rand(
        n, model.spec["in_channels"], size, size, dtype=parameter.dtype, device=parameter.device
    )


def randomised(model: nn.Module) -> nn.Module:
    """Give every norm statistics and numbers of its own."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 1.5)
            with torch.no_grad():
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(0, 0.3)
    return model


def norms(model: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | BatchNorm) for m in model.modules())


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest number."""
    assert a.shape == b.shape
    return ((a - b).abs().max() / b.abs().max()).item()


# Sizes.

PARAMETERS: list[tuple[str, dict[str, Any], int]] = [
    *((name, {}, facts.parameters) for name, facts in MODELS.items()),
    ("mlp", {"hidden": [100]}, 784 * 100 + 100 + 100 * 10 + 10),
    ("net", {"batch_norm": True}, 62_006 + 2 * 6 + 2 * 84),
    ("net", {"widths": (2, 3, 5, 7)}, 76 * 2 + 51 * 3 + 76 * 5 + 6 * 7 + 8 * 10),
    ("alexnet-cifar", {"widths": (2, 3, 4, 5, 6)}, 364 * 2 + 51 * 3 + 28 * 4 + 37 * 5 + 46 * 6 + 7 * 10),
    (
        "vgg11",
        {"widths": (1, 2, 3, 4, 5)},
        30 + 12 * 2 + 21 * 3 + 30 * 3 + 30 * 4 + 39 * 4 + 39 * 5 + 48 * 5 + 60,
    ),
    ("googlenet", {"width": 1}, 6_166_250),
    ("resnet", {"repeats": (18, 18, 18)}, 1_727_962),
    ("resnet", {"repeats": (2, 2, 2, 2), "widths": (64, 128, 256, 512), "block": "wide"}, 11_173_962),
    ("mgnet", {"nu": [1, 1, 1, 1], "channels": 32}, 131_178),
    ("mgnet", {"nu": [1, 1, 1, 1]}, 520_394),
    ("mgnet-256", {"num_classes": 100}, 8_301_924),
    ("mgnet-64", {"B": "iteration"}, 668_874),
    ("mgnet-128", {"B": "iteration"}, 2_664_842),
    ("mgnet-256", {"B": "iteration"}, 10_638_090),
]


@pytest.mark.parametrize(("name", "options", "parameters"), PARAMETERS)
def test_parameters_are_those_of_the_published_models(
    name: str, options: dict[str, Any], parameters: int
) -> None:
    assert models.summary(name, **options)[0] == parameters
    assert sum(p.numel() for p in without_numbers(name, **options).parameters()) == parameters


def test_parameters_of_resnet50_by_arithmetic() -> None:
    # eq: parameters
    def bottleneck(inputs: int, width: int) -> int:
        convolutions = inputs * width + 9 * width**2 + 4 * width**2
        return convolutions + 2 * (width + width + 4 * width)

    total, inputs = 27 * 64 + 2 * 64, 64
    for width, repeats in ((64, 3), (128, 4), (256, 6), (512, 3)):
        total += inputs * 4 * width + 2 * 4 * width  # the skip of the first block
        for _ in range(repeats):
            total += bottleneck(inputs, width)
            inputs = 4 * width
    assert total + inputs * 10 + 10 == 23_520_842 == models.summary("resnet50")[0]


def test_all_names_are_tested() -> None:
    code = "from mgnet import models; print(*models.names())"  # without what other tests register
    done = finished("-c", code)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(MODELS)


@every(slow=BIG | DEEP)
def test_multiplications_are_those_that_torch_counts(name: str) -> None:
    model = without_numbers(name).eval()
    with FlopCounterMode(display=False) as counter:
        model(images(model, 1))
    assert models.summary(name)[1] * 2 == counter.get_total_flops()


def test_multiplications_of_alexnet() -> None:
    model = without_numbers("alexnet")
    counted = models.count(model, (3, 227, 227))
    assert (counted.convolution, counted.linear) == (655_566_528, 58_621_952)
    assert counted.total == 655_566_528 + 58_621_952
    parameters = {
        kind: sum(r.parameters for r in counted.rows if r.kind == kind) for kind in ("convolution", "linear")
    }
    assert parameters == {"convolution": 2_469_696, "linear": 58_631_144}
    assert [row.name for row in counted.rows][:2] == ["features.0", "features.3"]


def test_multiplications_of_lenet_by_hand() -> None:
    # eq: multiply-adds
    expected = (25 * 6 * 28**2, 25 * 6 * 16 * 10**2, 25 * 16 * 120, 120 * 84, 84 * 10)
    assert (
        tuple(row.multiplications for row in models.count(models.create("lenet5"), (1, 32, 32)).rows)
        == expected
    )


def test_counting_of_shared_grouped_and_transposed_layers() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    model = nn.Sequential(conv, nn.ReLU(), conv, nn.ConvTranspose2d(4, 2, 2, stride=2))
    rows = models.count(model, (4, 5, 5)).rows
    assert [row.multiplications for row in rows] == [25 * 4 * 2 * 9] * 2 + [25 * 4 * 2 * 4]
    assert [row.parameters for row in rows] == [4 * 2 * 9 + 4, 0, 4 * 2 * 4 + 2]


def test_a_kernel_of_two_layers_is_counted_once() -> None:
    model = models.create("mgnet", channels=4, nu=[1, 1], up=True)
    rows = models.count(model, (3, 32, 32)).rows
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    layers = [m for m in model.modules() if isinstance(m, kinds)]
    shared = {id(p): p.numel() for layer in layers for p in layer.parameters()}
    assert sum(row.parameters for row in rows) == sum(shared.values())


def test_products_with_fixed_kernels_are_counted_and_their_numbers_are_not() -> None:
    free, fixed = (
        models.summary("mgnet", channels=4, kernels="poisson", learned=learned) for learned in ("ABRP", "BRP")
    )
    assert free[0] - fixed[0] == 4 * 9 * 4**2
    # A is applied once for each iteration, but for the very first, once for what goes to the next grid, and
    # once for what came from the grid before: to four channels alone in the place of all pairs.
    applied = 2 * 32**2 + 4 * 16**2 + 4 * 8**2 + 3 * 4**2
    assert free[1] - fixed[1] == applied * 9 * (4**2 - 4)


def test_counting_leaves_the_model_as_it_is() -> None:
    model = small("resnet20").double()
    before = copy.deepcopy(model.state_dict())
    models.count(model, (3, 8, 8))
    assert model.training
    assert all(not m._forward_hooks for m in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


# The registry.


def test_names_are_sorted_by_alphabet_and_number() -> None:
    names = [name for name in models.names() if name in LEAST]
    assert names[:4] == ["alexnet", "alexnet-cifar", "googlenet", "lenet5"]
    assert names.index("resnet56") < names.index("resnet110") < names.index("vgg11")


def test_an_unknown_name_is_refused_with_those_known() -> None:
    with pytest.raises(
        ValueError, match=r"^name: got 'resnet21'; accepted: one of alexnet, .*resnet20.*vgg19"
    ):
        models.create("resnet21")


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("net", {"drop": 0.5}, "^drop: got 0.5; accepted by 'net': dropout, batch_norm, widths$"),
        ("resnet20", {"depth": 8}, "^depth: got 8; accepted by 'resnet20': padding$"),
        ("resnet20", {"repeats": [1, 1, 1]}, "^repeats: got .*; accepted by 'resnet20': padding$"),
        ("resnet", {"repeats": None}, "^repeats: got None; accepted: a list of integers"),
        ("net", {"widths": "6789"}, "^widths: got '6789'; accepted: a list of 4 integers"),
        ("googlenet", {"width": "2"}, "^width: got '2'; accepted: a real number"),
        ("mgnet-64", {"channels": 32}, "^channels: got 32; accepted by 'mgnet-64': nu, B, Pi"),
        ("mlp", {"hidden": torch.ones(2)}, "^hidden: got .*; accepted: a number, a string, None, or a list"),
        ("mlp", {"hidden": True}, "^hidden: got True; accepted: a list of widths"),
        ("mlp", {"hidden": 2.5}, "^hidden: got 2.5; accepted: an integer"),
        ("mlp", {"hidden": [2.5]}, "^hidden: got 2.5; accepted: an integer"),
        ("mgnet", {"nu": None}, "^nu: got None; accepted: a list of integers, one for each level"),
        ("mgnet", {"nu": "2222"}, "^nu: got '2222'; accepted: a list"),
        ("mgnet", {"nu": []}, r"^nu: got \[\]; accepted: a list"),
        ("resnet20", {"num_classes": 2.0}, "^num_classes: got 2.0; accepted: an integer of at least 1"),
    ],
)
def test_wrong_kinds_are_refused(name: str, option: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        models.create(name, **option)


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("net", {"dropout": 2}, "^dropout: got 2; accepted: a probability"),
        ("mlp", {"hidden": [0]}, "^hidden: got 0; accepted: an integer of at least 1"),
        ("resnet20", {"num_classes": 0}, "^num_classes: got 0; accepted: an integer of at least 1"),
        ("resnet20", {"in_channels": 0}, "^in_channels: got 0; accepted: an integer of at least 1"),
        ("net", {"widths": [6, 16]}, r"^widths: got \[6, 16\]; accepted: a list of 4 integers"),
        ("alexnet-cifar", {"widths": [1, 2, 3, 4, 0]}, "^widths: got 0; accepted: an integer of at least 1"),
        ("vgg11", {"widths": [1] * 6}, r"^widths: got \[1, .*; accepted: a list of 5 integers"),
        ("googlenet", {"width": 0}, "^width: got 0; accepted: a positive number"),
        ("resnet", {"repeats": [1, 1]}, r"^widths: got \[16, 32, 64\]; accepted: 2 integers, as repeats has"),
        ("resnet", {"block": "slim"}, r"^block: got 'slim'; accepted: one of \('thin', 'wide', "),
        ("mgnet", {"nu": [2, 0]}, "^nu: got 0; accepted: an integer of at least 1"),
        ("mgnet", {"channels": [8, 8]}, r"^channels: got \[8, 8\]; accepted: one integer, or 4 as nu has"),
        ("mgnet", {"B": "shared"}, r"^B: got 'shared'; accepted: one of \('level', 'iteration'\)"),
        ("mgnet", {"Pi": "fixed"}, r"^Pi: got 'fixed'; accepted: one of \('learned', 'averaging', 'zero'\)"),
        ("mgnet", {"norm": "layer"}, "^norm: got 'layer'; accepted: one of"),
        (
            "mgnet",
            {"nu": [101], "kernels": "poisson", "smoother": "chebyshev"},
            "^nu: got 101; accepted with smoother='chebyshev': up to 100",
        ),
        ("mgnet", {"activation": "elu"}, "^activation: got 'elu'; accepted: one of"),
        ("mgnet", {"transfer_norm": "no"}, "^transfer_norm: got 'no'; accepted: one of"),
        (
            "mgnet",
            {"nu": [1, 1], "channels": [4, 8], "Pi": "averaging"},
            "^Pi: got 'averaging' from 4 to 8 channels; accepted: as many channels on all levels",
        ),
    ],
)
def test_wrong_values_are_refused(name: str, option: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        models.create(name, **option)


@pytest.mark.parametrize(
    ("name", "option", "value"), [("mlp", "hidden", 64), ("mgnet", "nu", 2), ("mgnet", "nu", numpy.int64(2))]
)
def test_one_number_is_a_list_of_one(name: str, option: str, value: Any) -> None:
    single, listed = (models.create(name, **{option: x}) for x in (value, [int(value)]))
    assert single.spec == listed.spec
    assert single.spec[option] == [int(value)]
    assert shapes(single) == shapes(listed)


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: x.shape for name, x in model.state_dict().items()}


@every(slow=DEEP)
def test_too_small_images_are_refused_and_the_smallest_taken(name: str) -> None:
    least = LEAST[name]
    with pytest.raises(
        ValueError, match=f"^image_size: got {least - 1}; accepted: an integer of at least {least}"
    ):
        models.create(name, image_size=least - 1)
    model = without_numbers(name, image_size=least)
    assert model(images(model)).shape == (2, model.spec["num_classes"])


@every(slow=BIG | DEEP)
@pytest.mark.parametrize("sizes", [(7, 1, 0), (100, 4, 9), (2, 3, 32)], ids=str)
def test_sizes_are_arguments(name: str, sizes: tuple[int, int, int]) -> None:
    classes, channels, more = sizes
    size = LEAST[name] + more
    model = without_numbers(name, num_classes=classes, in_channels=channels, image_size=size)
    x = torch.empty(2, channels, size, size, device="meta")
    assert model(x).shape == (2, classes)
    expected = {"name": name, "num_classes": classes, "in_channels": channels, "image_size": size}
    assert expected.items() <= model.spec.items()


def test_a_model_without_arguments_has_its_own_sizes() -> None:
    for name, facts in MODELS.items():
        spec = without_numbers(name).spec
        assert (spec["num_classes"], spec["in_channels"], spec["image_size"]) == facts.sizes


SPECS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {"hidden": (12, 7)}),
    ("net", {"dropout": 0.25, "batch_norm": True}),
    ("resnet20", {"num_classes": 100, "image_size": 16}),
    ("resnet", {"repeats": (1, 2), "widths": (4, 6), "block": "bottleneck"}),
    ("googlenet", {"width": 0.05, "image_size": 8}),
    ("vgg11", {"widths": (2, 3, 4, 5, 6)}),
    *(("mgnet", options) for options in MGNETS.values()),
    ("mgnet-32", {"nu": (1, 1), "B": "iteration"}),
]


@pytest.mark.parametrize(("name", "options"), SPECS)
def test_a_model_can_be_made_again(name: str, options: dict[str, Any]) -> None:
    model = models.create(name, **options)
    spec = json.loads(json.dumps(model.spec))
    assert spec == model.spec
    again = models.create(**spec)
    again.load_state_dict(model.state_dict())
    assert again.spec == model.spec
    x = images(model)
    assert torch.equal(again.eval()(x), model.eval()(x))
    file = io.BytesIO()
    torch.save({"spec": model.spec, "state": model.state_dict()}, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["spec"] == model.spec


def test_options_stand_in_the_spec_with_their_defaults() -> None:
    assert models.create("net").spec == {
        **{"name": "net", "num_classes": 10, "in_channels": 3, "image_size": 32},
        **{"dropout": 0.0, "batch_norm": False, "widths": [6, 16, 120, 84]},
    }
    assert models.create("mgnet-32").spec["nu"] == [2, 2, 2, 2]
    for name in ("net", "lenet5"):
        plain = json.loads(json.dumps(models.defaults(name)))  # lists, as a spec has them
        assert plain == {k: v for k, v in models.create(name).spec.items() if k != "name"}
    assert "channels" in models.defaults("mgnet") and "channels" not in models.defaults("mgnet-32")
    with pytest.raises(ValueError, match="^name: got 'lenet'; accepted: one of"):
        models.defaults("lenet")


def test_a_model_of_ones_own() -> None:
    @models.register("mine", width=3)
    @models.register("mine-wide", width=8, num_classes=5)
    class Mine(nn.Sequential):
        def __init__(
            self, num_classes: int, in_channels: int, image_size: int = 4, *, width: int, bias: bool = True
        ):
            linear = nn.Linear(in_channels * image_size**2, width, bias)
            super().__init__(nn.Flatten(), linear, nn.Linear(width, num_classes))

    assert inspect.isclass(Mine)
    assert {"mine", "mine-wide"} <= set(models.names())
    sizes = {"in_channels": 3, "image_size": 4}
    wide = models.create("mine-wide", bias=False)
    assert wide.spec == {"name": "mine-wide", "num_classes": 5, **sizes, "bias": False}
    assert models.create("mine-wide", num_classes=2)(torch.ones(1, 3, 4, 4)).shape == (1, 2)
    assert models.summary("mine") == (48 * 3 + 3 + 3 * 10 + 10, 48 * 3 + 3 * 10)
    with pytest.raises(TypeError, match="^width: got 4; accepted by 'mine': bias"):
        models.create("mine", width=4)


def test_a_name_cannot_be_taken_twice() -> None:
    with pytest.raises(
        ValueError, match="^name: got 'resnet20', which is registered already; accepted: a new name"
    ):
        models.register("resnet20")
    with pytest.raises(TypeError, match="^name: got 3; accepted: a string"):
        models.register(3)


@pytest.mark.parametrize(
    "factory",
    [
        lambda num_classes, in_channels: nn.Identity(),
        lambda num_classes, in_channels, image_size, width: nn.Identity(),
        lambda num_classes, in_channels, image_size, **options: nn.Identity(),
        lambda num_classes, in_channels, image_size, /: nn.Identity(),
    ],
)
def test_a_factory_must_say_what_it_takes(factory: Callable[..., nn.Module]) -> None:
    with pytest.raises(TypeError, match="^factory: got .*accepted: one that takes num_classes, in_channels"):
        models.register("factory")(factory)
    assert "factory" not in models.names()


def test_a_factory_must_make_a_module() -> None:
    models.register("none")(lambda num_classes, in_channels, image_size: None)
    with pytest.raises(TypeError, match="^factory: 'none' made a NoneType; accepted: a torch.nn.Module"):
        models.create("none")


# What the models have in common.


@every(slow=set())
def test_convolutions_are_operators(name: str) -> None:
    convolutions = [m for m in without_numbers(name).modules() if isinstance(m, nn.modules.conv._ConvNd)]
    assert all(isinstance(m, Stencil) for m in convolutions)
    assert bool(convolutions) == (name not in ("logistic", "mlp"))


def with_gradients(model: nn.Module) -> nn.Module:
    model.train()
    logits = model(images(model, 4))
    F.cross_entropy(logits, torch.arange(4, device=logits.device) % logits.shape[1]).backward()
    return model


@every(slow=BIG | DEEP)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = with_gradients(without_numbers(name, image_size=2 * LEAST[name]))
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@every(slow=SLOW)
def test_gradients_are_numbers(name: str) -> None:
    model = with_gradients(small(name, image_size=2 * LEAST[name]))
    bad = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert bad == []


@variants
def test_gradients_reach_every_parameter_of_mgnet(options: dict[str, Any]) -> None:
    model = with_gradients(tiny_mgnet(**options))
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    last = len(options["nu"]) - 1
    still = [name for name, p in model.named_parameters() if not p.grad.any()]
    cancels = options["nu"][-1] == 1 and last > 0 and options.get("Pi") != "zero"
    assert still == ([f"levels.{last}.A.weight"] if cancels else [])


@every(slow=SLOW)
def test_evaluation_repeats_and_copies_agree(name: str) -> None:
    model = randomised(small(name)).eval()
    x = images(model)
    y = model(x)
    assert torch.equal(model(x), y)
    other = copy.deepcopy(model)
    assert torch.equal(other(x), y) and other.spec == model.spec
    fresh = small(name).eval()
    assert not torch.equal(fresh(x), y)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), y)
    assert difference(model(x[:1]), y[:1]) < 1e-5


@every(slow=SLOW)
def test_float64(name: str) -> None:
    model = randomised(small(name)).eval()
    x = images(model)
    single = model(x)
    assert difference(single.double(), model.double()(x.double())) < 1e-5


def convolved_in_channels_last(model: nn.Module) -> list[str]:
    """Return the names of the layers whose images are not in the memory format channels_last."""
    wrong = []

    def look(name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        for x in (*inputs, output):
            if (
                isinstance(x, Tensor)
                and x.ndim == 4
                and not x.is_contiguous(memory_format=torch.channels_last)
            ):
                wrong.append(name)

    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, i, o, name=name: look(name, i, o))
    model(images(model).contiguous(memory_format=torch.channels_last))
    return wrong


@every(slow=SLOW)
def test_channels_last_gives_the_same(name: str) -> None:
    model = randomised(small(name, image_size=LEAST[name] + 4)).eval()
    x = images(model)
    y = model(x)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert difference(last(x.contiguous(memory_format=torch.channels_last)), y) < 1e-5
    # A flattening ends the images; before it none may be copied to another format.
    if name not in ("logistic", "mlp"):
        assert convolved_in_channels_last(last.train()) == []


@variants
def test_mgnet_keeps_channels_last(options: dict[str, Any]) -> None:
    model = tiny_mgnet(**options).to(memory_format=torch.channels_last)
    assert convolved_in_channels_last(model) == []


@pytest.mark.parametrize(
    "name", ["lenet5", "net", "alexnet-cifar", "vgg11", "resnet20", "preact18", "mgnet-32"]
)
def test_autocast_to_bfloat16(name: str) -> None:
    model = small(name).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(images(model).contiguous(memory_format=torch.channels_last))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every(slow=SLOW)
def test_the_same_seed_gives_the_same_model(name: str) -> None:
    states = []
    for number in (0, 0, 1):
        torch.manual_seed(number)
        states.append(small(name).state_dict())
    kernels = [key for key, value in states[0].items() if value.ndim > 1]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not any(torch.equal(states[0][key], states[2][key]) for key in kernels)


@pytest.mark.parametrize("name", ["vgg11", "resnet20", "resnet18", "preact18", "googlenet", "mgnet-64"])
def test_kernels_start_as_he_et_al_say(name: str) -> None:
    # eq: kaiming
    for module in small(name).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            inputs = module.weight[0].numel()
            deviation = math.sqrt(2 / inputs)
            bound = 5 * deviation / math.sqrt(2 * module.weight.numel())
            assert abs(module.weight.std().item() - deviation) < bound
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight)) and not module.bias.any()


@pytest.mark.parametrize("name", ["logistic", "mlp", "lenet5", "net", "maxconvnet", "alexnet-cifar"])
def test_kernels_of_the_lectures_start_as_torchs_do(name: str) -> None:
    # eq: uniform-start
    for module in small(name).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            reach = 1 / math.sqrt(module.weight[0].numel())
            for values in (module.weight, module.bias):
                assert values.abs().max() <= reach
            if module.weight.numel() > 100:
                assert module.weight.abs().max() > 0.9 * reach


# The models against plain torch.


def plain(*layers: Any) -> nn.Sequential:
    return nn.Sequential(*layers)


class PlainResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        skip = torch.zeros_like(y)
        skip[:, : x.shape[1]] = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + skip)


def plain_resnet20() -> nn.Module:
    blocks, inputs = [], 16
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        for i in range(3):
            blocks.append(PlainResidual(inputs, width, stride if i == 0 else 1))
            inputs = width
    first = plain(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return plain(first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class PlainWide(nn.Module):
    """Convolutions of these sizes and widths, the stride in the first 3×3 one, and a projection."""

    def __init__(self, inputs: int, sizes: tuple[int, ...], widths: tuple[int, ...], stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        outputs, wide = inputs, sizes.index(3)
        for i, (size, width) in enumerate(zip(sizes, widths, strict=True)):
            step = stride if i == wide else 1
            layers += [
                nn.Conv2d(outputs, width, size, step, size // 2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            outputs = width
        self.layers = plain(*layers[:-1])
        self.skip = plain()
        if stride > 1 or inputs != outputs:
            self.skip = plain(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + self.skip(x))


def plain_wide(sizes: tuple[int, ...], last: int, repeats: tuple[int, ...]) -> nn.Module:
    blocks, inputs = [], 64
    for width, repeat in zip((64, 128, 256, 512), repeats, strict=True):
        widths = (*[width] * (len(sizes) - 1), last * width)
        for i in range(repeat):
            blocks.append(PlainWide(inputs, sizes, widths, 2 if width > 64 and i == 0 else 1))
            inputs = last * width
    first = plain(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    return plain(first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


class PlainInception(nn.Module):
    def __init__(self, inputs: int, n1: int, r3: int, n3: int, r5: int, n5: int, pooled: int) -> None:
        super().__init__()

        def conv(a: int, b: int, size: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, size, padding=size // 2), nn.BatchNorm2d(b), nn.ReLU()]

        self.a = plain(*conv(inputs, n1, 1))
        self.b = plain(*conv(inputs, r3, 1), *conv(r3, n3, 3))
        self.c = plain(*conv(inputs, r5, 1), *conv(r5, n5, 3), *conv(n5, n5, 3))
        self.d = plain(nn.MaxPool2d(3, 1, 1), *conv(inputs, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x), self.c(x), self.d(x)], 1)


def plain_googlenet() -> nn.Module:
    return plain(
        *(nn.Conv2d(3, 192, 3, padding=1), nn.BatchNorm2d(192), nn.ReLU()),
        *(PlainInception(192, 64, 96, 128, 16, 32, 32), PlainInception(256, 128, 128, 192, 32, 96, 64)),
        nn.MaxPool2d(3, 2, 1),
        *(PlainInception(480, 192, 96, 208, 16, 48, 64), PlainInception(512, 160, 112, 224, 24, 64, 64)),
        *(PlainInception(512, 128, 128, 256, 24, 64, 64), PlainInception(512, 112, 144, 288, 32, 64, 64)),
        PlainInception(528, 256, 160, 320, 32, 128, 128),
        nn.MaxPool2d(3, 2, 1),
        *(PlainInception(832, 256, 160, 320, 32, 128, 128), PlainInception(832, 384, 192, 384, 48, 128, 128)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 10)),
    )


class PlainPreActivation(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.skip = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        skip = x if self.skip is None else self.skip(y)
        return self.conv2(F.relu(self.bn2(self.conv1(y)))) + skip


def plain_preact18() -> nn.Module:
    blocks, inputs = [], 64
    for width in (64, 128, 256, 512):
        blocks += [
            PlainPreActivation(inputs, width, 1 if width == 64 else 2),
            PlainPreActivation(width, width, 1),
        ]
        inputs = width
    first = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    return plain(first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def plain_lenet5() -> nn.Module:
    return plain(
        *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def plain_net() -> nn.Module:
    return plain(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def plain_maxconvnet() -> nn.Module:
    return plain(
        *(nn.Conv2d(1, 4, 2), nn.MaxPool2d(2, 1), nn.Conv2d(4, 8, 4), nn.MaxPool2d(4, 1)),
        *(nn.Conv2d(8, 15, 4), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(240, 10)),
    )


def plain_alexnet() -> nn.Module:
    return plain(
        *(
            nn.Conv2d(3, 64, 11, 4, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
        ),
        *(nn.MaxPool2d(2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1)),
        *(nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(256, 10)),
    )


def plain_vgg11() -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 3
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
    return plain(*layers, nn.Flatten(), nn.Linear(512, 10))


# The reference, and the size of the images to compare with.
PLAIN: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "lenet5": (plain_lenet5, 32),
    "net": (plain_net, 32),
    "maxconvnet": (plain_maxconvnet, 28),
    "alexnet-cifar": (plain_alexnet, 32),
    "vgg11": (plain_vgg11, 32),
    "googlenet": (plain_googlenet, 11),
    "resnet20": (plain_resnet20, 32),
    "resnet18": (lambda: plain_wide((3, 3), 1, (2, 2, 2, 2)), 15),
    "resnet34": (lambda: plain_wide((3, 3), 1, (3, 4, 6, 3)), 15),
    "resnet50": (lambda: plain_wide((1, 3, 1), 4, (3, 4, 6, 3)), 15),
    "preact18": (plain_preact18, 15),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW - {"googlenet"} else []) for n in PLAIN]
)
def test_models_equal_plain_torch(name: str, training: bool) -> None:
    plain_model, size = PLAIN[name]
    model, reference = randomised(models.create(name, image_size=size)).double(), plain_model().double()
    layers = [[m for m in each.modules() if m._parameters] for each in (model, reference)]
    for ours, theirs in zip(*layers, strict=True):
        theirs.load_state_dict(ours.state_dict())
    x = images(model, 3)
    y = [m.train(training)(x) for m in (model, reference)]
    assert difference(*y) < 1e-12
    for result in y:
        result.square().sum().backward()
    for ours, theirs in zip(*layers, strict=True):
        for parameter, expected in theirs.named_parameters():
            # Behind a bias a norm in training takes its gradient away but for rounding.
            if not (training and parameter == "bias" and name in ("vgg11", "googlenet")):
                assert difference(ours.get_parameter(parameter).grad, expected.grad) < 1e-9
        for buffer, expected in theirs.named_buffers():
            assert torch.allclose(ours.get_buffer(buffer), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("padding", "before"), [("end", 0), ("both", 1)])
def test_skips_keep_channels_and_add_zeros(padding: str, before: int) -> None:
    # eq: zero-padded-skip
    x = torch.randn(1, 2, 6, 6).contiguous(memory_format=torch.channels_last)
    skip = models.resnet.ZeroPadded((2, 5), 2, padding)
    y = skip(x)
    assert y.shape == (1, 5, 3, 3) and torch.equal(y[:, before : before + 2], x[:, :, ::2, ::2])
    assert not y[:, :before].any() and not y[:, before + 2 :].any()
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(skip(x[:, :, :5, :5]), y)


@pytest.mark.parametrize("option", [{"dropout": 0.5}, {"batch_norm": True}], ids=str)
def test_net_has_what_its_options_say(option: dict[str, Any]) -> None:
    model = models.create("net", **option)
    x = images(model, 8)
    kinds = {"dropout": Dropout, "batch_norm": (nn.BatchNorm1d, nn.BatchNorm2d)}[next(iter(option))]
    layers = [m for m in model.modules() if isinstance(m, kinds)]
    assert len(layers) == (1 if "dropout" in option else 2)
    assert not torch.allclose(model(x), model.eval()(x))
    if "dropout" in option:
        assert layers[0].p == 0.5
        assert not torch.equal(model.train()(x), model(x))


# MgNet against its formula.


def formula(state: dict[str, Tensor], x: Tensor, options: dict[str, Any]) -> Tensor:
    """Compute an MgNet in evaluation, with u = 0 as an image of zeros and every A u computed."""
    sigma = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda x: x}[
        options.get("activation", "relu")
    ]

    def apply(name: str, x: Tensor, stride: int = 1) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=1)

    def bn(name: str, x: Tensor) -> Tensor:
        if f"{name}.weight" not in state:
            return x
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    def interpolate(name: str, u: Tensor, f: Tensor) -> Tensor:
        if options.get("Pi") == "zero":
            return torch.zeros_like(f)
        if options.get("Pi") == "averaging":
            weights = torch.tensor([1.0, 2.0, 1.0], dtype=u.dtype).outer(
                torch.tensor([1.0, 2.0, 1.0], dtype=u.dtype)
            )
            kernel = (weights / 16).repeat(u.shape[1], 1, 1, 1)
            u = F.conv2d(u, kernel, stride=2, padding=1, groups=u.shape[1])
        else:
            u = apply(f"{name}.Pi", u, 2)
        return sigma(bn(f"{name}.feature_norm", u))

    f = sigma(bn("data.1", apply("data.0", x)))
    u = torch.zeros_like(f)
    for level, nu in enumerate(options["nu"]):
        A = f"levels.{level}.A"
        state.setdefault(f"{A}.weight", torch.zeros(f.shape[1], f.shape[1], 3, 3, dtype=x.dtype))
        if level > 0:
            transfer = f"transfers.{level - 1}"
            r = f - apply(f"levels.{level - 1}.A", u)
            f = sigma(bn(f"{transfer}.data_norm", apply(f"{transfer}.R", r, 2)))
            state.setdefault(f"{A}.weight", torch.zeros(f.shape[1], f.shape[1], 3, 3, dtype=x.dtype))
            u = interpolate(transfer, u, f)
            f = f + apply(A, u)
        for i in range(nu):
            B = f"levels.{level}.B.{i if options.get('B') == 'iteration' else 0}"
            r = sigma(bn(f"levels.{level}.residual_norms.{i}", f - apply(A, u)))
            u = u + sigma(bn(f"levels.{level}.correction_norms.{i}", apply(B, r)))
    return u.mean((2, 3)) @ state["head.2.weight"].T + state["head.2.bias"]


@variants
def test_mgnet_is_its_formula(options: dict[str, Any]) -> None:
    model = tiny_mgnet(**options).double().eval()
    state = dict(model.state_dict())
    x = images(model) - 0.5
    with torch.no_grad():
        # eq: mgnet-smoothing, mgnet-restriction
        assert difference(model(x), formula(state, x, options)) < 1e-12
    channels = options.get("channels", 4)
    levels = len(options["nu"])
    assert len(model.levels) == levels and len(model.transfers) == levels - 1
    assert [len(level.B) for level in model.levels] == [
        nu if options.get("B") == "iteration" else 1 for nu in options["nu"]
    ]
    assert model.head[2].in_features == (channels if isinstance(channels, int) else channels[-1])


def test_mgnet_is_not_its_formula_with_other_numbers() -> None:
    options = {"nu": [2, 2]}
    model = tiny_mgnet(**options).double().eval()
    x = images(model)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            state = dict(model.state_dict()) | {name: 1.5 * value + 0.1}
            with torch.no_grad():
                assert difference(model(x), formula(state, x, options)) > 1e-6, name


@pytest.mark.parametrize("nu", [[1, 1], [2, 3]], ids=str)
def test_mgnet_applies_no_operator_to_zero(nu: list[int]) -> None:
    rows = models.count(models.create("mgnet", nu=nu, channels=4), (3, 8, 8)).rows
    calls = {
        key: sum(row.name == f"levels.{key}" for row in rows) for key in ("0.A", "1.A", "0.B.0", "1.B.0")
    }
    # The first of nu residuals is f itself, and the transfer takes one more; behind it f' needs A' u'.
    assert calls == {"0.A": nu[0], "1.A": nu[1] + 1, "0.B.0": nu[0], "1.B.0": nu[1]}


def test_mgnet_without_activation_is_linear() -> None:
    model = tiny_mgnet(**MGNETS["linear"], Pi="averaging").double()
    x, y = torch.randn(2, 1, 3, 9, 9, dtype=torch.float64)
    zero = model(torch.zeros_like(x))
    assert difference(model(2 * x - 3 * y) - zero, 2 * (model(x) - zero) - 3 * (model(y) - zero)) < 1e-12


# The models rewritten.

FOLDED = {
    "alexnet-cifar": (0, 0),
    "vgg11": (8, 8),
    "googlenet": (64, 64),
    "resnet20": (19, 19),
    "resnet18": (20, 20),
    "resnet50": (53, 53),
    # The first norm of a block stands before the convolution and behind the sum with the skip.
    "preact18": (8, 16),
    # The data, three Π and three R; those of f − A u and behind a shared B stay.
    "mgnet-32": (7, 23),
}


@every(slow=SLOW)
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["single", "double"]
)
def test_folding(name: str, dtype: torch.dtype, bound: float) -> None:
    model = randomised(small(name)).to(dtype).eval()
    folded = fold_batchnorm(model)
    x = images(model)
    assert difference(folded(x), model(x)) < bound
    assert norms(folded) == norms(model) - len(foldable(model))
    if name in FOLDED:
        assert (len(foldable(model)), norms(model)) == FOLDED[name]
    assert hasattr(model, "spec") and not hasattr(folded, "spec")
    with pytest.raises(ValueError, match="training mode"):
        fold_batchnorm(model.train())


@variants
def test_folding_mgnet(options: dict[str, Any]) -> None:
    model = tiny_mgnet(**options).double().eval()
    folded = fold_batchnorm(model)
    x = images(model)
    assert difference(folded(x), model(x)) < 1e-12
    shared = options.get("B") != "iteration"
    correction = sum(nu for nu in options["nu"] if nu == 1 or not shared)
    transfers = (len(options["nu"]) - 1) * {"zero": 1, "averaging": 1}.get(options.get("Pi", ""), 2)
    transfers *= options.get("transfer_norm", True)
    assert len(foldable(model)) == (0 if options.get("norm") == "none" else 1 + correction + transfers)


@every(slow=SLOW)
def test_linear_layers_as_convolutions(name: str) -> None:
    model = randomised(small(name)).eval()
    convolutions = linear_to_conv(model)
    x = images(model)
    y = convolutions(x)
    assert y.shape == (2, model.spec["num_classes"], 1, 1)
    assert (y.flatten(1) - model(x)).square().mean() < 1e-12 * model(x).square().mean()
    assert not any(isinstance(m, nn.Linear | nn.Flatten) for m in convolutions.modules())


# Models without padding, and how far apart their windows are: the product of all strides.
SLIDING = {"logistic": 1, "mlp": 1, "lenet5": 4, "net": 4, "maxconvnet": 4}


@pytest.mark.parametrize(("name", "step"), SLIDING.items())
def test_convolutions_slide_over_larger_images(name: str, step: int) -> None:
    size = max(LEAST[name], 6)
    model = models.create(name, image_size=size).double().eval()
    x = torch.rand(2, model.spec["in_channels"], size + step + 1, size + 2 * step, dtype=torch.float64)
    result = linear_to_conv(model)(x)
    for i in range(2):
        for j in range(3):
            window = x[:, :, i * step : i * step + size, j * step : j * step + size]
            assert (result[:, :, i, j] - model(window)).square().mean() < 1e-28


def test_a_folded_network_slides_too() -> None:
    model = randomised(models.create("net", batch_norm=True)).double().eval()
    x = torch.rand(1, 3, 36, 40, dtype=torch.float64)
    result = linear_to_conv(fold_batchnorm(model), (3, 32, 32))(x)
    assert result.shape == (1, 10, 2, 3)
    assert difference(result[:, :, 1, 2], model(x[..., 4:, 8:])) < 1e-12


def test_a_model_from_a_file_has_few_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from mgnet.models import registry, restore

    monkeypatch.setattr(registry, "MODELS", dict(registry.MODELS))

    @models.register("many")
    def many(num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> nn.Module:
        return nn.Sequential(*(nn.Identity() for _ in range(20_001)))

    with pytest.raises(ValueError, match="spec: asks for more than 20,000 modules and parameters"):
        restore({"name": "many"}, {})
