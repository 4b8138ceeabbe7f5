r"""
Confusions, and the mistakes that a network is surest of
========================================================

An accuracy is one number, and says nothing about which classes are taken for which, nor whether the network
was in doubt when it was wrong. Both can be read from its scores: from a table of counts, from the mistakes
sorted by how sure it was of them, and from a comparison of what it promises with what it keeps.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/training`
"""

# %%
# A network that is good and not perfect
# --------------------------------------
# The ten shapes and textures of :func:`mgnet.data.synthetic`, few of them and for few epochs, so that
# something is left to be wrong.

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet

data = mgnet.data.synthetic(train=600, validation=500, test=2000)
torch.manual_seed(0)
model = mgnet.models.create("net")
history = mgnet.fit(model, data, epochs=6, batch_size=32, bfloat16=False, progress=False)
print(f"test accuracy {history.test_accuracy:.1%}")
assert 0.6 < history.test_accuracy < 0.98

# %%
# The table of confusions
# -----------------------
# Its entry (i, j) counts the images of class i that are taken for class j. A row adds up to the images of a
# class, a column to the answers that name it, and the diagonal to what is right. So three figures are in it:
# the accuracy, the *recall* of a class, which is its diagonal entry over its row, and the *precision*, the
# same over the column.

scores = mgnet.predict(model, data.test).double()
probabilities = scores.softmax(1).numpy()
labels, predicted = data.test.labels.numpy(), probabilities.argmax(1)
table = np.zeros((10, 10), int)
np.add.at(table, (labels, predicted), 1)
recall = table.diagonal() / table.sum(1)
precision = table.diagonal() / table.sum(0).clip(1)
assert abs(table.trace() / table.sum() - history.test_accuracy) < 1e-9
assert (table.sum(1) == np.bincount(labels)).all()

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", width_ratios=[1.5, 1])
mgnet.plot.confusion_matrix(labels, predicted, data.classes, left)
left.set_title("What is taken for what, in % of a class", fontsize="medium")
place = np.arange(10)
right.hlines(place, 100 * recall, 100 * precision, color="0.75", linewidth=3)
right.plot(100 * recall, place, "o", label="recall: found, of the class")
right.plot(100 * precision, place, "D", markerfacecolor="white", label="precision: right, of the answers")
right.set(yticks=place, yticklabels=data.classes, xlabel="%", xlim=(None, 103))
right.invert_yaxis()
right.grid(axis="x", alpha=0.3)
right.set_title("Two figures for each class", fontsize="medium")
figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2, frameon=False)
plt.show()

# %%
# The mistakes are not spread evenly. The largest entries beside the diagonal, as pairs:

beside = table - np.diag(table.diagonal())
wrong = beside.sum()
order = np.argsort(-beside, axis=None, kind="stable")[:10]
for i, j in zip(*np.unravel_index(order[:5], beside.shape), strict=True):
    print(f"{beside[i, j]:>3} × {data.classes[i]:<10} taken for {data.classes[j]}")
share = beside.flat[order].sum() / wrong
print(f"ten of ninety pairs hold {share:.0%} of the {wrong} mistakes")
assert share > 0.25  # evenly, it would be a ninth

# %%
# Sure, and wrong
# ---------------
# Sorted by the probability that the network gave to its wrong answer. Such images are worth a look before
# anything else is done: in a data set of one's own, this is where wrong labels are found, and pictures that
# nobody could name.

sure = probabilities.max(1)
mistakes = np.flatnonzero(predicted != labels)
surest = mistakes[np.argsort(-sure[mistakes], kind="stable")][:16]
titles = [f"{data.classes[predicted[i]]} {sure[i]:.0%}\nnot {data.classes[labels[i]]}" for i in surest]
figure = mgnet.plot.images(data.test.images[torch.from_numpy(surest)].numpy(), titles)
figure.suptitle("The sixteen mistakes that the network is surest of", fontsize="medium")
plt.show()

# %%
# Does it keep what it promises?
# ------------------------------
# Of answers with probability 0.8, four in five should be right. The answers are sorted by their probability
# and cut into eight parts of the same size; in each, the mean probability is what was promised, and the share
# that is right is what was kept. This network is too modest: its recipe has label smoothing,
# :eq:`label-smoothing`, which asks it never to be sure.
#
# One number mends most of that. All scores are divided by the same *temperature*, which changes no answer,
# since the largest score stays the largest, but every probability. It is chosen on the validation set, by its
# cross-entropy.


def promised_and_kept(probabilities: np.ndarray, parts: int = 8) -> np.ndarray:
    """Return mean probability, share that is right, and the deviation of such a share, of each part."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    rows = np.array_split(np.argsort(sure, kind="stable"), parts)
    kept = np.array([right[part].mean() for part in rows])
    return np.stack([[sure[part].mean() for part in rows], kept, (kept * (1 - kept) / len(rows[0])) ** 0.5])


held_out, truth = mgnet.predict(model, data.validation).double(), data.validation.labels
losses = {t: float(torch.nn.functional.cross_entropy(held_out / t, truth)) for t in np.linspace(0.2, 2, 91)}
temperature = min(losses, key=losses.get)
tempered = (scores / temperature).softmax(1).numpy()
assert (tempered.argmax(1) == predicted).all()

before, after = promised_and_kept(probabilities), promised_and_kept(tempered)
gap = {name: 100 * abs(x[0] - x[1]).mean() for name, x in (("before", before), ("after", after))}
print(f"temperature {temperature:.2f}; distance of promised and kept, in points:", end=" ")
print(", ".join(f"{name} {value:.1f}" for name, value in gap.items()))
assert temperature < 1 and gap["after"] < gap["before"]

figure, ax = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
ax.plot([0, 100], [0, 100], "k:", linewidth=1, label="as promised")
for x, style, name in ((before, "o", "as trained"), (after, "s", f"temperature {temperature:.2f}")):
    ax.errorbar(100 * x[0], 100 * x[1], 200 * x[2], fmt=style, capsize=3, label=name)
low = 100 * min(x[:2].min() for x in (before, after)) - 8
ax.set(xlabel="promised: mean probability in %", ylabel="kept: right in %", xlim=(low, 102), ylim=(low, 102))
ax.set_title("Eight parts of the test set, by probability;\nbars: two deviations", fontsize="medium")
ax.legend(loc="lower right")
ax.grid(alpha=0.3)
plt.show()

# %%
# Whom to ask
# -----------
# If the images that the network is least sure of are handed to a person, the others are right more often. A
# network whose probabilities meant nothing would have a flat curve.

order = np.argsort(sure, kind="stable")
right = (predicted == labels)[order]
asked = np.arange(len(labels)) / len(labels)
right_of_rest = right[::-1].cumsum()[::-1] / np.arange(len(labels), 0, -1)
whole, rest = right_of_rest[0], right_of_rest[len(labels) // 5]
print(f"right without the least sure fifth: {rest:.1%}, of all: {whole:.1%}")
assert abs(whole - history.test_accuracy) < 1e-9
assert 1 - rest < 0.7 * (1 - whole)

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
shown = asked <= 0.6
ax.plot(100 * asked[shown], 100 * right_of_rest[shown], linewidth=2.5)
ax.axhline(100 * whole, color="black", linestyle=":", linewidth=1)
ax.plot(20, 100 * rest, "o", color="C0", markersize=8)
ax.annotate(
    f"the least sure fifth handed over: {rest:.1%} of the others", (20, 100 * rest), (23, 100 * rest - 0.8)
)
ax.set(xlabel="handed to a person, in %", ylabel="right, of the others, in %", xlim=(0, 60))
ax.set_title("What it is worth to ask where the network is unsure", fontsize="medium")
ax.grid(alpha=0.3)
plt.show()
