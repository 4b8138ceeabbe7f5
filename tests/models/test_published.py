"""Published weights: their network is written here again, in plain torch and with its own names."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import strangers
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import mgnet
from mgnet import models
from mgnet.checkpoint import CheckpointError
from mgnet.layers import fold_batchnorm
from mgnet.models import import_weights
from mgnet.train import runs

pytestmark = pytest.mark.usefixtures("one_thread", "seed")


class Block(nn.Module):
    """Two convolutions; the skip has every second pixel, its channels in the middle of twice as many."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.halves = inputs != outputs
        stride = 2 if self.halves else 1
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if not self.halves:
            return F.relu(y + x)
        skip = torch.zeros_like(y)
        quarter = y.shape[1] // 4
        skip[:, quarter : 3 * quarter] = x[:, :, 0::2, 0::2]
        return F.relu(y + skip)


class Published(nn.Module):
    def __init__(self, depth: int, head: str = "linear", classes: int = 10) -> None:
        super().__init__()
        repeat = (depth - 2) // 6
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16) for _ in range(repeat)))
        self.layer2 = nn.Sequential(Block(16, 32), *(Block(32, 32) for _ in range(repeat - 1)))
        self.layer3 = nn.Sequential(Block(32, 64), *(Block(64, 64) for _ in range(repeat - 1)))
        self.head = head
        self.add_module(head, nn.Linear(64, classes))
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.normal_(norm.running_mean, 0, 0.3)
                nn.init.uniform_(norm.running_var, 0.5, 1.5)
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, 0, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return getattr(self, self.head)(x.mean((2, 3)))


def without_counters(state: dict[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in state.items() if not name.endswith("num_batches_tracked")}


def wrapped(state: dict[str, Any]) -> dict[str, Any]:
    """As DataParallel has it."""
    return OrderedDict((f"module.{name}", x) for name, x in state.items())


# How files are written: the last layer's name, what of the state_dict is saved, and by which format.
FORMS: dict[str, tuple[str, Callable[[Any], Any], dict[str, Any]]] = {
    "plain": ("linear", lambda state: state, {}),
    "fc": ("fc", dict, {}),
    "DataParallel": (
        "linear",
        lambda state: {"state_dict": wrapped(state), "best_prec1": 91.7, "epoch": 200},
        {},
    ),
    "legacy": ("linear", wrapped, {"_use_new_zipfile_serialization": False}),
    "no counters": ("linear", without_counters, {"_use_new_zipfile_serialization": False}),
    "parameters": (
        "fc",
        lambda state: {name: nn.Parameter(x, x.is_floating_point()) for name, x in state.items() if x.ndim},
        {},
    ),
}


def both(depth: int = 20, **sizes: int) -> nn.Module:
    return models.create(f"resnet{depth}", padding="both", **sizes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_scores_are_those_of_the_published_network(depth: int, dtype: torch.dtype, tmp_path: Path) -> None:
    published = Published(depth).to(dtype).eval()
    torch.save(published.state_dict(), tmp_path / "a.th")
    model = both(depth).to(dtype).eval()
    assert import_weights(model, tmp_path / "a.th") is model and not model.training
    x = (
        torch.randn(4, 3, 32, 32, dtype=dtype)
        * torch.tensor([0.1, 0.5, 1, 3], dtype=dtype)[:, None, None, None]
    )
    with torch.no_grad():
        expected, scores = published(x), model(x)
    size = expected.abs().max()
    assert expected.std(0).max() > 0.01 * size  # they say something of the images
    assert (scores - expected).abs().max() < size * (1e-12 if dtype == torch.float64 else 1e-5)
    end = models.create(f"resnet{depth}").to(dtype).eval()
    end.load_state_dict(model.state_dict())  # the names are the same, the network is another
    assert (end(x) - expected).abs().max() > 0.01 * size


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_file(form: str, tmp_path: Path) -> None:
    head, changed, options = FORMS[form]
    published = Published(20, head).eval()
    torch.save(changed(published.state_dict()), tmp_path / "a.th", **options)
    model, x = both().eval(), torch.randn(2, 3, 32, 32)
    frozen = model[0][0].weight.requires_grad_(False)
    import_weights(model, tmp_path / "a.th")
    assert torch.allclose(model(x), published(x), rtol=1e-5, atol=1e-5)
    assert not frozen.requires_grad and all(p.is_leaf for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters() if p is not frozen)


def test_weights_of_a_gpu_come_to_the_cpu(tmp_path: Path) -> None:
    """Their place stands in the file as a word, which no GPU is needed for to write."""
    state = Published(20).state_dict()
    torch.save(state, tmp_path / "cpu", _use_new_zipfile_serialization=False)
    written = (tmp_path / "cpu").read_bytes()
    word = b"X\x03\x00\x00\x00cpu"
    assert written.count(word) >= 1
    (tmp_path / "a.th").write_bytes(written.replace(word, b"X\x06\x00\x00\x00cuda:0"))
    model = import_weights(both(), tmp_path / "a.th")
    assert model[0][0].weight.device.type == "cpu"
    assert torch.equal(model[0][0].weight, state["conv1.weight"])


def test_half_precision_and_other_classes(tmp_path: Path) -> None:
    published = Published(20, classes=7).half()
    torch.save(published.state_dict(), tmp_path / "a.th")
    model = import_weights(both(num_classes=7), tmp_path / "a.th")
    assert model[0][0].weight.dtype == torch.float32
    assert torch.equal(model[-1][2].weight, published.linear.weight.float())


def test_a_run_that_begins_with_published_weights(tmp_path: Path) -> None:
    torch.save(Published(20).state_dict(), tmp_path / "a.th")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    data = mgnet.data.synthetic(train=32, validation=8, test=8).normalised_by(mean, std)
    model = import_weights(both(), tmp_path / "a.th")
    before = model[0][0].weight.detach().clone()
    history = mgnet.fit(model, data, epochs=1, lr=1e-4, batch_size=16, out=tmp_path / "run", progress=False)
    run = runs.read(tmp_path / "run" / "model.ckpt")
    assert (tuple(run.mean), tuple(run.std), run.spec["padding"]) == (mean, std, "both")
    assert torch.allclose(run.model[0][0].weight, before, atol=0.01)  # it began there
    assert mgnet.evaluate(run.model, data.test) == history.test_accuracy


def refused(model: nn.Module, path: Path, words: str) -> None:
    """The file is refused in these words, and the model is as it was."""
    before = {name: x.clone() for name, x in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=words) as error:
        import_weights(model, path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    assert "weights_only" not in str(error.value)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def changed(**changes: Any) -> dict[str, Any]:
    state: dict[str, Any] = dict(Published(20).state_dict())
    for name, x in changes.items():
        name = name.replace("__", ".")
        state.pop(name, None)
        if x is not None:
            state[name] = x
    return state


NAN = torch.full((16,), float("nan"))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            lambda: Published(32).state_dict(),
            r"with 'layer1\.3\.conv1\.weight', .* and 66 more; accepted: .* of 20 ",
        ),
        (lambda: Published(8).state_dict(), r"without 'layer1\.1\.conv1\.weight', .* and 54 more; accepted"),
        (lambda: changed(bn1__running_mean=None), r"got a file without 'bn1\.running_mean'; accepted: "),
        (
            lambda: changed(**{"layer2.0.shortcut.0.weight": torch.ones(32, 16, 1, 1)}),
            r"got a file with 'layer2\.0\.shortcut\.0\.weight'; accepted: .* skips that have no parameters",
        ),
        (
            lambda: changed(linear__weight=None, last__weight=torch.ones(10, 64)),
            r"without 'linear\.weight' and with 'last\.weight'",
        ),
        (lambda: changed(fc__weight=torch.ones(10, 64)), r"with 'fc\.weight'"),
        (
            lambda: Published(20, classes=9).state_dict(),
            r"linear\.weight: got shape \(9, 64\); accepted: \(10, 64\)",
        ),
        (lambda: changed(bn1__bias=3.0), r"bn1\.bias: got 3\.0; accepted: a tensor of torch\.float32"),
        (
            lambda: changed(bn1__bias=torch.ones(16, dtype=torch.int64)),
            r"bn1\.bias: got .*; accepted: a tensor of",
        ),
        (lambda: changed(bn1__bias=NAN), r"bn1\.bias: got numbers that are not finite"),
        (
            lambda: changed(bn1__bias=torch.full((16,), 1e300, dtype=torch.float64)),
            r"bn1\.bias: got numbers that are not finite in torch\.float32; accepted: finite ones",
        ),
        (
            lambda: changed(bn1__running_var=torch.arange(16) - 0.5),
            r"bn1\.running_var: got -0\.5; accepted: variances of at least 0",
        ),
        (lambda: changed(bn1__bias=torch.ones(1).expand(16)), r"a tensor larger than its memory"),
        (lambda: changed(bn1__bias=torch.ones(16).to_sparse()), r"writes: it names torch"),
        (lambda: {}, r"got \{\}; accepted: a state_dict"),
        (lambda: torch.ones(2), r"it is not what torch\.save.* writes: state: got torch\.Tensor"),
        (lambda: {"state_dict": [torch.ones(2)]}, r"accepted: a state_dict, or a dictionary with one"),
        (lambda: {3: torch.ones(2)}, r"accepted: a state_dict, or a dictionary with one"),
    ],
    ids=range(18),
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_other_weights_are_refused(
    state: Callable[[], Any], words: str, zipped: bool, tmp_path: Path
) -> None:
    torch.save(state(), tmp_path / "a.th", _use_new_zipfile_serialization=zipped)
    refused(both(), tmp_path / "a.th", words)


class Harm:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_nothing_in_a_file_is_called(form: str, tmp_path: Path) -> None:
    state = changed(bn1__bias=Harm(tmp_path / "harm"))
    if form == "pickle":
        (tmp_path / "a.th").write_bytes(pickle.dumps(state))
    else:
        torch.save(state, tmp_path / "a.th", _use_new_zipfile_serialization=form == "zip")
    refused(
        both(),
        tmp_path / "a.th",
        "writes: it names|writes: it does not begin",
    )
    assert not (tmp_path / "harm").exists()


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    torch.save(Published(20), tmp_path / "a.th")
    refused(both(), tmp_path / "a.th", "names .*Published, which no checkpoint has")


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_damaged_files_are_refused(form: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(Published(8).state_dict(), buffer, _use_new_zipfile_serialization=form == "zip")
    whole = buffer.getvalue()
    for cut in (0, 1, 10, 1000, len(whole) // 2, len(whole) - 10):
        (tmp_path / "a.th").write_bytes(whole[:cut])
        refused(both(), tmp_path / "a.th", "it is not what")
    (tmp_path / "a.th").write_bytes(b"<!DOCTYPE html>" + whole)  # a page in the place of a download
    refused(both(), tmp_path / "a.th", "it is not what")


@pytest.mark.slow  # what reads a checkpoint reads these files, and is tested with them too
@pytest.mark.parametrize("harm", dict(strangers.harmful()).items(), ids=lambda harm: harm[0])
def test_a_strangers_file_is_refused(harm: tuple[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.th").write_bytes(harm[1])
    refused(both(), tmp_path / "a.th", "a.th: ")


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"cbuiltins\nbytearray\n", "it names builtins.bytearray"),
        (
            b"}X\x01\x00\x00\x00a(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
            b"J\x00\x00\x00\x7fNtQs.",
            "it has memory '0' of another size",
        ),
        (b"}(X\x01\x00\x00\x00a", "it does not end"),
    ],
    ids=["a call", "memory that is not there", "no end"],
)
def test_a_legacy_file_takes_no_more_than_it_has(pickled: bytes, words: str, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "empty", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "empty").read_bytes()
    empty = pickle.dumps({}, 2)
    assert whole.count(empty) == 1
    (tmp_path / "a.th").write_bytes(whole.replace(empty, b"\x80\x02" + pickled))
    refused(both(), tmp_path / "a.th", words)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        import_weights(both(), tmp_path / "a.th")
    refused(both(), tmp_path, "got a folder; accepted: a file")


def test_other_models_are_refused(tmp_path: Path) -> None:
    torch.save(Published(20).state_dict(), path := tmp_path / "a.th")
    advice = r"accepted.*: one that mgnet\.models\.create\('resnet20', padding='both'\) makes"
    with pytest.raises(ValueError, match=rf"^model: got padding='end'; {advice}"):
        import_weights(models.create("resnet20"), path)
    with torch.device("meta"):
        wide = models.create("resnet18")
    for model in (wide, models.create("lenet5"), Published(20)):
        with pytest.raises(TypeError, match=rf"^model: got a {type(model).__name__}; {advice}"):
            import_weights(model, path)
    with pytest.raises(ValueError, match=rf"^model: got 20 layers with numbers; {advice}"):
        import_weights(fold_batchnorm(both().eval()), path)


def test_the_padding_is_remembered() -> None:
    model = both(num_classes=4)
    assert model.spec["padding"] == "both" and models.defaults("resnet20")["padding"] == "end"
    again = models.restore(model.spec, model.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.eval()(x), model.eval()(x))


def test_other_paddings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^padding: got 'left'; accepted: one of \('end', 'both'\)"):
        models.create("resnet20", padding="left")
    for block in ("wide", "bottleneck", "preactivation"):
        with pytest.raises(ValueError, match=f"^padding: got 'both'; accepted with block='{block}': 'end'"):
            models.ResNet(block=block, padding="both")
    with pytest.raises(TypeError, match="^padding: got 'both'; accepted by 'resnet18': no option"):
        models.create("resnet18", padding="both")
