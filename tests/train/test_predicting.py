"""What a run says of pictures is what its network says of the same images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mgnet
from mgnet import checkpoint
from mgnet.data import Data, DataError, Split
from mgnet.train.predicting import Form, Prediction, prepare
from mgnet.train.run_folder import BEST, LAST

pytestmark = pytest.mark.usefixtures("one_thread")

COLOUR = mgnet.data.synthetic(train=300, validation=20, test=60)


def trained(out: Path, data: Data, name: str = "logistic", **options: Any) -> Path:
    torch.manual_seed(0)
    channels, size, _ = data.shape
    model = mgnet.models.create(name, num_classes=10, in_channels=channels, image_size=size, **options)
    mgnet.fit(model, data, epochs=1, batch_size=32, out=out, progress=False)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), COLOUR, "net")


def grey(border: int, form: str = "square", size: int = 28) -> Data:
    """Images of one channel whose edge has one brightness."""
    images = torch.full((40, 1, size, size), border, dtype=torch.uint8)
    images[:, :, 6:-6, 6:-6] = torch.randint(0, 256, (40, 1, size - 12, size - 12), dtype=torch.uint8)
    part = Split(images, torch.arange(40) % 10, (0.2,), (0.3,))
    return Data("own", [str(i) for i in range(10)], part, part, part, "drawn", False, form)


def saved(path: Path, image: np.ndarray) -> Path:
    Image.fromarray(image).save(path)
    return path


def test_the_files_of_a_data_set_are_judged_as_the_set_is(folder: Path, tmp_path: Path) -> None:
    run = mgnet.load_run(folder)
    files = [
        saved(tmp_path / f"{i}.png", image.permute(1, 2, 0).numpy())
        for i, image in enumerate(COLOUR.test.images)
    ]
    answers = run.predict(files)
    test = COLOUR.test.normalised_by(run.mean, run.std)
    scores = mgnet.predict(run.model, test)
    np.testing.assert_array_equal(
        [each.probabilities for each in answers], scores.double().softmax(1).numpy()
    )
    right = sum(each.label == int(y) for each, y in zip(answers, test.labels, strict=True))
    assert right / len(files) == mgnet.evaluate(run.model, test)
    assert {each.input.form for each in answers} == {"unchanged"}
    assert not any(each.input.inverted for each in answers)


def test_an_answer_says_what_it_is(folder: Path) -> None:
    run = mgnet.load_run(folder)
    (answer,) = run.predict(COLOUR.test.images[0])
    assert isinstance(answer, Prediction)
    order = np.sort(answer.probabilities)[::-1]
    assert [share for _, share in answer.best] == order[:5].tolist()
    assert answer.best[0] == (answer.class_name, answer.probability)
    assert answer.class_name == COLOUR.classes[answer.label]
    assert answer.probabilities.sum() == pytest.approx(1)
    assert repr(answer).startswith(f"Prediction(pictures[0]: {answer.class_name} ")


def test_files_and_arrays_and_sequences_of_them(folder: Path, tmp_path: Path) -> None:
    run, images = mgnet.load_run(folder), COLOUR.test.images[:3]
    expected = [each.probabilities for each in run.predict(images)]
    path = saved(tmp_path / "x.png", images[0].permute(1, 2, 0).numpy())
    for pictures in (path, str(path), [path], images[0], images[0].numpy() / 255, list(images)):
        np.testing.assert_allclose(run.predict(pictures)[0].probabilities, expected[0], rtol=1e-4)
    assert run.predict([]) == []
    assert len(run.predict(images.numpy())) == 3


def test_a_run_is_its_folder_or_a_checkpoint_of_it(folder: Path, tmp_path: Path) -> None:
    expected = mgnet.load_run(folder).predict(COLOUR.test.images[:1])[0].probabilities
    for path in (folder / BEST, str(folder)):
        np.testing.assert_array_equal(
            mgnet.load_run(path).predict(COLOUR.test.images[:1])[0].probabilities, expected
        )
    with pytest.raises(ValueError, match=f"path: got .*, a folder without {BEST}; accepted: that of a run"):
        mgnet.load_run(tmp_path)
    checkpoint.save(tmp_path / LAST, checkpoint.load(folder / LAST))
    with pytest.raises(
        ValueError, match="path: got .*, a run that has not ended; accepted: one that has, or .*last.ckpt"
    ):
        mgnet.load_run(tmp_path)
    assert mgnet.load_run(tmp_path / LAST).classes == COLOUR.classes
    with pytest.raises(FileNotFoundError):
        mgnet.load_run(tmp_path / "none")
    with pytest.raises(TypeError, match="path: got 3"):
        mgnet.load_run(3)  # type: ignore[arg-type]


def test_other_arguments_are_refused(folder: Path, tmp_path: Path) -> None:
    run = mgnet.load_run(folder)
    with pytest.raises(TypeError, match="invert: got 'no'"):
        run.predict([], invert="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="as_is: got 1"):
        run.predict([], as_is=1)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"pictures\[1\]: got an array of shape \(7,\)"):
        run.predict([COLOUR.test.images[0], np.zeros(7)])
    for pictures in ([None], [b"a"], np.array(3)):
        with pytest.raises(DataError, match=r"^pictures\[0\]: got .*; accepted: "):
            run.predict(pictures)
    for pictures in (None, 5, b"a", bytearray(b"a")):
        with pytest.raises(TypeError, match="^pictures: got .*; accepted: files or arrays of pixels"):
            run.predict(pictures)
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "o.npy", np.array([[None]]), allow_pickle=True)
    for name in ("x.npy", "o.npy"):
        with pytest.raises(DataError, match=f"^{tmp_path}/{name}: not a readable .*; accepted: an array of"):
            run.predict(tmp_path / name)
    (tmp_path / "x.png").write_bytes(b"no")
    with pytest.raises(DataError, match=f"^{tmp_path}/x.png: "):
        run.predict(tmp_path / "x.png")


def test_a_run_notes_the_form_of_its_images(folder: Path, tmp_path: Path) -> None:
    assert mgnet.load_run(folder).form == Form((3, 32, 32), "square", COLOUR.border)
    run = mgnet.load_run(trained(tmp_path, grey(0, "digits")))
    assert run.form == Form((1, 28, 28), "digits", 0.0)
    with pytest.raises(ValueError, match="data.form: got 'round'"):
        mgnet.fit(run.model, replace(grey(0), form="round"), progress=False)


@pytest.mark.parametrize(("border", "picture"), [(0, 255), (255, 0)], ids=["light on dark", "dark on light"])
def test_a_grey_picture_the_other_way_round_is_inverted(border: int, picture: int) -> None:
    form = Form((1, 28, 28), "square", grey(border).border)
    own = grey(picture).test.images[0, 0].numpy()
    turned = prepare(own, form)
    assert turned.inverted
    np.testing.assert_array_equal(turned.image[0], 255 - own)
    left = [prepare(own, form, invert=False), prepare(own, form, as_is=True), prepare(own, Form((1, 28, 28)))]
    assert not any(each.inverted for each in left)
    np.testing.assert_array_equal(left[0].image[0], own)
    assert not prepare(255 - own, form).inverted
    assert prepare(255 - own, form, invert=True).inverted
    colour = Form((3, 28, 28), "square", form.border)
    assert not prepare(own, colour).inverted  # a photograph may well have a dark edge


def test_the_edge_of_images() -> None:
    assert grey(0).border == 0.0
    assert grey(255).border == 1.0
    noise = Split(torch.randint(0, 256, (9, 1, 28, 28), dtype=torch.uint8), torch.zeros(9, dtype=torch.int64))
    assert replace(grey(0), train=noise).border is None


def test_a_digit_lies_in_images_of_other_sizes() -> None:
    own = np.zeros((28, 28), np.uint8)
    own[4:24, 13:16] = 255
    for size in (28, 32, 33):
        image = prepare(own, Form((1, size, size), "digits")).image[0]
        margin = (size - 28) // 2
        np.testing.assert_array_equal(image[margin : margin + 28, margin : margin + 28], own)
        assert image.sum(dtype=int) == own.sum(dtype=int)
    small = prepare(own, Form((1, 14, 14), "digits")).image[0]
    assert small.shape == (14, 14) and small[7, 7] > 100
    left = prepare(255 - own, Form((1, 28, 28), "digits"), as_is=True)
    np.testing.assert_array_equal(left.image[0], 255 - own)
    assert (left.inverted, left.form) == (False, "unchanged")
    blank = prepare(np.full((40, 40), 200, np.uint8), Form((1, 28, 28), "digits"))
    assert blank.form == "no digit"


def test_images_that_are_no_squares() -> None:
    tall = np.zeros((60, 60, 3), np.uint8)
    tall[:, 20:40] = 90
    assert (prepare(tall, Form((3, 30, 10))).image == 90).all()


def test_scores_that_are_not_finite(folder: Path) -> None:
    run = mgnet.load_run(folder)
    with torch.no_grad():
        next(run.model.parameters()).fill_(float("nan"))
    with pytest.raises(mgnet.DivergedError, match="the model's scores are not finite"):
        run.predict(COLOUR.test.images[:1])


def test_classes_without_a_name_are_numbers(folder: Path) -> None:
    run = replace(mgnet.load_run(folder), classes=None)
    (answer,) = run.predict(COLOUR.test.images[0])
    assert answer.class_name == str(answer.label)
    few = replace(run, classes=["a", "b"]).predict(COLOUR.test.images[0])[0]
    assert few.classes == ["a", "b", *map(str, range(2, 10))]


@pytest.mark.parametrize("path", ["", " ", "a\0b"])
def test_what_is_no_path_of_a_run(path: str) -> None:
    with pytest.raises(ValueError, match="path: got .*; accepted: the folder of a run") as caught:
        mgnet.load_run(path)
    assert not isinstance(caught.value, mgnet.CheckpointError)


def test_a_picture_as_the_network_gets_it(folder: Path, tmp_path: Path) -> None:
    """It is what its answer was computed from, so that it can be looked into."""
    run, pixels = mgnet.load_run(folder), COLOUR.test.images[0].repeat(1, 2, 3)
    file = saved(tmp_path / "a.png", pixels.permute(1, 2, 0).numpy())
    (answer,) = run.predict(file)
    for picture in (file, pixels, answer, answer.input.image):
        x = run.tensor(picture)
        with torch.no_grad():
            shares = run.model(x[None]).double().softmax(1)[0]
        np.testing.assert_allclose(shares, answer.probabilities, atol=1e-6)
        assert mgnet.occlusion(run.model, x, size=7, step=8).shape == (4, 4)
    test = COLOUR.test.normalised_by(run.mean, run.std)
    assert torch.equal(run.tensor(COLOUR.test.images[1]), test[1][0])


def test_a_picture_may_be_inverted(tmp_path: Path) -> None:
    run = mgnet.load_run(trained(tmp_path, grey(0)))
    light = np.full((28, 28), 255, np.uint8)
    (answer,) = run.predict(light)
    black = torch.full((1, 28, 28), -0.2 / 0.3)
    assert answer.input.inverted
    torch.testing.assert_close(run.tensor(light), black)
    torch.testing.assert_close(run.tensor(answer), black)
    torch.testing.assert_close(run.tensor(light, invert=False), black + 1 / 0.3)
    torch.testing.assert_close(run.tensor(light, as_is=True), black + 1 / 0.3)


def test_what_is_no_picture_is_no_tensor(folder: Path) -> None:
    run = mgnet.load_run(folder)
    with pytest.raises(DataError, match="picture: got an array of shape"):
        run.tensor(np.zeros((2, 2, 2, 2)))
    with pytest.raises(TypeError, match="invert: got 'no'"):
        run.tensor(COLOUR.test.images[0], invert="no")
    (answer,) = run.predict(COLOUR.test.images[0])
    other = replace(answer, input=replace(answer.input, image=answer.input.image[:, :9]))
    with pytest.raises(ValueError, match="picture: got an answer about an image of shape .3, 9, 32."):
        run.tensor(other)
