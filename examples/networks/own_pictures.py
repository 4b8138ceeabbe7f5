r"""
One's own pictures, from a folder to an answer
==============================================

Pictures in PNG and JPEG, of all sizes and sorted into folders, become a data set. A small network is trained
on them, and its run is read again, as on another day, and asked about pictures that it has never seen.
Nothing here is special to these pictures, which the page draws for itself: put your own in their place.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/training`
"""

# %%
# Pictures
# --------
# Four outlines in the complex plane, where one factor turns and stretches them. Each picture has its own
# size, colours, place and noise, and lies in the folder of its class.

import colorsys
import math
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw

import mgnet
from mgnet.data import DataError

angles = np.linspace(0, 2 * math.pi, 240, endpoint=False)
x = np.linspace(-1, 1, 100)
lens = x + 0.45j * (1 - x**2)
outer = np.exp(1j * np.linspace(0.9, 2 * math.pi - 0.9, 120))
radius, turn = abs(outer[0] - 0.55), np.angle(outer[0] - 0.55)
inner = 0.55 + radius * np.exp(1j * np.linspace(2 * math.pi - turn, turn, 120))
OUTLINES = {
    "flower": (0.7 + 0.3 * np.cos(5 * angles)) * np.exp(1j * angles),
    "leaf": np.concatenate([lens, lens.conj()[::-1]]),
    "moon": np.concatenate([outer, inner]),
    "star": np.tile([1.0, 0.42], 5) * np.exp(2j * math.pi * np.arange(10) / 10),
}


def draw(name: str, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Draw one picture: twice as large at first, so that its edges become smooth."""
    width, height = 2 * size[0], 2 * size[1]
    side = min(width, height)
    hue, values = rng.random(), rng.permutation([rng.uniform(0.85, 1), rng.uniform(0.4, 0.55)])
    paper = colorsys.hsv_to_rgb(hue, 0.4, values[0])
    ink = colorsys.hsv_to_rgb((hue + rng.uniform(0.3, 0.7)) % 1, 0.75, values[1])
    slope = np.linspace(-0.12, 0.12, width)[:, None] * rng.uniform(-1, 1, 3)
    ground = np.array(paper) + slope + np.zeros((height, 1, 1))
    image = Image.fromarray((255 * ground.clip(0, 1)).astype(np.uint8))
    centre = (width + 1j * height) / 2 + side * complex(*rng.uniform(-0.08, 0.08, 2))
    z = centre + side * rng.uniform(0.28, 0.4) * np.exp(2j * math.pi * rng.random()) * OUTLINES[name]
    ImageDraw.Draw(image).polygon(
        [(p.real, p.imag) for p in z], fill=tuple(int(255 * value) for value in ink)
    )
    pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    noisy = pixels + rng.normal(0, 12, pixels.shape)
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


workplace = tempfile.TemporaryDirectory()
folder, EACH = Path(workplace.name) / "shapes", 200
rng = np.random.default_rng(0)
for name in OUTLINES:
    (folder / name).mkdir(parents=True)
    for i in range(EACH):
        size = tuple(rng.integers(48, 121, 2).tolist())
        draw(name, rng, size).save(folder / name / f"{i:03}.{('png', 'jpg')[i % 2]}")

figure, axes = plt.subplots(2, 6, figsize=(9, 3.4), layout="constrained")
for k, ax in enumerate(axes.flat):
    name = list(OUTLINES)[k % 4]
    path = sorted((folder / name).iterdir())[k]
    ax.imshow(Image.open(path))
    ax.set_title(f"{name}/{path.name}", fontsize="small")
    ax.set_axis_off()
figure.suptitle("Twelve of the pictures, as they lie in their folders", fontsize="medium")
plt.show()

# %%
# A folder as a data set
# ----------------------
# :func:`mgnet.data.folder` takes the square in the middle of each picture and resizes it, by a filter under
# which every pixel counts. This folder has no test and no validation set, so they are made, with the same
# share of every class: the seed decides, not the order in which a system lists its files.

data = mgnet.data.folder(folder, test=0.2, validation=0.1)
print(repr(data).replace(str(folder), folder.name))
print(f"{'':<12}" + "".join(f"{name:>8}" for name in data.classes))
for part in ("train", "validation", "test"):
    counts = getattr(data, part).labels.bincount(minlength=4).tolist()
    print(f"{part:<12}" + "".join(f"{count:>8}" for count in counts))
    assert max(counts) - min(counts) <= 1
assert data.classes == sorted(OUTLINES)

figure = mgnet.plot.images(
    data.train.images[::36].numpy(), [data.classes[y] for y in data.train.labels[::36]]
)
figure.suptitle("What the network sees of them: 32 × 32 pixels", fontsize="medium")
plt.show()

# %%
# Training
# --------
# A small network, by the recipe ``fast`` with smaller batches and a smaller rate, since the pictures are few.
# With ``out=`` the run is left in a folder: weights and history, and what belongs to them, class names,
# normalisation and the form of the images.

run_folder = Path(workplace.name) / "run"
torch.manual_seed(0)
model = mgnet.models.create("net", data.num_classes, batch_norm=True)
changes = {"epochs": 20, "batch_size": 16, "lr": 0.02, "bfloat16": False}
history = mgnet.fit(model, data, out=run_folder, progress=False, **changes)
print(f"{len(history)} epochs: {history.test_accuracy:.1%} of {len(data.test)} test pictures")
assert history.test_accuracy >= 0.75  # a quarter is guessing

ax = mgnet.plot.learning_curves(history.rows)
ax.set_title("Four classes, learned from their pictures")
plt.show()

# %%
# New pictures
# ------------
# What comes later is seldom like what one has trained on. A wide one, a large one, a grey one, one without a
# background, and one that a telephone has stored lying on its side, with a remark which way is up.

later = Path(workplace.name) / "later"
later.mkdir()
rng = np.random.default_rng(1)
draw("star", rng, (300, 130)).save(later / "wide-star.jpg")
draw("moon", rng, (700, 600)).save(later / "large-moon.jpg", quality=60)
draw("flower", rng, (90, 90)).convert("L").save(later / "grey-flower.png")
upright = draw("leaf", rng, (96, 128))
lying, remark = upright.transpose(Image.Transpose.ROTATE_90), Image.Exif()
remark[0x0112] = 6  # orientation: to be turned by 90 degrees, clockwise
lying.save(later / "lying-leaf.png", exif=remark)
sticker = draw("flower", rng, (110, 100)).convert("RGBA")
mask = Image.new("L", sticker.size, 0)
ImageDraw.Draw(mask).ellipse((4, 0, 106, 100), fill=255)
sticker.putalpha(mask)
sticker.save(later / "sticker-flower.png")

run = mgnet.load_run(run_folder)
answers = run.predict(sorted(later.iterdir()))
for answer in answers:
    best = ", ".join(f"{name} {share:.0%}" for name, share in answer.best[:3])
    print(f"{Path(answer.name).name:<20} {best}")

figure, axes = plt.subplots(3, len(answers), figsize=(9, 5), layout="constrained", height_ratios=[1.2, 1, 1])
for column, answer in zip(axes.T, answers, strict=True):
    column[0].imshow(Image.open(answer.name), cmap="gray")
    column[0].set_title(Path(answer.name).name, fontsize="small")
    column[1].imshow(np.moveaxis(answer.input.image, 0, -1))
    for ax in column[:2]:
        ax.set_axis_off()
    colours = ["C0" if k == answer.label else "0.75" for k in range(data.num_classes)]
    column[2].barh(data.classes, 100 * answer.probabilities, color=colours)
    column[2].set(xlim=(0, 100), xlabel="%")
    column[2].invert_yaxis()
    if column[2] is not axes[2, 0]:
        column[2].set_yticklabels([])
figure.suptitle("The pixels of a file, what the network sees of them, and what it says", fontsize="medium")
plt.show()

# %%
# Five pictures prove little. Of forty more, given as arrays of pixels and not as files, most must be right.

names = list(OUTLINES) * 10
more = run.predict([np.asarray(draw(name, rng, (150, 110))) for name in names])
right = sum(answer.class_name == name for answer, name in zip(more, names, strict=True))
print(f"{right} of forty are right")
assert right >= 28

# %%
# Nothing in that is hidden: the square in the middle is cut out and resized, its pixels are normalised as
# those of the training images were, and an answer is the softmax of the scores. And the picture that lies on
# its side has the answer of the one that stands upright, to the last bit.

with Image.open(later / "wide-star.jpg") as star:
    square = star.crop((85, 0, 215, 130)).resize((32, 32), Image.Resampling.BICUBIC)
x = np.moveaxis(np.asarray(square) / 255, 2, 0) - np.reshape(run.mean, (3, 1, 1))
x = torch.from_numpy(x / np.reshape(run.std, (3, 1, 1))).float()
with torch.no_grad():
    by_hand = run.model(x[None]).double().softmax(1)[0].numpy()
(answer,) = run.predict(later / "wide-star.jpg")
print(f"largest difference by hand and by the run: {abs(by_hand - answer.probabilities).max():.0e}")
assert np.allclose(by_hand, answer.probabilities, atol=1e-4)
(lying,), (standing,) = run.predict(later / "lying-leaf.png"), run.predict(np.asarray(upright))
assert np.array_equal(lying.probabilities, standing.probabilities)
assert abs(mgnet.evaluate(run.model, data.test) - history.test_accuracy) < 1e-9

# %%
# What is no picture has no answer: the file is named, whatever its name says.

(later / "broken-star.png").write_bytes((folder / "star" / "000.png").read_bytes()[:1000])
try:
    run.predict(later / "broken-star.png")
except DataError as error:
    print(f"{error}".replace(f"{later}", later.name))
else:
    raise AssertionError("half a picture was answered")

workplace.cleanup()

# %%
# The same in the shell
# ---------------------
# With the pictures in ``shapes/flower``, ``shapes/leaf`` and so on:
#
# .. code-block:: console
#
#     $ mgnet train net --option batch_norm=true --dataset folder --data shapes \
#           --epochs 20 --batch-size 16 --lr 0.02 --out runs/shapes
#     $ mgnet predict runs/shapes later --plot answers.png
#
# The second command says the answers as a table, or with ``--json`` as one object. Where a file is broken it
# names it, answers the others, and ends with exit code 4.
