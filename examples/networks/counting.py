r"""
Counting AlexNet
================

How large is a network, and how much does it compute? For AlexNet the two questions have opposite answers: of
its 61,100,840 parameters 4.042 % are in the convolutions and 95.958 % in the three linear layers, and of its
multiplications 91.8 % are in the convolutions and 8.2 % in the linear layers. A kernel is used again at every
pixel, an entry of a matrix once.

:Lecture systems: C10
:Chapter: :doc:`/book/models`

The page counts in three ways: by hand, with :func:`mgnet.models.count`, and with torch's own counter of
floating-point operations.
"""

# %%
# By hand
# -------
# A convolution from C to D channels with a k × k kernel has :math:`D\,(C k^2 + 1)` parameters,
# :eq:`parameters`, and each of its outputs, D channels of m × m pixels, takes :math:`C k^2` multiplications
# and as many additions, :eq:`multiply-adds`, those of the bias not counted. A linear layer is the case k = m
# = 1. Sizes follow from :math:`m = \lfloor (n + 2p - k)/s \rfloor + 1`, :eq:`output-size`, starting with 227
# pixels; each pooling takes windows of 3 at stride 2.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import mgnet

# name, channels in and out, kernel, stride, padding, whether a pooling follows
convolutions = [
    ("conv 1", 3, 64, 11, 4, 0, True),
    ("conv 2", 64, 192, 5, 1, 2, True),
    ("conv 3", 192, 384, 3, 1, 1, False),
    ("conv 4", 384, 256, 3, 1, 1, False),
    ("conv 5", 256, 256, 3, 1, 1, True),
]
by_hand = {}  # name: parameters, multiplications
n = 227
for name, C, D, k, s, p, pooled in convolutions:
    m = (n + 2 * p - k) // s + 1
    by_hand[name] = D * (C * k**2 + 1), D * m**2 * C * k**2
    n = (m - 3) // 2 + 1 if pooled else m
    print(f"{name}: {m} × {m} pixels" + (f", pooled to {n} × {n}" if pooled else ""))
for i, (C, D) in enumerate([(256 * n**2, 4096), (4096, 4096), (4096, 1000)], 1):
    by_hand[f"linear {i}"] = D * (C + 1), D * C

# %%
# By the package
# --------------
# :func:`mgnet.models.count` lets an image without numbers go through a copy of the network without numbers,
# and notes what each layer gets and gives. It knows nothing of AlexNet, and works for any network.

with torch.device("meta"):
    model = mgnet.models.create("alexnet").eval()
counted = mgnet.models.count(model, (3, 227, 227))
print("layer       parameters  multiplications")
for (name, numbers), row in zip(by_hand.items(), counted.rows, strict=True):
    print(f"{name:<9} {row.parameters:>12,} {row.multiplications:>16,}")
    assert numbers == (row.parameters, row.multiplications)
    assert name.startswith(row.kind[:4])

# %%
# And by torch
# ------------
# ``FlopCounterMode`` looks at the operations that torch carries out and counts a multiplication and an
# addition as two.

with FlopCounterMode(display=False) as flops:
    model(torch.empty(1, 3, 227, 227, device="meta"))
assert flops.get_total_flops() == 2 * counted.total
print(f"torch counts {flops.get_total_flops():,} operations = 2 × {counted.total:,}")

# %%
# Shares
# ------

parameters = {
    kind: sum(r.parameters for r in counted.rows if r.kind == kind) for kind in ("convolution", "linear")
}
total = sum(parameters.values())
shares = {kind: 100 * number / total for kind, number in parameters.items()}
work = {"convolution": counted.convolution, "linear": counted.linear}
for kind in parameters:
    print(
        f"{kind:<12} {parameters[kind]:>11,} parameters ({shares[kind]:.3f} %),"
        f" {work[kind]:>12,} multiplications ({work[kind] / counted.total:.3%})"
    )
assert total == mgnet.models.summary("alexnet")[0] == 61_100_840
assert parameters == {"convolution": 2_469_696, "linear": 58_631_144}
assert work == {"convolution": 655_566_528, "linear": 58_621_952}
assert [round(share, 3) for share in shares.values()] == [4.042, 95.958]
assert round(100 * counted.linear / counted.total, 3) == 8.208

# %%
# Layer by layer
# --------------
# The first linear layer alone has 37.8 million parameters, 62 % of all: each of its 4096 neurons looks at all
# 9216 numbers behind the last pooling. The second convolution computes most, 31 % of all.

names = list(by_hand)
share = 100 * np.array([[r.parameters / total, r.multiplications / counted.total] for r in counted.rows])
assert names[share[:, 0].argmax()] == "linear 1" and round(share[:, 0].max()) == 62
assert names[share[:, 1].argmax()] == "conv 2" and round(share[:, 1].max()) == 31

# %%
# What a number is used for
# -------------------------
# The ratio of the two is how often a parameter is used: as often as the layer's output has pixels, from 3025
# in the first convolution to 1 in a linear layer. For one image, the linear layers have to fetch each of
# their 58.6 million numbers, 235 MB in float32, for a single product; a batch of images shares the fetching.

uses = [row.multiplications / row.parameters for row in counted.rows]
pixels = [55**2, 27**2, 13**2, 13**2, 13**2, 1, 1, 1]
assert np.allclose(uses, pixels, rtol=0.004)  # not exactly: biases multiply nothing
print(f"float32 parameters: all {4 * total / 1e6:.0f} MB, linear {4 * parameters['linear'] / 1e6:.0f} MB")
assert round(4 * parameters["linear"] / 1e6) == 235

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", width_ratios=[3, 2])
place = np.arange(len(names))
for shift, column, label, hatch in ((-0.2, 0, "parameters", ""), (0.2, 1, "multiplications", "//")):
    bars = left.bar(place + shift, share[:, column], 0.4, label=label, hatch=hatch, edgecolor="white")
    left.bar_label(bars, fmt="%.1f", fontsize="x-small")
left.set_xticks(place, names, rotation=30)
left.set(
    xlabel="layer", ylabel="share in %", title="Parameters lie in the linear layers, work in the convolutions"
)
left.legend()
right.bar(place, uses, color=["C0"] * 5 + ["C1"] * 3, hatch=["//"] * 5 + [""] * 3, edgecolor="white")
right.set_yscale("log")
right.set_xticks(place, names, rotation=30)
right.set(xlabel="layer", ylabel="multiplications per parameter", title="How often a parameter is used")
plt.show()
