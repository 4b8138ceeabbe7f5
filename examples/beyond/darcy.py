r"""
A batch of Darcy fields
=======================

Water seeps through a block of two kinds of sand. Networks that learn the solution operator are trained on
thousands of samples of it: a field of permeabilities a, and the pressure u that belongs to it [1]_. Here a
batch of fields is one call, and what the block lets through as a whole is bounded from both sides.

Each sample has its own operator. The pressure solves :eq:`strong-form-box` with c = 0,

.. math:: -\nabla \cdot (a \nabla u) = f ,

and the permeability has one value in each cell, 12 in the one sand and 3 in the other.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/jumps`

.. [1] Z. Li et al., Fourier neural operator for parametric partial differential equations, International
   Conference on Learning Representations 2021.
"""

# %%
# Random sand
# -----------
# A smooth Gaussian field is cut at zero. It has the covariance (−Δ + 9)⁻² with natural sides, so its cosine
# coefficients are independent, with the standard deviations 1/(π²k² + 9).

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
from scipy.fft import idctn
from scipy.sparse.linalg import spsolve

import mgnet

LOW, HIGH = 3.0, 12.0


def sands(count: int, n: int, seed: int) -> np.ndarray:
    """Return fields of shape (count, n, n)."""
    random = np.random.default_rng(seed)
    k = np.pi * np.arange(n)
    coefficients = random.normal(size=(count, n, n)) / (k[:, None] ** 2 + k**2 + 9)
    coefficients[:, 0] /= np.sqrt(2)
    coefficients[:, :, 0] /= np.sqrt(2)
    return np.where(idctn(coefficients, type=2, axes=(1, 2)) > 0, HIGH, LOW)


# %%
# One call
# --------
# The leading axis of a is a batch of problems, f = 1 is for all of them, and n follows from the shape. Each
# sample is set up and solved by itself, so that the memory is that of one.

n = 64
a = sands(24, n, seed=4)
sol = mgnet.solve(1.0, dim=2, a=a)
print(sol)
assert sol.u.shape == (24, n + 1, n + 1)

# %%
# What a network would be trained on are the pairs (a, u). As torch tensors they come where a is one, with the
# derivatives of u by all of a, if asked for.

figure, axes = plt.subplots(2, 6, figsize=(11, 4.0), layout="constrained")
top = sol.u[:6].max()
for i, (above, below) in enumerate(axes.T):
    sand = above.imshow(a[i].T, origin="lower", extent=(0, 1, 0, 1), cmap="YlOrBr_r", vmin=0, vmax=16)
    water = below.imshow(sol.u[i].T, origin="lower", extent=(0, 1, 0, 1), cmap="viridis", vmin=0, vmax=top)
    below.contour(*sol.x, sol.u[i].T, np.linspace(0, top, 12)[1:], colors="white", linewidths=0.5)
    above.set(title=f"sample {i}")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
figure.colorbar(sand, ax=axes[0], ticks=[LOW, HIGH], boundaries=[0, 7.5, 16], label="permeability a")
figure.colorbar(water, ax=axes[1], label="pressure u")
figure.suptitle("Six of the samples: the fields a, and the pressure u that belongs to each")
plt.show()

# %%
# Against SciPy
# -------------
# One sample without the package: on a square cell the matrix of the four corners does not know the width. The
# sum over the cells and a sparse factorisation give the same pressure.

CORNERS = np.array([[4, -1, -1, -2], [-1, 4, -2, -1], [-1, -2, 4, -1], [-2, -1, -1, 4]]) / 6


def by_scipy(a: np.ndarray) -> np.ndarray:
    n = len(a)
    number = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    corners = [number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]]
    corners = np.stack([corner.ravel() for corner in corners], axis=-1)
    entries = a.ravel()[:, None, None] * CORNERS
    rows, columns = np.repeat(corners, 4, axis=1), np.tile(corners, 4)
    A = sp.coo_array((entries.ravel(), (rows.ravel(), columns.ravel()))).tocsr()
    inner = number[1:-1, 1:-1].ravel()
    u = np.zeros(number.size)
    u[inner] = spsolve(A[inner][:, inner], np.full(len(inner), 1 / n**2))
    return u.reshape(number.shape)


difference = np.abs(sol.u[3] - by_scipy(a[3])).max() / sol.u[3].max()
print(f"relative difference from SciPy: {difference:.1e}")
assert difference < 1e-9

# %%
# What the block lets through
# ---------------------------
# Now the pressure is 1 on the right and 0 on the left, and nothing passes the other two sides. What flows
# through is the effective permeability k of the block. The flux through the right side is one call, for the
# whole batch, and is twice the energy, :eq:`energy`.


def through(a: np.ndarray) -> mgnet.Solution:
    closed, sides = mgnet.Neumann(), {"left": mgnet.Dirichlet(0.0), "right": mgnet.Dirichlet(1.0)}
    return mgnet.solve(0.0, dim=2, a=a, boundary={**sides, "bottom": closed, "top": closed})


flow = through(a)
k = flow.flux("right")
assert np.abs(k + flow.flux("left")).max() < 1e-9 * k.max()
assert np.abs(k - 2 * flow.energy).max() < 1e-8 * k.max()

# %%
# k is the least energy, so any other pressure shows that k is not larger, and a straight one gives the mean
# of a. Any flow without sources shows that it is not smaller, and one that is everywhere the same gives the
# harmonic mean. These are Wiener's bounds.

harmonic, arithmetic = 1 / np.mean(1 / a, axis=(1, 2)), a.mean(axis=(1, 2))
assert (1.05 * harmonic < k).all()
assert (k < 0.95 * arithmetic).all()

# %%
# In the plane there are much better flows to compare with: the gradient of any function, turned by a right
# angle, has no sources. Of all these the problem with 1/a finds the best, with the open sides closed and the
# closed ones open. If k′ is what it lets through, then k = 1/k′. Finite elements find too much of either, so
#
# .. math:: \frac1{k'_h} \le k \le k_h
#
# are proven bounds of the true k, each as near to it as the errors of energies are small.


def bounds(a: np.ndarray) -> np.ndarray:
    """Return a lower and an upper bound of k for each field, shape (2, count)."""
    other_sides = through(1 / np.swapaxes(a, 1, 2)).flux("right")
    return np.stack([1 / other_sides, through(a).flux("right")])


lower, upper = bounds(a)
gap = (upper / lower - 1).max()
print(f"the largest gap between the bounds is {gap:.2%}")
assert (1.05 * harmonic < lower).all()
assert (lower < upper).all()
assert gap < 0.015

# %%
# On finer grids, for the same field, spaces are nested, so the bounds can only come closer. At the corners of
# the sand the pressure is not smooth, and the order is less than 2.

field = sands(1, 16, seed=11)
cells = 16 * np.array([1, 2, 4, 8, 16])
close = np.stack([bounds(np.kron(field, np.ones((1, n // 16, n // 16))))[:, 0] for n in cells])
gaps = close[:, 1] - close[:, 0]
orders = np.log2(gaps[:-1] / gaps[1:])
print("cells  lower bound  upper bound")
for size, pair in zip(cells, close, strict=True):
    print(f"{size:>5}  {pair[0]:>11.4f}  {pair[1]:>11.4f}")
print(f"the gap is of the orders {orders.round(2)}")
assert (np.diff(close, axis=0) * [1, -1] > 0).all()
assert 1.3 < orders.min()
assert orders.max() < 1.8

# %%
# Where the water goes in one sample, and the permeabilities of all: the more coarse sand, the more comes
# through, but how the sands lie counts as well.

share = (a == HIGH).mean(axis=(1, 2))
one = int(np.argmin(np.abs(share - 0.5)))
middles = (np.arange(n) + 0.5) / n
slope = flow.derivative(middles[:, None], middles)[one]
velocity = -a[one][..., None] * slope

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
left.imshow(a[one].T, origin="lower", extent=(0, 1, 0, 1), cmap="YlOrBr_r", vmin=-9, vmax=14)
speed = np.linalg.norm(velocity, axis=-1).T
left.streamplot(
    middles, middles, *velocity.T, density=1.3, linewidth=speed / 5, color="tab:blue", arrowsize=0.8
)
left.set(title=f"the flow through sample {one}", xlabel="x", ylabel="y", xlim=(0, 1), ylim=(0, 1))

p = np.linspace(0, 1, 101)
wiener = 1 / (p / HIGH + (1 - p) / LOW), p * HIGH + (1 - p) * LOW
middle.fill_between(p, *wiener, alpha=0.2, label="between Wiener's bounds")
middle.plot(p, LOW ** (1 - p) * HIGH**p, "--", color="0.4", label="geometric mean")
middle.plot(share, k, ".", color="tab:red", label="24 samples")
middle.set(title="effective permeability k", xlabel="share of the coarse sand", ylabel="k")
middle.legend()

right.fill_between(cells, *close.T, alpha=0.2)
for name, values, style in zip(("$k_h$", "$1/k'_h$"), close.T[::-1], ("v-", "^-"), strict=True):
    right.semilogx(cells, values, style, label=name)
right.set(title="bounds of k for one field", xlabel="cells along each axis", ylabel="k")
right.set_xticks(cells, cells)
right.minorticks_off()
right.legend()
figure.suptitle("What a block of two sands lets through, between proven bounds")
# sphinx_gallery_thumbnail_number = 1
plt.show()
