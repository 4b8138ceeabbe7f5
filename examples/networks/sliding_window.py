r"""
The sliding window
==================

A classifier for 32 × 32 pixels can look at a larger picture through a window: cut out 32 × 32 pixels,
classify them, move on. Neighbouring windows overlap, and nearly all the work is done again and again. If the
linear layers are written as convolutions, the network takes the large picture as a whole and gives the
answers of all windows at once.

:Lecture systems: C12
:Chapter: :doc:`/book/convolutions`

A linear layer behind m × m pixels of C channels is a convolution with a kernel of m × m: it has the same
numbers, in the same order, and there is one position where it fits, :eq:`linear-as-convolution`.
:func:`mgnet.layers.linear_to_conv` rewrites a network in this way.
"""

# %%
# A linear layer is a convolution
# -------------------------------

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import mgnet
from mgnet.layers import linear_to_conv

torch.manual_seed(0)
linear = nn.Linear(16 * 5 * 5, 120).double()
features = torch.randn(8, 16, 5, 5, dtype=torch.float64)
with torch.no_grad():
    flat = linear(features.flatten(1))
    kernel = linear.weight.reshape(120, 16, 5, 5)
    convolved = nn.functional.conv2d(features, kernel, linear.bias)
print(f"{tuple(flat.shape)} and {tuple(convolved.shape)}")
assert (convolved[:, :, 0, 0] - flat).abs().max() < 1e-13

# %%
# The lecture's network
# ---------------------
# Five convolutions of stride 1 without padding, 18 × 18 pixels behind them, three linear layers. It is
# narrower here than in the lecture, where the first linear layer has 340 million parameters. On pictures of
# 36 × 38 pixels there are 5 × 7 windows. The lecture asks for a mean square of the difference below 10⁻¹⁵.

widths, kernels = (3, 8, 12, 16, 12, 12), (7, 3, 3, 3, 3)
layers = []
for c, d, k in zip(widths, widths[1:], kernels, strict=False):
    layers += [nn.Conv2d(c, d, k), nn.ReLU()]
classifier = [nn.Linear(12 * 18 * 18, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
model = nn.Sequential(*layers[:-1], nn.Flatten(), *classifier)
sliding = linear_to_conv(model, image_shape=(3, 32, 32))

with torch.no_grad():
    images = torch.rand(10, 3, 32, 32)
    same = (sliding(images)[:, :, 0, 0] - model(images)).square().mean().item()
    pictures = torch.rand(10, 3, 36, 38)
    at_once = sliding(pictures)
    one_by_one = torch.empty(10, 10, 5, 7)
    for i, j in np.ndindex(5, 7):
        one_by_one[:, :, i, j] = model(pictures[:, :, i : i + 32, j : j + 32])
    difference = (at_once - one_by_one).square().mean().item()
print(f"mean square of the difference: 32 × 32 pixels {same:.1e}, 36 × 38 pixels {difference:.1e}")
assert at_once.shape == (10, 10, 5, 7)
assert same < 1e-15 and difference < 1e-15

# %%
# A trained network
# -----------------
# The network of the lectures for CIFAR-10 has two poolings of stride 2, so its windows are 4 pixels apart. It
# learns the synthetic shapes and textures, and the convolutions take over what it has learned.

data = mgnet.data.synthetic(train=1200, validation=0, test=500, seed=1)
network = mgnet.models.create("net")
recipe = {"epochs": 7, "batch_size": 32, "flip": None, "channels_last": True}
history = mgnet.fit(network, data, progress=False, **recipe)
sliding = linear_to_conv(network.eval().double())
print(f"test accuracy {history.test_accuracy:.1%}")
print(sliding.classifier)
assert history.test_accuracy > 0.8

# %%
# A large picture
# ---------------
# Twelve test images side by side make a picture of 96 × 128 pixels, with 17 × 25 windows. The scores of each
# window are those of the network on the pixels of that window, cut out.

rows, columns = 3, 4
chosen = [int((data.test.labels == label).nonzero()[0]) for label in (4, 7, 2, 8, 6, 1, 9, 5, 7, 9, 4, 6)]
tiles = data.test.subset(chosen)
picture = torch.cat([torch.cat(list(row), -1) for row in tiles.images.split(columns)], -2)
split = type(tiles)(picture[None], torch.zeros(1, dtype=torch.int64), data.mean, data.std)
x, _ = next(iter(mgnet.data.Batches(split, 1, shuffle=False)))

with torch.no_grad():
    x = x.double()
    scores = sliding(x)[0]
    windows = x.unfold(2, 32, 4).unfold(3, 32, 4)  # shape (1, 3, rows, columns, 32, 32)
    cut = windows[0].permute(1, 2, 0, 3, 4).reshape(-1, 3, 32, 32)
    expected = network(cut).T.reshape(scores.shape)
difference = (scores - expected).square().mean().item()
print(f"picture {tuple(picture.shape[1:])}, scores {tuple(scores.shape)}, mean square {difference:.0e}")
assert scores.shape == (10, 17, 25)
assert difference < 1e-15

labels = scores.argmax(0)
aligned = labels[::8, ::8].flatten()
right = (aligned == tiles.labels).sum().item()
print(f"of the {rows * columns} windows that are a whole tile, {right} get the tile's class")
assert right >= 9

# %%
# What it costs
# -------------
# Multiplications, :eq:`multiply-adds`, for the whole picture at once, and for its 425 windows one by one.

once = mgnet.models.count(sliding, tuple(picture.shape)).total
window_by_window = 17 * 25 * mgnet.models.count(network, (3, 32, 32)).total
print(f"at once {once:,}, one by one {window_by_window:,}: {window_by_window / once:.1f} times as many")
assert window_by_window > 5 * once

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", width_ratios=[5, 5])
axes[0].imshow(picture.permute(1, 2, 0).numpy(), extent=(0, 128, 96, 0))
axes[0].set(xticks=range(0, 129, 32), yticks=range(0, 97, 32), xlabel="x", ylabel="y")
axes[0].set_title("Twelve tiles of 32 × 32 pixels")
certainty = scores.softmax(0).amax(0)
shown = axes[1].imshow(certainty.numpy(), cmap="viridis", vmin=0, vmax=1, extent=(14, 114, 82, 14))
for i, j in np.ndindex(rows, columns):
    name = data.classes[labels[8 * i, 8 * j]]
    axes[1].text(
        32 * j + 16, 32 * i + 16, name, ha="center", va="center", fontsize="small", backgroundcolor="w"
    )
axes[1].set(xticks=range(0, 129, 32), yticks=range(0, 97, 32), xlim=(0, 128), ylim=(96, 0))
axes[1].set(xlabel="x of the window's centre", ylabel="y of the window's centre")
axes[1].set_title("How sure each window is, and the class at each tile")
figure.colorbar(shown, ax=axes[1], label="largest probability", shrink=0.8)
plt.show()
