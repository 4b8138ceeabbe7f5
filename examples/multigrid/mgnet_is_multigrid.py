r"""
MgNet is multigrid
==================

A multigrid cycle and a convolutional network of a certain form are the same computation: pooling is
restriction, and a convolution with a ReLU is a smoothing step. The first part shows this layer by layer. The
second puts the layers together, and a whole network agrees with the solver to rounding.

:Lecture systems: M6
:Chapter: :doc:`/book/mgnet`

MgNet [1]_ keeps two kinds of images on each grid ℓ: data f, and features u that are to explain them. An
iteration, :eq:`mgnet-smoothing`, corrects u by what is not explained yet, and pooling hands that on to the
next coarser grid, :eq:`mgnet-restriction` with Π = 0,

.. math:: u \leftarrow u + \sigma\bigl(B\,\sigma(f - A u)\bigr), \qquad f' = R\,(f - A u).

Leave out the activation σ, give the convolutions A and R the values that hat functions dictate for −Δ, take
damped Jacobi as B, and these are smoothing and restriction: the fine-to-coarse half of a multigrid cycle,
:eq:`mgnet-cycle`. With the way back up the network solves Poisson's equation.

.. [1] J. He, J. Xu, MgNet: a unified framework of multigrid and convolutional neural network, Science China
   Mathematics 62 (2019), 1331-1354.
"""

# %%
# Two vocabularies
# ----------------
#
# =============================================  =============================================
# multigrid                                      convolutional network
# =============================================  =============================================
# values of a function at the nodes, u in V      features
# a load or residual on the hats, f in V′        data
# stiffness operator A : V → V′                  convolution with stride 1
# smoothing: u + B (f − A u)                     convolution, ReLU, convolution, skip connection
# restriction R : V′ → W′                        pooling: a convolution with stride 2
# prolongation P : W → V                         transposed convolution
# the way from the finest grid to the coarsest   forward pass of a classifier
# =============================================  =============================================
#
# The image below is a ring, a square of the other sign, and noise: something smooth and something rough. Its
# 63 × 63 pixels are the inner nodes of a grid of 64 × 64 cells on the unit square, and the numbers are the
# load b.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, max_pool2d

import mgnet
from mgnet.bridge import network_of
from mgnet.multigrid import cycle, descend

n = 64
x, y = np.meshgrid(*[np.arange(1, n) / n] * 2, indexing="ij")
ring = np.abs(np.hypot(x - 0.36, y - 0.62) - 0.17) < 0.05
square = np.maximum(np.abs(x - 0.72), np.abs(y - 0.3)) < 0.11
noise = np.random.default_rng(0).standard_normal(x.shape)
b = torch.from_numpy(1.0 * ring - square + 0.3 * noise)[None, None] / n**2


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


# %%
# Pooling is restriction
# ----------------------
# Restriction is a convolution with stride 2, whose kernel :math:`\tfrac14[1\ 2\ 1]\otimes[1\ 2\ 1]` holds the
# values of a coarse hat, :eq:`restriction-box`. Since [1 2 1] is [1 1] convolved with [1 1], that is average
# pooling twice: over 2 × 2 pixels with stride 1, then over 2 × 2 pixels with stride 2. What pooling calls a
# mean is a sum for the load, hence the factor 4. A load is a sum over the pixels, and where four pixels
# become one it must not shrink.

R = mgnet.Restriction(dim=2)
restricted = R(b)
pooled = 4 * avg_pool2d(avg_pool2d(b, 2, stride=1), 2, stride=2)
print(f"restriction and pooling differ by {difference(restricted, pooled):.1e}")
assert difference(restricted, pooled) < 1e-14

# %%
# The pooling without overlap that most networks use is a restriction too, to other functions: those that are
# constant on blocks of 2 × 2 pixels. It sees a jump at each border of a block where the hats see a slope.
# Max pooling is not linear, so it is no restriction.

blocks = mgnet.Stencil(np.ones((2, 2)), stride=2, boundary="valid", dim=2)
assert torch.allclose(blocks(b), 4 * avg_pool2d(b, 2), rtol=0, atol=1e-15)

figure, axes = plt.subplots(1, 4, figsize=(9, 2.7), layout="constrained")
images = {
    "the load": b,
    "restriction R": restricted,
    "average pooling,\n2 × 2 blocks": blocks(b),
    "max pooling": max_pool2d(b, 2),
}
for ax, (title, image) in zip(axes, images.items(), strict=True):
    most = float(image.abs().max())
    ax.imshow(image[0, 0].numpy().T, origin="lower", cmap="RdBu_r", vmin=-most, vmax=most)
    ax.set(title=title, xlabel=f"{image.shape[-2]} × {image.shape[-1]} pixels", xticks=[], yticks=[])
figure.suptitle("Restriction and pooling of a noisy picture: means damp the noise, the maximum raises it")
plt.show()

# %%
# A convolution with a ReLU is smoothing
# --------------------------------------
# A sweep of damped Jacobi is u + ωD⁻¹(f − A u). It is linear, and a ReLU is not, but r = relu(r) − relu(−r).
# So give the ReLU the residual in two channels, r and −r. The layers are: a convolution from the two
# channels (u, f) to (r, −r), a ReLU, and a convolution with 1 × 1 kernels back to one channel. With the skip
# connection that adds u this is a residual block, and it is the sweep.

A = mgnet.Stiffness(1 / n, dim=2)
zero = torch.zeros(3, 3, dtype=torch.float64)
one = zero.clone()
one[1, 1] = 1.0
residual = torch.stack([-A.weight[0, 0], one])  # how much of u and of f
weight = 8 / 9 / A.weight[0, 0, 1, 1]  # ωD⁻¹
block = nn.Sequential(
    mgnet.Stencil(torch.stack([residual, -residual]), dim=2),
    nn.ReLU(),
    mgnet.Stencil(weight * torch.stack([one, -one])[None], dim=2),
)

u = torch.from_numpy(np.random.default_rng(1).standard_normal(b.shape)) / n
levels = mgnet.Hierarchy(mgnet.Poisson(n=n, dim=2), method="vcycle", smoother="jacobi").levels
sweep = levels[0].smoother(levels[0].A, u, b, 1)
apart = difference(u + block(torch.cat([u, b], dim=1)), sweep)
print(f"the block and a sweep of Jacobi differ by {apart:.1e}")
assert apart < 1e-14

# %%
# What the block does to the guess u, which is noise: what is rough is gone after a few sweeps, and what stays
# is smooth enough for the next coarser grid. Without the second channel the ReLU would let only positive
# corrections pass. A trained network is free to use its channels otherwise.

figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
error = u
for sweeps, ax in enumerate(axes):
    most = float(error.abs().max())
    ax.imshow(error[0, 0].numpy().T, origin="lower", cmap="RdBu_r", vmin=-most, vmax=most)
    ax.set(title=f"{sweeps} sweeps, up to {most:.3f}", xticks=[], yticks=[], xlabel="x", ylabel="y")
    error = error + block(torch.cat([error, 0 * b], dim=1))
figure.suptitle("An error under residual blocks of convolution and ReLU: the rough part goes first")
plt.show()

# %%
# The network and the cycle
# -------------------------
# Six grids, two iterations on each, and one on the last, which has a single pixel. ``descend`` gives u and
# f of every grid. On the side of the solver a function of the same name does one grid: it smooths, and it
# restricts the residual.

options = {"dim": 2, "in_channels": 1, "image_size": n - 1, "nu": [2, 2, 2, 2, 2, 1]}
network = mgnet.models.mgnet(kernels="poisson", linear=True, Pi="zero", **options)
features = network.descend(b)

vectors, load = [], b
for level in levels[:-1]:
    smoothed, coarse_load = descend(level, load, None, sweeps=2)
    vectors.append((smoothed, load))
    load = coarse_load
vectors.append((levels[-1].solve(load), load))

worst = 0.0
print("grid      u: network and cycle differ by   f: by")
for (u, f), (smoothed, load) in zip(features, vectors, strict=True):
    by_u, by_f = difference(u, smoothed), difference(f, load)
    worst = max(worst, by_u, by_f)
    print(f"{u.shape[-1]:>3} x {u.shape[-1]:<3} {by_u:>28.1e} {by_f:>9.1e}")
assert worst < 1e-12

# %%
# From left to right the grids become coarser. The data of a grid are what the finer ones could not explain:
# most noise is gone after the first, ring and square are handed on. The two lower rows are computed by the
# network and by the solver.

figure, axes = plt.subplots(3, 5, figsize=(9, 5.6), layout="constrained")
rows = {
    "data f,\nnetwork": [f for _, f in features],
    "features u,\nnetwork": [u for u, _ in features],
    "vectors u,\nV-cycle": [u for u, _ in vectors],
}
for row, (name, images) in zip(axes, rows.items(), strict=True):
    row[0].set_ylabel(name, fontsize=11)
    for ax, image in zip(row, images, strict=False):
        most = float(image.abs().max())
        ax.imshow(image[0, 0].numpy().T, origin="lower", cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set(xticks=[], yticks=[])
for ax, (u, _) in zip(axes[0], features, strict=False):
    ax.set_title(f"{u.shape[-1]} × {u.shape[-1]}")
figure.suptitle("The network and the V-cycle on their way down: the same images on every grid")
plt.show()

# %%
# The way back up
# ---------------
# With ``up`` the corrections come back, u ← u + P u′ with P the transpose of R, each followed by two more
# iterations: a V-cycle. One forward pass is one cycle, so the network solves by being called again with what
# is left of the load. With a B for each root of a Chebyshev polynomial, :eq:`chebyshev-roots`, it takes fewer
# calls, as the solver does.

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
    assert factor < 0.1
    assert falling[smoother][-1] < 1e-12

# %%
# The error after each call, against the direct solution.

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (smoother, found), style in zip(falling.items(), ("o-", "s--"), strict=True):
    ax.semilogy(range(1, len(found) + 1), found, style, label=f"B: {smoother.capitalize()}")
ax.set(
    title="The network as a solver: every pass takes off more than a digit",
    xlabel="forward passes",
    ylabel="largest error, relative",
)
ax.grid(alpha=0.3)
ax.legend()
plt.show()

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
