r"""
Max pooling
===========

Max pooling replaces a window of pixels by the largest of them. It has the sizes of a convolution and no
parameters, it treats each channel alone, and it takes an image to a coarser grid as restriction does in
multigrid. Restriction is linear, a maximum is not: a network of convolutions and max pooling needs no other
activation.

:Lecture systems: C3
:Chapter: :doc:`/book/layers`

The network of the lecture has 4,885 parameters. It is trained here twice, once as it is and once with
averages in the place of the maxima. The second one is an affine map of the pixels, and learns next to
nothing.
"""

# %%
# Windows
# -------
# For a window of k pixels and stride s, :eq:`max-pooling`, n pixels give :math:`\lfloor (n - k)/s \rfloor +
# 1`, as :eq:`output-size` says of kernels. If no stride is given, it is k: six pixels become three. With
# stride 1 they become five, and the windows overlap.

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu

import mgnet

torch.manual_seed(1)
x = torch.randint(0, 100, (1, 1, 6, 6)).float()
pooled = {"stride 2, the default": nn.MaxPool2d(2)(x), "stride 1": nn.MaxPool2d(2, stride=1)(x)}
for (name, y), s in zip(pooled.items(), (2, 1), strict=True):
    windows = x.unfold(2, 2, s).unfold(3, 2, s)  # shape (1, 1, rows, columns, 2, 2)
    print(f"{name}: 6 × 6 → {y.shape[2]} × {y.shape[3]}")
    assert y.shape[2:] == ((6 - 2) // s + 1,) * 2
    assert torch.equal(y, windows.amax((-2, -1)))

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained", width_ratios=[6, 3, 5])
for ax, (name, y) in zip(axes, {"a 6 × 6 image": x, **pooled}.items(), strict=True):
    ax.imshow(y[0, 0].numpy(), cmap="viridis", vmin=0, vmax=99)
    for (i, j), value in np.ndenumerate(y[0, 0].numpy()):
        ax.text(j, i, f"{value:.0f}", ha="center", va="center", color="k" if value > 60 else "w")
    ax.set(title=name, xlabel="column", ylabel="row", xticks=range(y.shape[3]), yticks=range(y.shape[2]))
for i, j in np.ndindex(3, 3):
    axes[0].add_patch(Rectangle((2 * j - 0.5, 2 * i - 0.5), 2, 2, fill=False, color="w", linewidth=2))
figure.suptitle("Each window of 2 × 2 pixels gives its largest number")
plt.show()

# %%
# Piecewise linear
# ----------------
# A maximum of two numbers is a ReLU of their difference,
#
# .. math:: \max(a, b) = b + \operatorname{relu}(a - b),
#
# and one of four is three of these. So max pooling is a small ReLU network with fixed kernels: continuous,
# piecewise linear, and not linear: the maximum of a sum is not the sum of the maxima. Factors that are not
# negative go through.


def maximum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return b + relu(a - b)


image, other = torch.randn(2, 1, 3, 8, 8, dtype=torch.float64)
corners = image[..., ::2, ::2], image[..., ::2, 1::2], image[..., 1::2, ::2], image[..., 1::2, 1::2]
by_relu = maximum(maximum(*corners[:2]), maximum(*corners[2:]))
assert (by_relu - max_pool2d(image, 2)).abs().max() < 1e-14
assert torch.allclose(max_pool2d(3 * image, 2), 3 * max_pool2d(image, 2))

nonlinear = max_pool2d(image + other, 2) - max_pool2d(image, 2) - max_pool2d(other, 2)
linear = avg_pool2d(image + other, 2) - avg_pool2d(image, 2) - avg_pool2d(other, 2)
print(f"pool(x + y) − pool(x) − pool(y): maximum {nonlinear.abs().max():.2f}, mean {linear.abs().max():.0e}")
assert nonlinear.abs().max() > 0.1
assert linear.abs().max() < 1e-14

# %%
# To a coarser grid
# -----------------
# Three ways to halve an image. Restriction of nodal values, :class:`mgnet.layers.Averaging`, weighs each
# pixel and its neighbours by [1 2 1]/4 along each axis, :eq:`averaging`. The mean of 2 × 2 pixels is another
# average. Both keep, within a few grey values, how bright an image is, and lose what changes sign from pixel
# to pixel. The maximum keeps that, and makes the image brighter: bright dots grow, dark dots shrink, so that
# an image and its negative are treated differently.

example = mgnet.data.synthetic(train=20, validation=0, test=1, seed=2).train
dots = example.images[example.labels == 9][0].float().mean(0)[None, None]
halvings = {
    "maximum": nn.MaxPool2d(2),
    "mean": nn.AvgPool2d(2),
    "restriction": mgnet.layers.Averaging(dim=2),
}
signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)[None, None]
for name, halve in halvings.items():
    # The zeros outside are part of a restriction's average: it is right from the second row and column on.
    brighter = (halve(dots)[..., 1:, 1:].mean() - dots[..., 2:, 2:].mean()).item()
    left = halve(signs)[..., 1:, 1:].abs().max().item()
    print(f"{name:>11}: grey value {brighter:+.1f}, alternating signs ±1 become {left:.0f}")
    assert left == (name == "maximum")
    assert brighter > 10 if name == "maximum" else abs(brighter) < 5

figure, axes = plt.subplots(2, 4, figsize=(9, 4.8), layout="constrained")
for row, (title, image) in zip(axes, {"dark dots": dots, "bright dots": 255 - dots}.items(), strict=True):
    halves = {title: image} | {f"{title}, {name}": halve(image) for name, halve in halvings.items()}
    for ax, (name, y) in zip(row, halves.items(), strict=True):
        ax.imshow(y[0, 0].numpy(), cmap="gray", vmin=image.min().item(), vmax=image.max().item())
        ax.set_title(name, fontsize="medium")
        ax.set(xlabel="x", ylabel="y")
figure.suptitle("An image, its negative, and three ways to a coarser grid")
plt.show()

# %%
# The network
# -----------
# ``maxconvnet`` has three convolutions, each followed by max pooling, and one linear layer. A layer with k ×
# k kernels from C to D channels has D (C k² + 1) parameters, :eq:`parameters`.

model = mgnet.models.create("maxconvnet")
by_hand = [4 * (1 * 2**2 + 1), 8 * (4 * 4**2 + 1), 15 * (8 * 4**2 + 1), 10 * (15 * 4**2 + 1)]
rows = mgnet.models.count(model, (1, 28, 28)).rows
for row, expected in zip(rows, by_hand, strict=True):
    print(f"{row.kind:<12} {row.parameters:>6,} parameters {row.multiplications:>8,} multiplications")
    assert row.parameters == expected
parameters, multiplications = mgnet.models.summary("maxconvnet")
print(f"{'all':<12} {parameters:>6,} parameters {multiplications:>8,} multiplications")
assert parameters == sum(by_hand) == 4885

# %%
# Written out in torch it is the following, and with the same numbers it gives the same scores.

lecture = nn.Sequential(
    *(nn.Conv2d(1, 4, 2), nn.MaxPool2d(2, stride=1)),
    *(nn.Conv2d(4, 8, 4), nn.MaxPool2d(4, stride=1)),
    *(nn.Conv2d(8, 15, 4), nn.MaxPool2d(4)),
    *(nn.Flatten(), nn.Linear(15 * 4 * 4, 10)),
)
lecture.load_state_dict(model.state_dict())
with torch.no_grad():
    digits = torch.randn(5, 1, 28, 28)
    assert (lecture(digits) - model(digits)).abs().max() < 1e-6

# %%
# With and without maxima
# -----------------------
# Both networks have the same parameters to begin with. With means the whole network is affine,
# f(x + y) + f(0) = f(x) + f(y), and no better than one linear layer. The classes of the synthetic images have
# the same mean image, which is the case where that is fatal.

data = mgnet.data.synthetic(train=1000, validation=200, test=500)
networks, histories = {}, {}
for name in ("maxima", "means"):
    torch.manual_seed(0)
    network = mgnet.models.create("maxconvnet", in_channels=3, image_size=32)
    if name == "means":
        for i, layer in enumerate(network):
            if isinstance(layer, nn.MaxPool2d):
                network[i] = nn.AvgPool2d(layer.kernel_size, layer.stride)
    recipe = {"epochs": 5, "lr": 0.05, "batch_size": 50, "bfloat16": False, "channels_last": True}
    histories[name] = mgnet.fit(network, data, progress=False, **recipe)
    networks[name] = network.double()

x, y = torch.randn(2, 5, 3, 32, 32, dtype=torch.float64)
for name, f in networks.items():
    with torch.no_grad():
        bend = (f(x + y) + f(0 * x) - f(x) - f(y)).abs().max()
    accuracy = histories[name].test_accuracy
    print(f"{name}: test accuracy {accuracy:.1%}, f(x + y) + f(0) − f(x) − f(y) = {bend:.1g}")
    assert (bend < 1e-12) == (name == "means")
assert histories["maxima"].test_accuracy > 2 * histories["means"].test_accuracy

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (name, history), style in zip(histories.items(), ("o-", "s--"), strict=True):
    accuracies = [100 * row["val_accuracy"] for row in history.rows]
    ax.plot(range(1, 6), accuracies, style, label=name)
ax.axhline(10, color="0.5", linestyle=":", label="guessing")
ax.set(xlabel="epoch", ylabel="validation accuracy in %", ylim=(0, 100), xticks=range(1, 6))
ax.set_title("Convolutions and maxima learn, convolutions and means do not")
ax.legend()
plt.show()
