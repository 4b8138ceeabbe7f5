r"""
What a network looks at
=======================

A square of grey is moved over an image, and at each place the network is asked again. Where the probability
of its answer falls, it has looked. That needs no gradient and nothing of the network's inside, and it takes a
dozen lines. A second map comes from a gradient, and is another answer to another question.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/training`
"""

# %%
# A network and its images
# ------------------------
# The shapes of :func:`mgnet.data.synthetic` lie somewhere in the image, so that there is a place to look at;
# its textures lie everywhere.

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

import mgnet

data = mgnet.data.synthetic(train=2000, validation=200, test=1000)
torch.manual_seed(0)
model = mgnet.models.create("mgnet", channels=8, nu=[1, 1, 1])
history = mgnet.fit(model, data, epochs=5, batch_size=32, bfloat16=False, progress=False)
print(f"test accuracy {history.test_accuracy:.1%}")
assert history.test_accuracy > 0.8

# %%
# Covering
# --------
# The square is zero, which after the normalisation is the mean colour of all images. One image becomes a
# batch of copies, each covered at another place.


def cover(image: Tensor, row: int, column: int, size: int) -> Tensor:
    """Return a copy of an image with a square around a pixel; at the border less of it is in the image."""
    half, copy = size // 2, image.clone()
    copy[:, max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = 0
    return copy


def occlusion(model: nn.Module, image: Tensor, label: int, size: int) -> Tensor:
    """Return how much the probability of a class falls when a square around each pixel is covered."""
    _, height, width = image.shape
    falls = torch.empty(height, width)
    with torch.no_grad():
        whole = model(image[None]).softmax(1)[0, label]
        for row in range(height):
            copies = torch.stack([cover(image, row, column, size) for column in range(width)])
            falls[row] = whole - model(copies).softmax(1)[:, label]
    return falls


# %%
# The package has it as :func:`mgnet.occlusion`. Both agree.

model.eval()
image, label = data.test[0]
ours, theirs = occlusion(model, image, label, 7), mgnet.occlusion(model, image, label, size=7)
difference = (ours - theirs).abs().max().item()
print(f"largest difference of the two maps: {difference:.0e}")
assert difference < 1e-5

# %%
# Where it looks
# --------------
# Two images of each shape, and the falls in percentage points. The contour is that of the shape, which is
# found by its colour, without the network.

SHAPES = ("disc", "ring", "square", "cross")
images, labels = data.test.images, data.test.labels
predicted = mgnet.predict(model, data.test).argmax(1)


def of_class(name: str, most: int) -> list[int]:
    """Return the first test images of a class that the network knows."""
    known = (labels == data.classes.index(name)) & (predicted == labels)
    return known.nonzero()[:most, 0].tolist()


def shape_of(i: int) -> np.ndarray:
    """Return the pixels of the shape: the largest piece of those that differ from the background."""
    grey = ndimage.uniform_filter(images[i].double().mean(0).numpy(), 3)
    pieces, _ = ndimage.label(abs(grey - np.median(grey)) > 28)
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()


def draw(ax: plt.Axes, falls: np.ndarray, most: float, i: int) -> object:
    """Draw a map, and the contour of the shape in the image that it belongs to."""
    drawn = ax.imshow(100 * falls, cmap="RdBu_r", vmin=-100 * most, vmax=100 * most)
    ax.contour(shape_of(i), [0.5], colors="black", linewidths=0.8)
    ax.set(xticks=[], yticks=[])
    return drawn


shown = [i for name in SHAPES for i in of_class(name, 2)]
maps = {i: mgnet.occlusion(model, data.test[i][0], size=7).numpy() for i in shown}
most = max(abs(falls).max() for falls in maps.values())
figure, axes = plt.subplots(2, len(shown), figsize=(10, 2.9), layout="constrained")
for (above, below), i in zip(axes.T, shown, strict=True):
    above.imshow(images[i].permute(1, 2, 0).numpy())
    above.set_title(data.classes[labels[i]], fontsize="small")
    above.set_axis_off()
    scale = draw(below, maps[i], most, i)
figure.colorbar(scale, ax=axes, label="fall in points", shrink=0.8)
figure.suptitle("Eight images, and what covering 7 × 7 pixels there takes from the answer", fontsize="medium")
plt.show()

# %%
# The places that matter are at the shape. Averaged over some images of each class, the fall is several times
# as large over the shape as elsewhere. A texture has no such place: cover any square of it, and the rest says
# enough.

falls = {
    name: [(i, mgnet.occlusion(model, data.test[i][0], size=7, step=2).numpy()) for i in of_class(name, 6)]
    for name in data.classes
}
pairs = [(map_, shape_of(i)[::2, ::2]) for name in SHAPES for i, map_ in falls[name]]
over = np.mean([map_[shape].mean() for map_, shape in pairs])
elsewhere = np.mean([map_[~shape].mean() for map_, shape in pairs])
print(f"covering a part of a shape costs {100 * over:.1f} points on average, elsewhere {100 * elsewhere:.1f}")
assert over > 2 * elsewhere

largest = {name: 100 * np.mean([map_.max() for _, map_ in each]) for name, each in falls.items()}
shapes = np.mean([largest[name] for name in SHAPES])
textures = np.mean([fall for name, fall in largest.items() if name not in SHAPES])
assert shapes > 2 * textures

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.barh(data.classes, largest.values(), color=["C0" if name in SHAPES else "0.7" for name in data.classes])
ax.invert_yaxis()
ax.set(xlabel="largest fall in percentage points, mean of six images", xlim=(0, 100))
ax.set_title("A square of 7 × 7 can take a shape away (blue), but not a texture (grey)", fontsize="medium")
plt.show()

# %%
# Beside a shape there are falls too. What does the network say there instead? We cover the place that costs
# most among those that are four pixels off the shape or more, and look at which class gains.

gains = Counter()
for i, map_ in (pair for name in SHAPES for pair in falls[name]):
    near = ndimage.binary_dilation(shape_of(i), iterations=4)[::2, ::2]
    row, column = 2 * np.argwhere((map_ == map_[~near].max()) & ~near)[0]
    both = torch.stack([data.test[i][0], cover(data.test[i][0], row, column, 7)])
    with torch.no_grad():
        before, after = model(both).softmax(1)
    gains[data.classes[(after - before).argmax()]] += 1
print("what gains:", ", ".join(f"{name} {count}" for name, count in gains.most_common()))
assert sum(gains[name] for name in SHAPES) > 0.7 * gains.total()

# %%
# Shapes gain, and hardly a texture: a grey square on a background is itself a thing to be seen, and the
# network hesitates between two. So a map shows answers to covered images, which are no images of the set, and
# part of what it shows is made by the covering.

# %%
# The square decides
# ------------------
# A small square takes away a piece of an edge, a large one the whole shape, and each has another map. So a
# map is no property of the network alone, and one size is not enough to speak of what it looks at.

i = of_class("ring", 1)[0]
sizes = (3, 5, 9, 13)
several = {size: mgnet.occlusion(model, data.test[i][0], size=size).numpy() for size in sizes}
figure, axes = plt.subplots(1, len(sizes) + 1, figsize=(10, 2.3), layout="constrained")
axes[0].imshow(images[i].permute(1, 2, 0).numpy())
axes[0].set_title(f"{data.classes[labels[i]]}", fontsize="medium")
axes[0].set_axis_off()
for ax, (size, falls) in zip(axes[1:], several.items(), strict=True):
    draw(ax, falls, abs(falls).max(), i)
    ax.set_title(f"{size} × {size}: up to {100 * falls.max():.0f} points", fontsize="medium")
figure.suptitle("One image, and four sizes of the square; each map on its own scale", fontsize="medium")
plt.show()

# %%
# A gradient answers another question
# -----------------------------------
# Not what is gone without a part, but how the score changes when a pixel changes a little: the derivative of
# the score with respect to the image, which costs one step backwards. It is checked against a difference of
# scores, in double precision, along a random direction.


def gradient(model: nn.Module, image: Tensor, label: int) -> Tensor:
    """Return the derivative of the score of a class with respect to the image."""
    image = image.clone().requires_grad_()
    return torch.autograd.grad(model(image[None])[0, label], image)[0]


exact = mgnet.models.create("mgnet", channels=8, nu=[1, 1, 1]).double().eval()
exact.load_state_dict(model.state_dict())
image, label = data.test[0]
image, direction, step = image.double(), torch.randn(image.shape, dtype=torch.float64), 1e-7
with torch.no_grad():
    ahead, behind = (exact((image + sign * step * direction)[None])[0, label] for sign in (1, -1))
slope = float((ahead - behind) / (2 * step))
along = float((gradient(exact, image, label) * direction).sum())
print(f"slope {slope:.6f}, by the gradient {along:.6f}")
assert abs(slope - along) < 1e-3 * max(1, abs(along))

figure, axes = plt.subplots(3, len(shown), figsize=(10, 4.1), layout="constrained")
for column, i in zip(axes.T, shown, strict=True):
    column[0].imshow(images[i].permute(1, 2, 0).numpy())
    column[1].imshow(gradient(model, *data.test[i]).norm(dim=0).numpy(), cmap="magma")
    column[2].imshow(maps[i].clip(0), cmap="magma")
    column[0].set_title(data.classes[labels[i]], fontsize="small")
    for ax in column:
        ax.set(xticks=[], yticks=[])
for ax, name in zip(axes[:, 0], ("image", "gradient", "covering"), strict=True):
    ax.set_ylabel(name)
figure.suptitle(
    "Where small changes count, and where covering does; each map on its own scale", fontsize="medium"
)
plt.show()

# %%
# Neither says why. A network may look at the right place for the wrong reason, and maps of one image after
# the other are a way to find a suspicion, not to prove it. What proves it is a test set without what is
# suspected.
