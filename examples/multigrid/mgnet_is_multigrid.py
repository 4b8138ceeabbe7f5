r"""
MgNet is multigrid
==================

A multigrid cycle and a convolutional network of a certain form are the same computation. MgNet [1]_ keeps
two kinds of images on each grid ℓ: data f, and features u that are to explain them. An iteration corrects u
by what is not explained yet, and pooling hands that on to the next coarser grid,

.. math:: u \leftarrow u + \sigma\bigl(B\,\sigma(f - A u)\bigr), \qquad f' = R\,(f - A u).

Leave out the activation σ, give the convolutions A and R the values that hat functions dictate for −Δ, take
damped Jacobi as B, and these are smoothing and restriction: the fine-to-coarse half of a multigrid cycle.
With the way back up the network solves Poisson's equation.

Run it with the name of a picture to write: ``python examples/mgnet_is_multigrid.py mgnet.png``.

.. [1] J. He, J. Xu, MgNet: a unified framework of multigrid and convolutional neural network, Science China
   Mathematics 62 (2019), 1331-1354.
"""

# %%
# An image as a load
# ------------------
# The image is a ring, a square of the other sign, and noise: something smooth and something rough. Its 63 ×
# 63 pixels are the inner nodes of a grid of 64 × 64 cells on the unit square, and the numbers are the load
# b.

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.bridge import network_of
from mgnet.multigrid import cycle, descend

n = 64
x, y = np.meshgrid(*[np.arange(1, n) / n] * 2, indexing="ij")
ring = np.abs(np.hypot(x - 0.36, y - 0.62) - 0.17) < 0.05
square = np.maximum(np.abs(x - 0.72), np.abs(y - 0.3)) < 0.11
noise = np.random.default_rng(0).standard_normal(x.shape)
b = torch.from_numpy(1.0 * ring - square + 0.3 * noise)[None, None] / n**2

# %%
# The network and the cycle
# -------------------------
# Six grids, two iterations on each, and one on the last, which has a single pixel. ``descend`` gives u and
# f of every grid. On the side of the solver a function of the same name does one grid: it smooths, and it
# restricts the residual.

options = {"dim": 2, "in_channels": 1, "image_size": n - 1, "nu": [2, 2, 2, 2, 2, 1]}
network = mgnet.models.mgnet(kernels="poisson", linear=True, Pi="zero", **options)
features = network.descend(b)

levels = mgnet.Hierarchy(mgnet.Poisson(n=n, dim=2), method="vcycle", smoother="jacobi").levels
vectors, load = [], b
for level in levels[:-1]:
    smoothed, coarse_load = descend(level, load, None, sweeps=2)
    vectors.append((smoothed, load))
    load = coarse_load
vectors.append((levels[-1].solve(load), load))


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


worst = 0.0
print("grid      u: network and cycle differ by   f: by")
for (u, f), (smoothed, load) in zip(features, vectors, strict=True):
    by_u, by_f = difference(u, smoothed), difference(f, load)
    worst = max(worst, by_u, by_f)
    print(f"{u.shape[-1]:>3} x {u.shape[-1]:<3} {by_u:>28.1e} {by_f:>9.1e}")
assert worst < 1e-12

# %%
# The way back up
# ---------------
# With ``up`` the corrections come back, u ← u + P u′ with P the transpose of R, each followed by two more
# iterations: a V-cycle. One forward pass is one cycle, so the network solves by being called again with
# what is left of the load. With a B for each root of a Chebyshev polynomial it takes fewer calls, as the
# solver does.

exact = torch.as_tensor(mgnet.solve(b=b[:, 0], n=n, dim=2, method="direct").u)[:, None, 1:-1, 1:-1]


def errors(V: torch.nn.Module, calls: int = 13) -> list[float]:
    A, u, found = levels[0].A, torch.zeros_like(b), []
    for _ in range(calls):
        u = u + V(b - A(u))
        found.append(difference(u, exact))
    return found


falling = {}
for smoother in ("jacobi", "chebyshev"):
    V = mgnet.models.mgnet(kernels="poisson", linear=True, up=True, smoother=smoother, **options)
    solver = mgnet.Hierarchy(mgnet.Poisson(n=n, dim=2), method="vcycle", smoother=smoother).levels
    same = difference(V(b), cycle(solver, b))
    falling[smoother] = errors(V)
    factor = (falling[smoother][8] / falling[smoother][3]) ** 0.2
    print(f"{smoother}: one pass differs from a V-cycle by {same:.1e}; factor {factor:.3f} per pass")
    assert same < 1e-12
    assert falling[smoother][-1] < 1e-12

# %%
# The same objects
# ----------------
# Not only do the numbers agree. A network can be made of the very operators of a hierarchy, for any problem
# and smoother, and calls them.

V = network_of(levels)
assert V.levels[0].A is levels[0].A
assert V.transfers[0].R is levels[0].R
assert difference(V(b), cycle(levels, b)) < 1e-12

# %%
# And with ``linear=False``, more channels and learned kernels the same class classifies images.

classifier = mgnet.models.create("mgnet", channels=8, kernels="poisson")
assert classifier(torch.rand(4, 3, 32, 32)).shape == (4, 10)

# %%
# The picture
# -----------
# From left to right the grids become coarser. The data of a grid are what the finer ones could not explain:
# most noise is gone after the first, ring and square are handed on. The two lower rows are computed by the
# network and by the solver.

figure = plt.figure(figsize=(15, 6.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(2.3, 1))
axes = left.subplots(3, 5)
rows = {
    "data f,\nnetwork": [f for _, f in features],
    "features u,\nnetwork": [u for u, _ in features],
    "vectors u,\ncycle": [u for u, _ in vectors],
}
for row, (name, images) in zip(axes, rows.items(), strict=True):
    row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
    for ax, image in zip(row, images, strict=False):
        most = float(image.abs().max())
        ax.imshow(image[0, 0].T, origin="lower", cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set(xticks=[], yticks=[])
for ax, (u, _) in zip(axes[0], features, strict=False):
    ax.set_title(f"{u.shape[-1]} × {u.shape[-1]}")

ax = right.subplots()
for (smoother, found), marker in zip(falling.items(), "os", strict=True):
    ax.semilogy(range(1, len(found) + 1), found, marker=marker, label=f"B: {smoother.capitalize()}")
ax.set(
    title="The network as a solver", xlabel="forward passes", ylabel="error, relative to the direct solution"
)
ax.grid(alpha=0.3)
ax.legend()

if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=100)
else:
    plt.show()
