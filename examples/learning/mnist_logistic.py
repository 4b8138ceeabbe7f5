r"""
Logistic regression for ten classes
===================================

The smallest network that reads digits has one linear layer: ten images of weights, one for each class. The
scalar products of a picture with them, and ten numbers more, go through the softmax and are probabilities;
the cross-entropy says how good they are. With 28 × 28 pixels it has 7,850 parameters, and on MNIST it is
right about 92 times in a hundred.

:Lecture systems: T6
:Chapter: :doc:`/book/linear-models`

By default the digits are drawn here, from the seven strokes of a pocket calculator, with enough noise that
they are not easy. With the environment variable ``MGNET_DATA`` they are those of MNIST. The last section
shows what a linear model cannot do.
"""

# %%
# The images
# ----------
# A data set of one's own is three :class:`mgnet.data.Split`: images as bytes, and a label for each. Every
# stroke of a drawn digit has a random brightness, the digit is shifted by up to two pixels, and there is
# noise on every pixel.

import os

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.data import Augmentation, Data, Split, statistics

real = bool(os.environ.get("MGNET_DATA"))

# Rows and columns of the strokes a to g, and which of them a digit has.
STROKES = {
    "a": (slice(4, 7), slice(8, 20)),
    "b": (slice(4, 15), slice(17, 20)),
    "c": (slice(13, 24), slice(17, 20)),
    "d": (slice(21, 24), slice(8, 20)),
    "e": (slice(13, 24), slice(8, 11)),
    "f": (slice(4, 15), slice(8, 11)),
    "g": (slice(13, 15), slice(8, 20)),
}
DIGITS = ["abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg"]


def drawn_digits(images: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % 10
    strokes = torch.zeros(7, 28, 28)
    for stroke, place in zip(strokes, STROKES.values(), strict=True):
        stroke[place] = 1
    has = torch.tensor([[float(stroke in digit) for stroke in STROKES] for digit in DIGITS])
    brightness = has[labels] * (0.25 + 0.75 * torch.rand(images, 7, generator=random))
    ink = (brightness[:, :, None, None] * strokes).amax(1, keepdim=True)
    noise = 0.2 * torch.randn(ink.shape, generator=random)
    shift = Augmentation(crop=2)
    pixels = (255 * (ink + noise).clamp(0, 1)).byte()
    return shift(pixels, shift.draw(labels, 28, 28, random)).contiguous(), labels


def drawn(train: int = 8000, validation: int = 500, test: int = 2000) -> Data:
    parts = [drawn_digits(size, seed) for seed, size in enumerate((train, validation, test))]
    normalisation = statistics(parts[0][0])
    splits = [Split(images, labels, *normalisation) for images, labels in parts]
    return Data("strokes", list("0123456789"), *splits, source="drawn", verified=True)


data = mgnet.data.mnist(download=False) if real else drawn()
print(data)

figure = mgnet.plot.images(data.test.images[:16].numpy(), [data.classes[i] for i in data.test.labels[:16]])
figure.suptitle("Sixteen digits and their classes")
plt.show()

# %%
# The model and its gradient
# --------------------------
# For an image x, as a vector of 784 pixels, the model gives scores :math:`s = W x + b`, :eq:`linear-scores`,
# and probabilities :math:`p = \mathrm{softmax}(s)`. The cross-entropy with the class y is :math:`-\log p_y`.
# Its gradient by the scores, :eq:`softmax-cross-entropy`, gives by the chain rule
#
# .. math::
#
#    \frac{\partial}{\partial W} = (p - e_y)\, x^{\mathsf T}, \qquad
#    \frac{\partial}{\partial b} = p - e_y,
#
# and for a batch the mean of these over its images. Automatic differentiation must find the same.


def network(seed: int = 0, **sizes: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return mgnet.models.create("logistic", **sizes)


model = network().double()
assert sum(p.numel() for p in model.parameters()) == 784 * 10 + 10 == 7850

x = data.train.normalise(data.train.images[:100], dtype=torch.float64)
y = data.train.labels[:100]
loss = torch.nn.functional.cross_entropy(model(x), y)
by_autograd = torch.autograd.grad(loss, tuple(model.parameters()))

with torch.no_grad():
    difference = (model(x).softmax(1) - torch.eye(10, dtype=torch.float64)[y]) / len(y)
    by_hand = difference.T @ x.flatten(1), difference.sum(0)
error = max((a - b).abs().max().item() for a, b in zip(by_autograd, by_hand, strict=True))
print(f"largest difference of the two gradients: {error:.1e}")
assert error < 1e-14

# %%
# Training
# --------
# :func:`mgnet.fit` without further words takes the recipe ``fast``, which for a model without convolutions
# is: batches of 64, momentum 0.9, a learning rate that rises to 0.02 and falls to zero, :eq:`one-cycle`, five
# epochs.

model = network()
history = mgnet.fit(model, data, progress=False)
print(f"test accuracy after {len(history)} epochs: {history.test_accuracy:.2%}")
print(f"cross-entropy in training, by epoch: {', '.join(f'{loss:.3f}' for loss in history['train_loss'])}")
assert history.test_accuracy >= (0.92 if real else 0.9)

# %%
# The measured figures for MNIST:
#
# .. literalinclude:: /results/mnist_logistic.txt
#
# What was learned can be looked at, because every weight belongs to a pixel. Ink where a weight is positive
# speaks for the class, ink where it is negative against it.

weights = model[1].weight.detach().reshape(10, 28, 28).numpy()
most = np.abs(weights[:, 4:-4, 4:-4]).max()
figure, axes = plt.subplots(2, 5, figsize=(8, 3.8), layout="constrained")
for digit, (ax, picture) in enumerate(zip(axes.flat, weights, strict=True)):
    colours = ax.imshow(picture, cmap="RdBu_r", vmin=-most, vmax=most)
    ax.set_title(f"for a {data.classes[digit]}", fontsize="medium")
    ax.set_axis_off()
figure.colorbar(colours, ax=axes, label="weight", shrink=0.8)
figure.suptitle("Ten images of weights: red speaks for the class, blue against it")
plt.show()

# %%
# Only one valley
# ---------------
# The cross-entropy of a linear model is a convex function of its weights. So on the straight line between any
# two models it lies below the chord, and no start can be a bad one. We take the trained model and one with
# large random weights. A network with a hidden layer has no such guarantee.

far = network(seed=1)
with torch.no_grad():
    far[1].weight.normal_(std=0.05)
ends = [torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in (model, far)]
x, y = data.train.normalise(data.train.images[:2000]), data.train.labels[:2000]
between = network()
t = np.linspace(0, 1, 21)
losses = []
for share in t:
    torch.nn.utils.vector_to_parameters(torch.lerp(*ends, share), between.parameters())
    with torch.no_grad():
        losses.append(torch.nn.functional.cross_entropy(between(x), y).item())
losses = np.array(losses)
chord = (1 - t) * losses[0] + t * losses[-1]
assert (losses <= chord + 1e-5).all()
assert (np.diff(losses, 2) > -1e-4).all()

figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.plot(t, losses, "o-", markersize=4, label="cross-entropy")
ax.plot(t, chord, "--", label="chord")
ax.set_xlabel("from the trained model (0) to random weights (1)")
ax.set_ylabel("cross-entropy in training")
ax.set_title("The loss of a linear model is convex")
ax.legend()
ax.grid(alpha=0.3)
plt.show()

# %%
# Where it errs
# -------------
# The rows are the classes, the columns what the model says, in percent of the row.

predicted = mgnet.predict(model, data.test).argmax(1)
figure, ax = plt.subplots(figsize=(5.5, 5), layout="constrained")
mgnet.plot.confusion_matrix(data.test.labels, predicted, data.classes, ax)
ax.set_title("Which digit is taken for which")
plt.show()

# %%
# What it cannot do
# -----------------
# The synthetic images of :func:`mgnet.data.synthetic` are ten shapes and textures at random places, bright on
# dark as often as dark on bright. So a single pixel says next to nothing about the class, and a model that
# weighs single pixels is wrong about three times in four. The networks with convolutions, trained on the same
# images, are hardly ever wrong.

shapes = mgnet.data.synthetic(train=3000, validation=0, test=1000)
linear = network(in_channels=3, image_size=32)
reached = mgnet.fit(linear, shapes, epochs=3, progress=False).test_accuracy
print(f"logistic regression on shapes: {reached:.1%} of the test images")
assert reached < 0.4
