r"""
The well-known networks
=======================

AlexNet, VGG, GoogLeNet and ResNet won the ImageNet competition, or nearly, between 2012 and 2015. They
classify photographs of 224 pixels into 1000 classes. This page takes them as they stand in
:mod:`mgnet.models`, shrunk to the 32 pixels and 10 classes of CIFAR-10, counts their parameters, and says
what shrinking means: which layers stay, which go, and why the count of parameters tells so little about the
time that a network takes.

:Lecture systems: C9
:Chapter: :doc:`/book/models`
"""

# %%
# Parameters
# ----------
# :func:`mgnet.models.summary` builds a network without numbers, so that counting takes no memory. The numbers
# of parameters are asserted to be those of the published implementations.

import matplotlib.pyplot as plt
import torch
from torch import nn

import mgnet

published = {
    "alexnet": 61_100_840,
    "alexnet-cifar": 2_472_266,
    "vgg16": 14_728_266,
    "googlenet": 6_166_250,
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet50": 23_520_842,
    "resnet20": 269_722,
}
sizes = {}
print("network          parameters    multiplications")
for name, expected in published.items():
    sizes[name] = parameters, multiplications = mgnet.models.summary(name)
    print(f"{name:<14} {parameters:>12,} {multiplications:>18,}")
    assert parameters == expected

# %%
# Small kernels: VGG
# ------------------
# Two 3 × 3 convolutions in a row see 5 × 5 pixels, and three see 7 × 7, with fewer parameters and more
# activations in between: 18 C² against 25 C², 27 C² against 49 C². So VGG has nothing else. The form for
# CIFAR-10 can be counted by hand from the widths of its 13 convolutions: kernel and bias, :eq:`parameters`,
# two numbers per channel for the norm, and one linear layer.

widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
inputs = [3, *widths[:-1]]
convolutions = sum(9 * c * d + d for c, d in zip(inputs, widths, strict=True))
norms = 2 * sum(widths)
print(f"VGG16: {convolutions:,} in convolutions, {norms:,} in norms, {512 * 10 + 10:,} in the linear layer")
assert convolutions + norms + 512 * 10 + 10 == published["vgg16"]

# %%
# The form for ImageNet has the same convolutions, no norms, and three linear layers behind 7 × 7 pixels of
# 512 channels. They hold nine tenths of its 138,357,544 parameters.

linear = [(512 * 7 * 7, 4096), (4096, 4096), (4096, 1000)]
dense = sum(c * d + d for c, d in linear)
print(f"VGG16 for ImageNet: {convolutions + dense:,}, of them {dense / (convolutions + dense):.1%} linear")
assert convolutions + dense == 138_357_544

# %%
# Narrow places: GoogLeNet and ResNet
# -----------------------------------
# A 1 × 1 convolution mixes channels and looks at no neighbours. Put before a larger kernel it makes the image
# thinner, so that the larger kernel is cheap. An inception block of GoogLeNet has four branches side by side,
# two of them narrowed in this way, and a bottleneck of ResNet has a 3 × 3 convolution between two of 1 × 1,
# the second of which restores the width.


def count(*layers: tuple[int, int, int]) -> int:
    """Parameters of convolutions with kernels k × k from c to d channels, without biases."""
    return sum(k * k * c * d for k, c, d in layers)


bottleneck = count((1, 256, 64), (3, 64, 64), (1, 64, 256))
plain = count((3, 256, 256), (3, 256, 256))
print(f"256 channels: bottleneck {bottleneck:,} parameters, two 3 × 3 convolutions {plain:,}")

with torch.device("meta"):  # shapes, no numbers
    resnet, googlenet = mgnet.models.create("resnet50"), mgnet.models.create("googlenet")
block = resnet[2]  # the second block: its skip is the identity
found = sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, nn.Conv2d))
assert found == bottleneck
assert plain > 16 * bottleneck

efficient = count((1, 192, 64), (1, 192, 96), (3, 96, 128), (1, 192, 16), (5, 16, 32), (1, 192, 32))
naive = count((1, 192, 64), (3, 192, 128), (5, 192, 32))
print(f"first inception block: narrowed {efficient:,}, naive {naive:,}")
assert naive > 2 * efficient

# %%
# The package's block has two 3 × 3 convolutions in the place of the 5 × 5 one, as the second version of the
# network has.

inception = googlenet[1].eval()
found = sum(layer.weight.numel() for layer in inception.modules() if isinstance(layer, nn.Conv2d))
assert found == efficient - count((5, 16, 32)) + count((3, 16, 32), (3, 32, 32))
image = torch.empty(1, 192, 32, 32, device="meta")
branches = [branch(image).shape[1] for branch in inception.branches]
print(f"channels of the four branches: {branches}, together {inception.channels}")
assert branches == [64, 128, 32, 32] and sum(branches) == 256

# %%
# From 224 pixels to 32
# ---------------------
# A network for large images halves them five times: 224, 112, 56, 28, 14, 7. An image of 32 pixels is a
# single pixel then. In AlexNet, whose first step is one of 4 pixels and whose first kernel is not padded,
# nothing would be left.

try:
    mgnet.models.create("alexnet", num_classes=10, image_size=32)
    raise AssertionError("32 pixels were accepted")
except ValueError as error:
    print(error)

# %%
# What can be done:
#
# * Leave out the first strides. ResNet-50 starts with a 7 × 7 kernel of stride 2 and a pooling of stride 2,
#   for CIFAR-10 with a 3 × 3 kernel of stride 1. Everything behind stays what it is.
# * Replace the linear layers by the mean over all pixels, :eq:`mean-pooling`, and one linear layer. It fits
#   images of any size, and takes the parameters away that made AlexNet and VGG so large.
# * Take fewer channels and fewer layers: ResNet-20 has three stages of 16, 32 and 64 channels.
#
# The first can be checked against the published figures of ResNet-50: 25,557,032 parameters and 4.09·10⁹
# multiplications for ImageNet. The package's network with 1000 classes has only another first layer, and on
# 56 pixels the rest of it does the same as the original on 224.

parameters, multiplications = mgnet.models.summary("resnet50", num_classes=1000, image_size=56)
parameters += count((7, 3, 64)) - count((3, 3, 64))
multiplications += count((7, 3, 64)) * 112**2 - count((3, 3, 64)) * 56**2
print(f"ResNet-50 for ImageNet: {parameters:,} parameters, {multiplications:,} multiplications")
assert parameters == 25_557_032
assert round(multiplications / 1e9, 2) == 4.09

# %%
# The second is AlexNet's: its convolutions have the same 2,469,696 parameters in both forms.

convolutional = {}
for name in ("alexnet", "alexnet-cifar"):
    shape = (3, *[mgnet.models.defaults(name)["image_size"]] * 2)
    with torch.device("meta"):
        rows = mgnet.models.count(mgnet.models.create(name), shape).rows
    convolutional[name] = sum(row.parameters for row in rows if row.kind == "convolution")
    print(f"{name}: {convolutional[name]:,} of {sizes[name][0]:,} parameters are convolutional")
assert set(convolutional.values()) == {2_469_696}

# %%
# How large the image is
# ----------------------
# Hooks note the side of the image behind every convolution and every pooling.


def sides(name: str) -> list[int]:
    noted = [mgnet.models.defaults(name)["image_size"]]
    with torch.device("meta"):
        model = mgnet.models.create(name).eval()
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)) and layer.kernel_size not in (1, (1, 1)):
                layer.register_forward_hook(lambda layer, x, y: noted.append(y.shape[-1]))
        model(torch.empty(1, 3, noted[0], noted[0]))
    return noted


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for name, style in {"alexnet": "o-", "alexnet-cifar": "o--", "vgg16": "s-.", "resnet50": "^:"}.items():
    left.plot(sides(name), style, markersize=4, label=name)
assert sides("vgg16")[-1] == 1 and sides("resnet50")[-1] == 4
left.set_yscale("log", base=2)
left.set_xticks(range(0, 19, 3))
left.set(
    xlabel="convolutions (larger than 1 × 1) and poolings",
    ylabel="side of the image in pixels",
    yticks=[1, 4, 13, 32, 55, 227],
)
left.yaxis.set_major_formatter("{x:.0f}")
left.set_title("How fast the image shrinks")
left.legend()
for name, (parameters, multiplications) in sizes.items():
    right.loglog(parameters, multiplications, "o" if name != "alexnet" else "s", color="C0")
    above = {"xytext": (0, 7), "ha": "center"}
    below = {"xytext": (0, -13), "ha": "center"}
    beside = {"xytext": (-7, -3), "ha": "right"}
    place = {"resnet50": above, "googlenet": above, "resnet18": beside}.get(name, below)
    right.annotate(name, (parameters, multiplications), textcoords="offset points", fontsize="small", **place)
right.set(xlabel="parameters", ylabel="multiplications per image", xlim=(1e5, 2e8), ylim=(5e6, 5e9))
right.set_title("Size says little about work")
right.grid(alpha=0.3)
plt.show()

# %%
# GoogLeNet has a tenth of AlexNet's parameters and computes twice as much, on images that have a fiftieth of
# the pixels.

few, many = sizes["googlenet"], sizes["alexnet"]
print(f"GoogLeNet / AlexNet: parameters {few[0] / many[0]:.2f}, multiplications {few[1] / many[1]:.1f}")
assert 9 < many[0] / few[0] < 11 and 2 < few[1] / many[1] < 2.3
assert 50 < (227 / 32) ** 2 < 51
