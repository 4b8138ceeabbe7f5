r"""
The arithmetic of convolutions
==============================

A convolution has five numbers besides its kernel's values: the size of the kernel, the stride, the padding,
the dilation and the numbers of channels. The first four decide how large the output is,

.. math:: n_\text{out} = \left\lfloor \frac{n + 2p - d\,(k - 1) - 1}{s} \right\rfloor + 1,

for n pixels along an axis, k of them in the kernel, stride s, padding p and dilation d. This page holds the
formula against torch for 864 combinations, draws which pixels an output reads, and shows the same kernels as
:class:`mgnet.Stencil`, the operator that the solver and the networks of this package share.

:Lecture systems: C2
:Chapter: :doc:`/book/convolutions`
"""

# %%
# The definition
# --------------
# What is called a convolution here does not flip the kernel: it is a cross-correlation, :eq:`convolution`,
#
# .. math:: y_{ij} = \sum_{a=0}^{k-1} \sum_{b=0}^{k-1} w_{ab}\, x_{si + da - p,\; sj + db - p},
#
# where pixels outside of the image are zero. SciPy's ``correlate2d`` is written independently of torch and
# does the same; its ``convolve2d`` flips, and differs.

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle
from scipy.signal import convolve2d, correlate2d
from torch import nn
from torch.nn.functional import conv1d, conv2d

import mgnet

torch.manual_seed(0)
x = torch.randn(1, 1, 10, 10, dtype=torch.float64)
kernel = torch.randn(3, 3, dtype=torch.float64)
y = conv2d(x, kernel[None, None])
correlated = torch.from_numpy(correlate2d(x[0, 0], kernel, mode="valid"))
flipped = torch.from_numpy(convolve2d(x[0, 0], kernel, mode="valid"))
difference = (y[0, 0] - correlated).abs().max()
print(f"10 × 10 pixels, kernel 3 × 3: {tuple(y.shape[2:])}, difference from correlate2d {difference:.1e}")
assert y.shape[2:] == (8, 8)
assert difference < 1e-13
assert (y[0, 0] - flipped).abs().max() > 0.1

# %%
# The size of the output
# ----------------------
# The axes do not mix, so one of them is enough. The formula is :eq:`output-size` for a dilated kernel. It
# counts the positions at which the kernel, d·(k−1) + 1 pixels wide, fits into the padded row. The loop below
# holds it against torch, and also against the count itself.


def output_size(n: int, k: int, s: int, p: int, d: int) -> int:
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


def positions(n: int, k: int, s: int, p: int, d: int) -> int:
    return sum(start + d * (k - 1) < n + 2 * p for start in range(0, n + 2 * p, s))


ranges = (range(6, 13), range(1, 6), range(1, 4), range(3), range(1, 4))
checked = 0
for n, k, s, p, d in itertools.product(*ranges):
    size = output_size(n, k, s, p, d)
    assert max(size, 0) == positions(n, k, s, p, d)
    if size > 0:  # torch refuses kernels that are wider than the row
        row = conv1d(torch.zeros(1, 1, n), torch.zeros(1, 1, k), stride=s, padding=p, dilation=d)
        assert row.shape[-1] == size
        checked += 1
print(f"{checked} combinations agree with torch")
assert checked == 864

# %%
# Which pixels an output reads
# ----------------------------
# Autograd knows: the derivative of one output by the input is the kernel, laid where that output reads. The
# kernel below has nine different numbers. Padding is drawn as a dashed margin; what the kernel reads there is
# zero and has no derivative.

settings = {
    "kernel 3": {},
    "stride 2": {"stride": 2},
    "padding 1": {"padding": 1},
    "dilation 2": {"dilation": 2},
}
side = 7
weight = torch.arange(1.0, 10).reshape(1, 1, 3, 3)


def footprint(i: int, j: int, **options: int) -> tuple[np.ndarray, torch.Size]:
    image = torch.zeros(1, 1, side, side, requires_grad=True)
    output = conv2d(image, weight, **options)
    output[0, 0, i, j].backward()
    return image.grad[0, 0].numpy(), output.shape[2:]


figure, axes = plt.subplots(2, 4, figsize=(9.5, 4.9), layout="constrained")
for column, (name, options) in zip(axes.T, settings.items(), strict=True):
    p = options.get("padding", 0)
    sizes = (3, options.get("stride", 1), p, options.get("dilation", 1))
    for ax, (i, j) in zip(column, [(0, 0), (1, 2)], strict=True):
        taps, shape = footprint(i, j, **options)
        assert shape == (output_size(side, *sizes),) * 2
        ax.imshow(np.where(taps > 0, taps, np.nan), cmap="viridis", vmin=-2, vmax=9)
        for (a, b), tap in np.ndenumerate(taps):
            colour = ("w" if tap < 6 else "k") if tap else "0.6"
            ax.text(b, a, f"{tap:.0f}" if tap else "·", ha="center", va="center", color=colour)
        frame = (-0.5 - p, -0.5 - p), side + 2 * p, side + 2 * p
        ax.add_patch(Rectangle(*frame, fill=False, linestyle="--", color="0.5"))
        ax.add_patch(Rectangle((-0.5, -0.5), side, side, fill=False, color="k"))
        ax.set(xlim=(-1.8, 7.8), ylim=(7.8, -1.8), xticks=range(side), yticks=range(side))
        ax.set_xlabel(f"reads of output ({i}, {j})")
    column[0].set_title(f"{name}: {side} → {shape[0]} pixels")
figure.suptitle("The pixels of a 7 × 7 image that one output reads, and the number each is multiplied by")
plt.show()

# %%
# Stencils
# --------
# :class:`mgnet.Stencil` is a torch convolution whose padding has names. ``"valid"`` adds nothing, ``"same"``
# as many zeros as keep the size at stride 1; ``"dirichlet"`` says that the row holds the interior nodes of a
# grid, so that stride 2 takes every second node *between* the ends: 2m + 1 of them become m. A dilated kernel
# is one with zeros between its numbers.

row = torch.randn(1, 1, 9, dtype=torch.float64)
hat = torch.tensor([0.5, 1.0, 0.5], dtype=torch.float64)
for boundary, s, p in [("valid", 1, 0), ("same", 1, 1), ("same", 2, 1), ("dirichlet", 2, 0)]:
    size = mgnet.Stencil(hat, s, boundary)(row).shape[-1]
    print(f"{boundary:>9}, stride {s}: 9 → {size}")
    assert size == output_size(9, 3, s, p, 1)

spread = torch.zeros(5, 5, dtype=torch.float64)
spread[::2, ::2] = kernel
dilated = conv2d(x, kernel[None, None], dilation=2)
assert (mgnet.Stencil(spread, boundary="valid", dim=2)(x) - dilated).abs().max() < 1e-13

# %%
# Channels
# --------
# Every channel of the output has one kernel for each channel of the input, and one bias,
#
# .. math:: y_i = b_i + \sum_{j=1}^{C_\text{in}} K_{ij} \star x_j,
#
# so a layer has :math:`C_\text{out}\,(C_\text{in} k^2 + 1)` parameters, :eq:`parameters`: 10 for one channel
# to one with a 3 × 3 kernel, 38 for two to two. The image may have any size.

for channels in [(1, 1), (2, 2), (3, 6)]:
    layer = nn.Conv2d(*channels, 3)
    parameters = sum(parameter.numel() for parameter in layer.parameters())
    print(f"{channels[0]} to {channels[1]}: weight {tuple(layer.weight.shape)}, {parameters} parameters")
    assert parameters == channels[1] * (channels[0] * 9 + 1)

image = torch.randn(3, 12, 12)
with torch.no_grad():
    whole = layer(image)
    for i, (kernels, bias) in enumerate(zip(layer.weight, layer.bias, strict=True)):
        pairs = zip(image.numpy(), kernels.numpy(), strict=True)
        parts = [correlate2d(x_j, K_ij, mode="valid") for x_j, K_ij in pairs]
        assert np.allclose(whole[i].numpy(), bias.item() + sum(parts), atol=1e-5)

# %%
# What kernels do
# ---------------
# Four kernels on one synthetic image. The restriction of the solver sums to 4 in the plane, because loads
# grow with the cells that they belong to; divided by 4 it is an average. The kernel of −Δ is
# :eq:`nine-point`. Stride 2 halves the image, everything else keeps its size.

picture = mgnet.data.synthetic(train=50, validation=0, test=1).train
disc = picture.images[picture.labels == 0][0].double().mean(0)[None, None]
difference = torch.tensor([[0, 0, 0], [-1, 0, 1], [0, 0, 0]]) / 2
kernels = {
    "the image": np.pad([[1.0]], 1),
    "average, [1 2 1]/4 per axis": mgnet.stencils.tensor(*[mgnet.stencils.hat() / 2] * 2),
    "difference along x": difference,
    "−Δ, the stiffness kernel": mgnet.stencils.stiffness((1.0, 1.0)),
}
images = {name: mgnet.Stencil(numbers, boundary="same", dim=2)(disc) for name, numbers in kernels.items()}
images["average, stride 2"] = mgnet.Restriction(boundary="same", dim=2)(disc) / 4
assert [tuple(i.shape[2:]) for i in images.values()] == [(32, 32)] * 4 + [(16, 16)]
assert torch.equal(images["average, stride 2"], images["average, [1 2 1]/4 per axis"][..., ::2, ::2])

figure, axes = plt.subplots(1, 5, figsize=(9.5, 2.5), layout="constrained")
for ax, (name, values) in zip(axes, images.items(), strict=True):
    signed = name.startswith(("difference", "−Δ"))
    inner = values[0, 0, 1:-1, 1:-1].abs().max().item()  # the zeros outside make an edge of their own
    scale = {"cmap": "RdBu_r", "vmin": -inner, "vmax": inner} if signed else {"cmap": "gray"}
    ax.imshow(values[0, 0].numpy(), **scale)
    ax.set_title(name, fontsize="small")
    ax.set(xlabel="x", ylabel="y")
figure.suptitle("A disc, averaged, differentiated and halved; red is positive, blue negative")
plt.show()
