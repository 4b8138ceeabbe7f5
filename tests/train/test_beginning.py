"""Beginning from the weights of another run: what is taken over, what is new, and what is refused."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trained import assert_same, weights

import mgnet
from mgnet import CheckpointError, checkpoint, models
from mgnet.data import Data
from mgnet.train import BEST, LAST, loop, runs

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS: dict[str, Any] = {"recipe": "lecture", "epochs": 1, "batch_size": 32, "progress": False}
MADE: dict[str, Any] = {"channels": 4, "nu": [1, 1]}


def net(num_classes: int = 10, **options: Any) -> nn.Module:
    torch.manual_seed(1)
    return models.create("mgnet", num_classes=num_classes, **{**MADE, **options})


def of_classes(data: Data, names: list[str]) -> Data:
    """Give the images of the first classes under other names."""
    parts: dict[str, Any] = {}
    for part in ("train", "validation", "test"):
        split = getattr(data, part)
        parts[part] = split.subset((split.labels < len(names)).nonzero().flatten())
    return replace(data, classes=names, **parts)


@pytest.fixture(scope="module")
def data() -> Data:
    return mgnet.data.synthetic(train=192, validation=64, test=64)


@pytest.fixture(scope="module")
def run(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a short run."""
    out = tmp_path_factory.mktemp("run")
    mgnet.fit(net(), data, **OPTIONS, out=out)
    return out


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Note the weights before the first step of each run."""
    noted: list[dict[str, torch.Tensor]] = []
    train = loop.train

    def note(run: Any, *rest: Any) -> None:
        noted.append(weights(run.model))
        train(run, *rest)

    monkeypatch.setattr(loop, "train", note)
    return noted


def test_all_weights_are_taken_over(run: Path, data: Data, begun: list[Any]) -> None:
    kept = checkpoint.load(run / BEST)["model"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # there is nothing to say
        for init in (run, str(run), run / BEST, run / LAST, runs.read(run / BEST)):
            history = mgnet.fit(net(), data, **OPTIONS, init=init)
            assert history["epoch"] == [1]
    for state in begun:
        assert_same(state, dict(kept))
    assert len({note.partition(":")[0] for note in history.notes}) == 1
    assert history.notes[0].startswith("begun from weights of SHA-256 ")


def test_the_run_that_was_read_is_left_as_it_is(run: Path, data: Data) -> None:
    read = runs.read(run / BEST)
    before = weights(read.model)
    mgnet.fit(net(), data, **OPTIONS, init=read)
    assert_same(weights(read.model), before)


def test_of_other_classes_the_last_layer_is_new(run: Path, data: Data, begun: list[Any]) -> None:
    few = of_classes(data, ["a", "b", "c"])
    model = net(3)
    fresh, kept = weights(model), checkpoint.load(run / BEST)["model"]
    with pytest.warns(
        UserWarning, match="last layer .*head.2.weight.* is new, since it has 10 outputs there and 3"
    ):
        mgnet.fit(model, few.normalised_by(data.mean, data.std), **OPTIONS, init=run)
    (state,) = begun
    new = {name for name in state if name.startswith("head.")}
    assert new == {"head.2.weight", "head.2.bias"}
    assert_same({n: x for n, x in state.items() if n in new}, {n: fresh[n] for n in fresh if n in new})
    assert_same({n: x for n, x in state.items() if n not in new}, {n: kept[n] for n in kept if n not in new})


def test_as_many_classes_with_other_names(run: Path, data: Data, begun: list[Any]) -> None:
    model = net()
    fresh = weights(model)
    others = replace(data, classes=[f"kind {i}" for i in range(10)])
    with pytest.warns(UserWarning, match="is new, since the classes are others: .* there and kind 0, kind 1"):
        mgnet.fit(model, others, **OPTIONS, init=run)
    assert torch.equal(begun[0]["head.2.weight"], fresh["head.2.weight"])


def test_images_are_normalised_as_the_weights_expect(run: Path, data: Data) -> None:
    own = data.normalised_by((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    model, same = net(), net()
    with pytest.warns(
        UserWarning, match="images are normalised as its weights expect, by mean .*own 0.1, 0.2, 0.3"
    ):
        history = mgnet.fit(model, own, **OPTIONS, init=run)
    expected = mgnet.fit(same, data, **OPTIONS, init=run)
    assert_same(weights(model), weights(same))
    assert history.test_accuracy == expected.test_accuracy
    assert mgnet.evaluate(model, own.normalised_by(data.mean, data.std).test) == history.test_accuracy


def test_what_it_was_begun_from_belongs_to_a_run(run: Path, data: Data, tmp_path: Path) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    mgnet.fit(net(), data, **OPTIONS, seed=5, out=other)
    history = mgnet.fit(net(), data, **OPTIONS, init=run, out=out)
    again = mgnet.fit(net(), data, **OPTIONS, init=run, out=out, resume=True)
    assert (again.rows, again.notes) == (history.rows, history.notes)
    assert checkpoint.load(out / BEST)["init"] == checkpoint.load(out / LAST)["init"]
    said = (
        f"^init: got {other} .*, but {out} was begun from weights of SHA-256 .*; accepted: what it was begun"
    )
    with pytest.raises(ValueError, match=said):
        mgnet.fit(net(), data, **OPTIONS, init=other, out=out, resume=True)
    with pytest.raises(
        ValueError, match=f"^init: got {run} .*, but {other} was begun without init; accepted: no"
    ):
        mgnet.fit(net(), data, **OPTIONS, seed=5, init=run, out=other, resume=True)


@pytest.mark.filterwarnings("ignore:init .* images are normalised")
def test_a_run_goes_on_when_what_it_was_begun_from_is_gone(run: Path, data: Data, tmp_path: Path) -> None:
    own = data.normalised_by((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    source, out, options = tmp_path / "source", tmp_path / "out", {**OPTIONS, "epochs": 2}
    shutil.copytree(run, source)
    whole, resumed = net(), net()
    expected = mgnet.fit(whole, own, **options, init=source)

    def stop(row: dict[str, Any]) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        mgnet.fit(net(), own, **options, init=source, out=out, on_epoch=stop)
    shutil.rmtree(source)
    history = mgnet.fit(resumed, own, **options, out=out, resume=True)
    assert_same(weights(resumed), weights(whole))
    assert history.test_accuracy == expected.test_accuracy
    assert history.notes == expected.notes
    assert checkpoint.load(out / BEST)["init"]
    with pytest.raises(FileNotFoundError):
        mgnet.fit(net(), own, **options, init=source, out=out, resume=True)


def test_a_run_that_goes_on_does_not_begin_again(
    run: Path, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = net(), net()
    mgnet.fit(whole, data, **OPTIONS, init=run)
    step, done = loop.train_step, []

    def third(run: Any, *batch: Any) -> None:
        if len(done) == 3:
            raise InterruptedError
        done.append(step(run, *batch))

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(loop, "train_step", third)
        mgnet.fit(net(), data, **OPTIONS, init=run, out=tmp_path, save_every=1)
    mgnet.fit(resumed, data, **OPTIONS, init=run, out=tmp_path, resume=True)
    assert_same(weights(resumed), weights(whole))


def test_a_model_of_ones_own(data: Data, tmp_path: Path, begun: list[Any]) -> None:
    def own() -> nn.Module:
        return nn.Sequential(nn.LazyConv2d(4, 3, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(10))

    first = own()
    mgnet.fit(first, data, **OPTIONS, out=tmp_path)
    mgnet.fit(own(), data, **OPTIONS, init=tmp_path)
    assert_same(begun[1], weights(first))


def test_learned_operators_begin_with_fixed_ones(data: Data, tmp_path: Path, begun: list[Any]) -> None:
    """A fixed kernel is each channel's own, a learned one is between all channels."""
    poisson: dict[str, Any] = {"kernels": "poisson", "up": True}
    fixed, learned = net(**poisson, learned="P"), net(**poisson)
    mgnet.fit(fixed, data, **OPTIONS, out=tmp_path / "fixed")
    with pytest.warns(UserWarning, match="it was made with learned='P', this model with learned="):
        mgnet.fit(learned, data, **OPTIONS, init=tmp_path / "fixed", out=tmp_path / "learned")
    model = net(**poisson)
    model.load_state_dict(begun[1])
    torch.testing.assert_close(mgnet.predict(model, data.test), mgnet.predict(fixed, data.test))
    with pytest.raises(ValueError, match=r"A\.weight is float32 of shape \(4, 4, 3, 3\); accepted"):
        mgnet.fit(net(**poisson, learned="P"), data, **OPTIONS, init=tmp_path / "learned")


def test_another_option_of_the_model_is_said(run: Path, data: Data) -> None:
    model: Any = net()
    model.spec = {**model.spec, "nu": [1, 2]}  # the weights fit, and the model is another one
    with pytest.warns(UserWarning, match=r"it was made with nu=\[1, 1\], this model with nu=\[1, 2\]"):
        mgnet.fit(model, data, **OPTIONS, init=run)


@pytest.mark.parametrize(
    ("message", "model"),
    [
        (r"in which \S+ is .*; accepted: missing|is missing; accepted", lambda: models.create("resnet20")),
        (r"\(mgnet, images of 3×32×32\), in which \S+ is float32 of shape \(4,", lambda: net(channels=5)),
        (r"in which \S+ is missing; accepted: float32 of shape", lambda: net(nu=[1, 1, 1])),
        (r"in which \S+ is float32 of shape .*; accepted: missing", lambda: net(nu=[1])),
    ],
    ids=["family", "channels", "deeper", "flatter"],
)
def test_weights_of_another_model(run: Path, data: Data, message: str, model: Any, tmp_path: Path) -> None:
    made = model()
    before = weights(made)
    with pytest.raises(ValueError, match="^init: got .*" + message):
        mgnet.fit(made, data, **OPTIONS, init=run, out=tmp_path / "out")
    assert_same(weights(made), before)
    assert not list(tmp_path.iterdir())


def test_images_of_another_kind(data: Data, tmp_path: Path) -> None:
    """Grey for coloured, and other sizes where the layers are tied to one."""
    images = [
        replace(part, images=part.images[:, :1])
        if False
        else mgnet.data.Split(part.images[:, :1], part.labels)
        for part in (data.train, data.validation, data.test)
    ]
    grey = Data("grey", data.classes, *images, "", True)
    mgnet.fit(models.create("logistic", in_channels=1, image_size=32), grey, **OPTIONS, out=tmp_path / "grey")
    with pytest.raises(ValueError, match="init: got .*, for images of 1 channels; accepted: of 3"):
        mgnet.fit(
            models.create("logistic", in_channels=3, image_size=32), data, **OPTIONS, init=tmp_path / "grey"
        )
    halves = [mgnet.data.Split(x.images[..., ::2, ::2].contiguous(), x.labels) for x in images]
    half = Data("half", data.classes, *halves, "", True)
    with pytest.raises(ValueError, match=r"images of 1×32×32\), in which 1.weight is .*images of 1×16×16"):
        mgnet.fit(models.create("logistic", image_size=16), half, **OPTIONS, init=tmp_path / "grey")


def test_nothing_is_left_where_all_is_the_last_layer(data: Data, tmp_path: Path) -> None:
    mgnet.fit(models.create("logistic", in_channels=3, image_size=32), data, **OPTIONS, out=tmp_path)
    few = of_classes(data, ["a", "b"])
    model = models.create("logistic", 2, in_channels=3, image_size=32)
    with pytest.raises(ValueError, match="init: got .*, of which nothing fits: it has 10 outputs there"):
        mgnet.fit(model, few, **OPTIONS, init=tmp_path)


def test_a_new_layer_is_not_frozen(run: Path, data: Data) -> None:
    with pytest.raises(ValueError, match="freeze: got head.2.weight, which is new, since it has 10 outputs"):
        mgnet.fit(net(3), of_classes(data, ["a", "b", "c"]), **OPTIONS, init=run, freeze="head")


@pytest.mark.parametrize(
    ("error", "message", "init"),
    [
        (TypeError, "init: got 3; accepted: the folder of a run, or a checkpoint", 3),
        (ValueError, "init: got ''", ""),
        (FileNotFoundError, "nowhere", "nowhere"),
        (ValueError, "init: got ., a folder without model.ckpt; accepted: that of a run", "."),
    ],
)
def test_what_is_no_run(
    data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    message: str,
    init: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        mgnet.fit(net(), data, **OPTIONS, init=init)


def test_a_run_does_not_begin_from_itself(run: Path, data: Data) -> None:
    for how in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match="init: got .*, where out is; accepted: another folder"):
            mgnet.fit(net(), data, **OPTIONS, init=run, out=run, **how)
    assert (run / BEST).exists()


def test_a_run_that_has_not_ended(run: Path, data: Data, tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes((run / LAST).read_bytes())
    with pytest.raises(
        ValueError, match=f"init: got .*, a run that has not ended; accepted: .*{LAST} as it is"
    ):
        mgnet.fit(net(), data, **OPTIONS, init=tmp_path)
    mgnet.fit(net(), data, **OPTIONS, init=tmp_path / LAST)


def test_a_damaged_checkpoint_is_its_own_fault(run: Path, data: Data, tmp_path: Path) -> None:
    state, path = checkpoint.load(run / BEST), tmp_path / "a.ckpt"
    broken = {**state["model"], "head.2.bias": torch.full((10,), torch.nan)}
    for change, message in (
        ({"model": 3}, "a.ckpt: model: got 3"),
        ({"model": {"head.2.bias": 3}}, "a.ckpt: model: got 3 as 'head.2.bias'"),
        ({"mean": []}, "a.ckpt: mean: got an empty list"),
        ({"format": 9}, "a.ckpt: format: got 9"),
    ):
        checkpoint.save(path, {**state, **change})
        with pytest.raises(CheckpointError, match=message):
            mgnet.fit(net(), data, **OPTIONS, init=path)
    checkpoint.save(path, {**state, "model": broken})
    with pytest.raises(ValueError, match="whose head.2.bias has numbers that are not finite"):
        mgnet.fit(net(), data, **OPTIONS, init=path)
