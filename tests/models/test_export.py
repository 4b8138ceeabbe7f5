"""Every family as a graph of torch and of ONNX, for any number of images, against the model itself."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgnet import models
from mgnet.layers import fold_batchnorm

pytestmark = pytest.mark.usefixtures("one_thread", "seed")

# One of each family, small where it is an option; the slow ones take more than a few seconds.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "logistic": ("logistic", {}),
    "mlp": ("mlp", {"hidden": [12]}),
    "lenet5": ("lenet5", {}),
    "net": ("net", {"batch_norm": True, "dropout": 0.5}),
    "maxconvnet": ("maxconvnet", {}),
    "alexnet-cifar": ("alexnet-cifar", {}),
    "vgg11": ("vgg11", {}),
    "googlenet": ("googlenet", {"image_size": 8, "width": 0.1}),
    "resnet20": ("resnet20", {"image_size": 8}),
    "resnet20, padding on both sides": ("resnet20", {"image_size": 8, "padding": "both"}),
    "resnet20, folded": ("resnet20", {"image_size": 8}),
    "resnet18": ("resnet18", {"image_size": 8}),
    "preact18": ("preact18", {"image_size": 8}),
    "mgnet": ("mgnet", {"image_size": 8, "channels": 4}),
    "mgnet up": ("mgnet", {"image_size": 8, "channels": 4, "nu": [1, 1], "up": True}),
    "mgnet of poisson": ("mgnet", {"image_size": 8, "channels": 4, "kernels": "poisson", "learned": ""}),
    "mgnet, a cycle": (
        "mgnet",
        {
            "image_size": 7,
            "dim": 1,
            "nu": [2, 1],
            "in_channels": 1,
            "kernels": "poisson",
            "linear": True,
            "up": True,
        },
    ),
}
FAST = {"logistic", "lenet5", "resnet20", "mgnet of poisson"}
families = pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in FAMILIES]
)

FOLDED = "resnet20, folded"
FREE = ({0: torch.export.Dim("images")},)


def made(family: str) -> tuple[nn.Module, Tensor]:
    """Make a model with running statistics of images, in evaluation, and seven images."""
    name, options = FAMILIES[family]
    model = models.create(name, **options)
    like = next(iter(model.state_dict().values()))
    shape = [model.spec["image_size"]] * model.spec.get("dim", 2)
    x = torch.randn(7, model.spec["in_channels"], *shape, dtype=like.dtype)
    with torch.no_grad():
        for _ in range(20):
            model(x)
    return fold_batchnorm(model.eval()) if family == FOLDED else model.eval(), x


def close(answer: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((answer - expected).abs().max() <= tolerance * expected.abs().max())


@families
def test_a_graph_of_torch_and_of_onnx(family: str, tmp_path: Path) -> None:
    model, x = made(family)
    program = torch.export.export(model, (x[:2],), dynamic_shapes=FREE)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    graph = torch.export.load(file).module()
    for images in (x, x[:1]):
        assert close(graph(images), model(images), 1e-6)

    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    # Of a model, as in docs/export.md, this makes the same program once more.
    torch.onnx.export(program, (), tmp_path / "a.onnx", input_names=["x"], external_data=False, verbose=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for images in (x, x[:1]):
        (answer,) = session.run(None, {"x": images.numpy()})
        assert close(torch.from_numpy(answer), model(images), 1e-4)
