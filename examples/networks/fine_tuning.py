r"""
Beginning from weights: other classes, few pictures
===================================================

A network that has learned six classes from many pictures is taught four others, of which there are six
pictures each. Four ways are compared on the same pictures: from random numbers, from the weights of the six
classes, and from these with more or less of them frozen. And what was frozen is looked at, bit by bit.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/training`
"""

# %%
# Six classes with many pictures, four with few
# ---------------------------------------------
# The ten classes of :func:`mgnet.data.synthetic` are divided. Of the four new ones there are six training
# images each, but as many test images as there are, so that the figures mean something.

import copy
import statistics
import tempfile
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

import mgnet


def of_classes(data: mgnet.data.Data, classes: list[str], most: int | None = None) -> mgnet.data.Data:
    """Return the images of some classes, with labels from 0, and at most so many of each to train on."""
    parts = {}
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        rows = [(split.labels == data.classes.index(each)).nonzero()[:, 0] for each in classes]
        rows = [each[:most] if name == "train" else each for each in rows]
        labels = torch.cat([torch.full_like(each, label) for label, each in enumerate(rows)])
        parts[name] = mgnet.data.Split(split.images[torch.cat(rows)], labels, split.mean, split.std)
    return replace(data, classes=classes, **parts)


everything = mgnet.data.synthetic(train=1500, validation=300, test=1000)
old = of_classes(everything, ["ring", "square", "horizontal", "vertical", "grid", "dots"])
new = of_classes(everything, ["disc", "cross", "diagonal", "checker"], most=6)
for name, data in (("old", old), ("new", new)):
    print(f"{name}: {len(data.train):>5} to train on, {len(data.test)} to test: {', '.join(data.classes)}")

figure = mgnet.plot.images(
    new.train.images.numpy(), [new.classes[label] for label in new.train.labels], columns=12
)
figure.suptitle("All the pictures that there are of the new classes", fontsize="medium")
plt.show()

# %%
# The old classes
# ---------------


def network(classes: int, seed: int = 0) -> nn.Module:
    """Return a small MgNet with random weights."""
    torch.manual_seed(seed)
    return mgnet.models.create("mgnet", classes, channels=16, nu=[1, 1, 1])


workplace = tempfile.TemporaryDirectory()
teacher = network(old.num_classes)
history = mgnet.fit(teacher, old, epochs=4, batch_size=64, bfloat16=False, out=workplace.name, progress=False)
print(f"six classes: {history.test_accuracy:.1%} of the test images")
assert history.test_accuracy > 0.8

# %%
# The new ones
# ------------
# ``init=`` takes over weights by name. The last layer has a row for each class, so it is new, and a warning
# says so. ``freeze=`` names what stays as it is. The rate is a quarter of that of the recipe, for all ways
# the same: a larger one could undo in its first steps what was learned, and random weights get no further
# with twice or half of it. Three seeds decide the new layer and the order of the images.

BEGINNINGS = {
    "random weights": {},
    "weights of six classes": {"init": workplace.name},
    "the same, first level frozen": {"init": workplace.name, "freeze": ("data", "levels.0", "transfers.0")},
    "the same, all but the last layer frozen": {
        "init": workplace.name,
        "freeze": ("data", "levels", "transfers"),
    },
}
SEEDS = (1, 2, 3)
recipe = {"epochs": 15, "batch_size": 8, "lr": 0.1, "bfloat16": False, "progress": False}
models, histories = {}, {name: [] for name in BEGINNINGS}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for name, options in BEGINNINGS.items():
        for seed in SEEDS:
            models[name] = network(new.num_classes, seed)
            histories[name].append(mgnet.fit(models[name], new, seed=seed, **recipe, **options))
print(f"{said[0].message}".replace(workplace.name, "RUN"))

print(f"{'begun from':<40} {'mean':>6} {'deviation':>11}   of each seed")
accuracy = {name: [100 * each.test_accuracy for each in runs] for name, runs in histories.items()}
for name, each in accuracy.items():
    seeds = ", ".join(f"{value:.1f}" for value in each)
    print(f"{name:<40} {statistics.fmean(each):>4.1f} % {statistics.stdev(each):>9.1f} %   {seeds}")

# %%
# With so few images, what was learned from others decides, and a part that is frozen cannot be bent to fit
# them by heart. With everything frozen, little or nothing is won over random weights here; the end of the
# page shows why. The assertions leave a margin for other processors.

mean = {name: statistics.fmean(each) for name, each in accuracy.items()}
assert mean["the same, first level frozen"] > mean["random weights"] + 6
assert mean["the same, first level frozen"] > mean["the same, all but the last layer frozen"] + 6

COLOURS = ("0.5", "C0", "C2", "C1")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", width_ratios=[1.5, 1])
for place, (name, runs) in enumerate(histories.items()):
    curves = 100 * torch.tensor([each["val_accuracy"] for each in runs], dtype=torch.float64)
    epochs, colour = range(1, curves.shape[1] + 1), COLOURS[place]
    left.plot(epochs, curves.T, color=colour, alpha=0.2, linewidth=1)
    left.plot(epochs, curves.mean(0), color=colour, linewidth=2.5, label=name)
    right.bar(place, mean[name], color=colour, width=0.7)
    right.plot([place] * len(SEEDS), accuracy[name], "k_", markersize=14)
    right.text(place, 4, f"{mean[name]:.0f} %", ha="center", color="white", fontweight="bold")
left.axhline(25, color="black", linestyle=":", linewidth=1)
left.set(xlabel="epoch", ylabel="accuracy in %; dotted: guessing", ylim=(0, 103))
left.set_title("Validation images, epoch by epoch", fontsize="medium")
left.grid(alpha=0.3)
right.set(ylim=(0, 103), xticks=[], xlabel="lines: the three seeds")
right.set_title("Test images, at the end", fontsize="medium")
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
figure.suptitle("Four new classes, six pictures each", fontsize="medium")
plt.show()

# %%
# What is the same, bit for bit
# -----------------------------
# Every parameter of the frozen part, and the running statistics of its norms too.

before = teacher.state_dict()
for name, options in BEGINNINGS.items():
    after, parts = models[name].state_dict(), options.get("freeze", ())
    frozen = [each for each in before if any(each.startswith(f"{part}.") for part in parts)]
    kept = [each for each in before if torch.equal(after[each], before[each])]
    print(f"{name:<40} {len(frozen):>2} of {len(before)} tensors frozen")
    assert set(frozen) <= set(kept)
    # What is not frozen has moved, but for the counters of norms, which count batches.
    assert not any(each.endswith(("weight", "mean", "var")) for each in set(kept) - set(frozen))

# %%
# The statistics are what one forgets. A parameter without a gradient is not stepped, but a norm in training
# mode divides by the statistics of its batch and moves the running ones all the same: the frozen kernels
# behind it would get other inputs than they were trained for. So :func:`mgnet.fit` leaves frozen norms in
# evaluation mode.

norm = nn.BatchNorm2d(3).requires_grad_(False)
norm.train()(new.train.normalise(new.train.images))
assert norm.running_mean.abs().min() > 0  # they were zero, and nothing was trained
norm = nn.BatchNorm2d(3).requires_grad_(False)
norm.eval()(new.train.normalise(new.train.images))
assert norm.running_mean.abs().max() == 0

# %%
# What the last layer is given
# ----------------------------
# Sixteen numbers for each image. With all but the last layer frozen they are a fixed function of the image,
# and what is trained behind it is a logistic regression. The two main directions of these numbers are drawn,
# for test images of the four classes: as random weights make them, and as the network of the six classes
# does, which has never met these.


def features(model: nn.Module) -> Tensor:
    """Return what the last layer is given for the test images, each number with mean 0 and deviation 1."""
    body = copy.deepcopy(model)
    body.head[-1] = nn.Identity()
    z = mgnet.predict(body, new.test).double()
    return (z - z.mean(0)) / z.std(0).clamp(min=1e-9)


def between(z: Tensor) -> float:
    """Return how much of the variance is between the classes, from 0 to 1."""
    means = torch.stack([z[new.test.labels == label].mean(0) for label in range(new.num_classes)])
    return float(means[new.test.labels].square().sum() / z.square().sum())


frozen = models["the same, all but the last layer frozen"]
assert torch.equal(features(teacher), features(frozen))

figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
shares = {}
shown = {"random weights": network(new.num_classes), "weights of six classes": teacher}
for ax, (name, model) in zip(axes, shown.items(), strict=True):
    z = features(model)
    shares[name] = between(z)
    plane = z @ torch.linalg.svd(z, full_matrices=False).Vh[:2].T
    for label, (each, marker) in enumerate(zip(new.classes, "oxs^", strict=True)):
        ax.plot(*plane[new.test.labels == label].T, marker, markersize=4, alpha=0.7, label=each)
    ax.set(xlabel="first direction", ylabel="second direction", xticks=[], yticks=[])
    ax.set_title(f"{name}: {shares[name]:.0%} of the variance", fontsize="medium")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
figure.suptitle("The four new classes, and how much of the variance is between them", fontsize="medium")
plt.show()
assert shares["weights of six classes"] > shares["random weights"] + 0.2

# %%
# What was learned tells shapes from textures, though neither word was ever in the labels; so much comes for
# nothing. But diagonals and checkers lie in each other, for no old class needed that distinction. A last
# layer alone cannot part them, and that is what it gets wrong.

predicted, labels = mgnet.predict(frozen, new.test).argmax(1), new.test.labels
texture = torch.tensor([name in ("diagonal", "checker") for name in new.classes])
wrong = predicted != labels
across = (texture[predicted] != texture[labels]).sum() / wrong.sum()
print(
    f"{int(wrong.sum())} mistakes with all but the last layer frozen: {across:.0%} across shapes and textures"
)
assert across < 0.3  # of the wrong answers to any image, two in three are across

workplace.cleanup()

# %%
# In the shell the best of these ways is ``mgnet train ... --init runs/six --freeze data,levels.0,transfers.0
# --lr 0.1``. What beginning from weights is worth depends on what was learned before: :doc:`/book/training`
# has a case in which it is worth nothing.
