r"""
A classifier for small photographs, in five steps
=================================================

Load the images, define a network, choose a loss, train, test: every classifier in this gallery is made in
these five steps, and here they are written out in plain torch, with nothing hidden in :func:`mgnet.fit`. The
network is the ``Net`` of many first courses: two convolutions with max pooling between them, three linear
layers, 62,006 parameters.

:Lecture systems: C1
:Chapter: :doc:`/book/training`

By default the images are ten shapes and textures, drawn by :func:`mgnet.data.synthetic` in the form of
CIFAR-10: three channels of 32 × 32 pixels, ten classes. With the environment variable ``MGNET_DATA`` they are
the photographs of CIFAR-10 themselves; the figures measured for these are at the end of the page.
"""

# %%
# 1. Load
# -------
# A data set has a training, a validation and a test part, each a :class:`mgnet.data.Split`. Its images stay
# bytes until they are used; then the mean of the training pixels is subtracted, channel by channel, and the
# result is divided by their standard deviation, :eq:`normalise`. Over the training set the pixels have mean 0
# and standard deviation 1 afterwards.

import os

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import mgnet

real = bool(os.environ.get("MGNET_DATA"))
if real:
    data = mgnet.data.cifar10(download=False)
else:
    data = mgnet.data.synthetic(train=3000, validation=500, test=1000)
print(data)

pixels = data.train.normalise(data.train.images[:3000])
print(
    "mean",
    pixels.mean((0, 2, 3)).numpy().round(3),
    "standard deviation",
    pixels.std((0, 2, 3)).numpy().round(3),
)
assert pixels.mean().abs() < 0.05 and (pixels.std() - 1).abs() < 0.05

figure = mgnet.plot.images(data.train.images[:16].numpy(), [data.classes[y] for y in data.train.labels[:16]])
figure.suptitle("Sixteen training images and their classes")
plt.show()

# %%
# A split is also an ordinary torch data set, so torch's own loader takes it. For images that lie in memory
# :class:`mgnet.data.Batches` is faster: it cuts whole batches out of one tensor.

x, y = next(iter(torch.utils.data.DataLoader(data.train, batch_size=4)))
same, labels = next(iter(mgnet.data.Batches(data.train, 4, shuffle=False)))
assert torch.equal(y, labels) and torch.allclose(x, same, atol=1e-6)

# %%
# 2. Define
# ---------
# A convolution of 5 × 5 without padding takes four pixels off the height and the width, pooling halves both:
# 32, 28, 14, 10, 5. So the first linear layer sees 16 · 5 · 5 = 400 numbers.


class Net(nn.Module):
    """Two convolutions with pooling, three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of the ten classes."""
        x = self.pool(self.conv1(x).relu())
        x = self.pool(self.conv2(x).relu())
        x = self.fc1(x.flatten(1)).relu()
        return self.fc3(self.fc2(x).relu())


torch.manual_seed(0)
net = Net()
for name, layer in net.named_children():
    numbers = sum(p.numel() for p in layer.parameters())
    print(f"{name:<6} {numbers:>7,}  {layer}")
total = sum(p.numel() for p in net.parameters())
print(f"{'':<6} {total:>7,}")
assert total == 62_006

# %%
# The package has it under the name ``net``. With the same numbers in it, it gives the same scores.

ours = mgnet.models.create("net")
with torch.no_grad():
    for p, q in zip(ours.parameters(), net.parameters(), strict=True):
        p.copy_(q)
difference = (ours(x) - net(x)).abs().max().item()
print(f"largest difference of the two networks' scores: {difference:.1e}")
assert difference < 1e-6

# %%
# 3. A loss and an optimiser
# --------------------------
# The cross-entropy, :eq:`softmax-cross-entropy`: minus the logarithm of the probability that the network
# gives to the right class. A network that knows nothing gives every class a tenth, and has the loss log 10.
# The optimiser is stochastic gradient descent with momentum. For the photographs it is as in the lectures,
# four images at a time with learning rate 0.001, for two epochs; for the few synthetic images all three are
# larger.

criterion = nn.CrossEntropyLoss()
batch_size, rate, epochs = (4, 0.001, 2) if real else (16, 0.005, 8)
optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)

at_first = criterion(net(pixels[:1000]), data.train.labels[:1000]).item()
print(f"loss before training {at_first:.3f}, log 10 = {np.log(10):.3f}")
assert abs(at_first - np.log(10)) < 0.1

# %%
# 4. Train
# --------
# For every batch: forget the last gradient, compute scores and loss, compute the gradient backwards, make a
# step.

batches = mgnet.data.Batches(data.train, batch_size, drop_last=True)
losses = []
for epoch in range(epochs):
    for x, y in batches:
        optimiser.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    print(f"epoch {epoch + 1}: mean loss of its last half {np.mean(losses[-len(batches) // 2 :]):.3f}")

window = max(1, len(losses) // 60)
means = np.array(losses[: len(losses) // window * window]).reshape(-1, window).mean(1)
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.plot(np.arange(1, len(losses) + 1), losses, ".", color="0.75", markersize=2, label="of one batch")
ax.plot(window * np.arange(1, len(means) + 1), means, "-", linewidth=2, label=f"mean of {window} batches")
ax.axhline(np.log(10), color="black", linestyle=":", label="log 10: knows nothing")
ax.set(xlabel="step", ylabel="cross-entropy", ylim=(0, 3.5), title="The loss in training, step by step")
ax.legend(loc="upper right")
plt.show()

# %%
# 5. Test
# -------
# Images that took no part in training. The class with the largest score is the answer, and the accuracy is
# the share of right ones, :eq:`accuracy`.

net.eval()
with torch.no_grad():
    scores = torch.cat([net(x) for x, _ in mgnet.data.Batches(data.test, 1000, shuffle=False)])
predicted = scores.argmax(1)
accuracy = (predicted == data.test.labels).double().mean().item()
print(f"accuracy on {len(data.test):,} test images: {accuracy:.2%}")
for label, name in enumerate(data.classes):
    of_class = data.test.labels == label
    print(f"    {name:<11} {(predicted[of_class] == label).double().mean():.0%}")
assert real or accuracy >= 0.7  # what two epochs make of the photographs is below
assert abs(accuracy - mgnet.evaluate(net, data.test)) < 1e-9  # the same in one line

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", width_ratios=[1.4, 1])
mgnet.plot.confusion_matrix(data.test.labels, predicted, data.classes, left)
left.set_title("What is taken for what, in % of a class")
shares = [100 * (predicted[data.test.labels == k] == k).double().mean().item() for k in range(10)]
right.barh(data.classes, shares, color="0.6", edgecolor="black")
right.axvline(10, color="black", linestyle=":")
right.set(xlabel="accuracy in %; dotted: guessing", xlim=(0, 100), title="How many of each class are right")
right.invert_yaxis()
plt.show()

# %%
# With the photographs
# --------------------
# The measured figures for CIFAR-10. The last line is the same network trained by :func:`mgnet.fit` with the
# recipe ``fast``: AdamW, :eq:`adamw`, a learning rate that rises and falls, and mirrored images, for five
# epochs.
#
# .. literalinclude:: /results/cifar10_classifier.txt

if real:
    torch.manual_seed(0)
    history = mgnet.fit(mgnet.models.create("net"), data, progress=False)
    print(f"recipe fast, {len(history)} epochs: {history.test_accuracy:.2%}")
    assert history.test_accuracy > accuracy
