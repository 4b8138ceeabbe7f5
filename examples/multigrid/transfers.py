r"""
Restriction and prolongation
============================

Between a grid and the one with every second node a load goes down by a convolution with stride 2, and a
correction comes up by the transposed convolution. No factor is free: the kernel [½, 1, ½] is what hats
dictate, and with it the coarse operator is the fine one seen from the coarse grid, R A P.

:Lecture systems: M4
:Chapter: :doc:`/book/transfers`

A coarse hat is a combination of three fine ones, :eq:`two-scale`. A functional is linear, so what it does to
the coarse hat follows from what it does to the fine ones, :eq:`restriction`:

.. math:: (R b)_i = \tfrac12 b_{2i-1} + b_{2i} + \tfrac12 b_{2i+1}.
"""

# %%
# A coarse hat
# ------------
# The picture is the whole derivation. The coarse hat, of twice the width, is the sum of the fine hat in its
# middle and half of each neighbour.

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet

n = 16
h = 1 / n
fine = np.linspace(0, 1, 1601)


def hat(middle: float, width: float) -> np.ndarray:
    return np.maximum(0.0, 1 - np.abs(fine - middle) / width)


weights = mgnet.stencils.hat()
parts = [weight * hat((8 + shift) * h, h) for weight, shift in zip(weights, (-1, 0, 1), strict=True)]
assert np.abs(sum(parts) - hat(0.5, 2 * h)).max() < 1e-14

figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.plot(fine, hat(0.5, 2 * h), linewidth=2.5, label="coarse hat")
for part, weight, style in zip(parts, ("½", "1", "½"), (":", "--", "-."), strict=True):
    ax.plot(fine, part, style, label=f"{weight} × fine hat")
ax.set(title="A coarse hat is ½, 1, ½ times three fine hats", xlabel="x", ylabel="value", xlim=(0.3, 0.7))
ax.legend()
plt.show()

# %%
# Restriction is a convolution
# ----------------------------
# :class:`mgnet.Restriction` is a ``torch.nn.Conv1d`` with stride 2. Applied to the load of a function f it
# gives, without any integral, the load of f on the coarse grid.

R = mgnet.Restriction()
print(R)
b = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, n - 1)))
by_torch = torch.nn.functional.conv1d(b, torch.tensor([[[0.5, 1.0, 0.5]]], dtype=b.dtype), stride=2)
by_formula = 0.5 * b[..., 0:-2:2] + b[..., 1:-1:2] + 0.5 * b[..., 2::2]
assert torch.equal(R(b), by_torch)
assert torch.equal(R(b), by_formula)


def polynomial(x: np.ndarray) -> np.ndarray:
    return 1 + 40 * x**3 * (1 - x)


def load_of(f: Callable[[np.ndarray], np.ndarray], cells: int) -> torch.Tensor:
    points, weights = mgnet.stencils.gauss(5)
    values = f((np.arange(cells)[:, None] + points) / cells) * weights / cells
    # A hat rises in the cell on its left and falls in the one on its right.
    return torch.from_numpy(values[:-1] @ points + values[1:] @ (1 - points))[None, None]


fine_load, coarse_load = load_of(polynomial, n), load_of(polynomial, n // 2)
print(f"restricted and integrated load differ by {float((R(fine_load) - coarse_load).abs().max()):.1e}")
assert torch.allclose(R(fine_load), coarse_load, rtol=1e-13)

# %%
# Prolongation is its transpose
# -----------------------------
# Nodal values of a coarse function on the fine grid: old nodes keep theirs, new ones take the mean of their
# neighbours, :eq:`prolongation`. Read by columns instead of rows, the same numbers ½, 1, ½ appear, so P is
# the transposed convolution. That they are adjoint, ⟨R b, e⟩ = ⟨b, P e⟩, holds to rounding for any b and e.

P = mgnet.Prolongation()
e = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, n // 2 - 1)))
left, right = float((R(b) * e).sum()), float((b * P(e)).sum())
print(f"<R b, e> = {left:.15f}\n<b, P e> = {right:.15f}")
assert abs(left - right) < 1e-14 * float(b.norm() * e.norm())

ends = torch.zeros(1, 1, 1, dtype=e.dtype)
padded = torch.cat([ends, e, ends], dim=-1)
by_interpolation = torch.nn.functional.interpolate(padded, size=n + 1, mode="linear", align_corners=True)
assert torch.allclose(P(e), by_interpolation[..., 1:-1], rtol=1e-14)
assert torch.equal(P.to_dense(n // 2 - 1), R.to_dense(n - 1).T)

# %%
# R A P is the coarse operator
# ----------------------------
# The entries of A are energies of pairs of hats, and coarse hats are in V. So R A P is the stiffness matrix
# of the coarse grid, [−1, 2, −1]/(2h), :eq:`galerkin`. Nothing has to be scaled.

A = mgnet.Stiffness(h)
galerkin = (R.to_dense(n - 1) @ A.to_dense(n - 1) @ P.to_dense(n // 2 - 1)).numpy()
matrices = {
    "R": R.to_dense(n - 1).numpy(),
    "A": A.to_dense(n - 1).numpy(),
    "P = Rᵀ": P.to_dense(n // 2 - 1).numpy(),
    "R A P": galerkin,
}
assert np.abs(galerkin - mgnet.Stiffness(2 * h).to_dense(n // 2 - 1).numpy()).max() < 1e-13
print("a row of R A P:", galerkin[3].round(12) + 0.0)
print("kernel of the coarse grid:", mgnet.stencils.stiffness(2 * h))

figure, axes = plt.subplots(1, 4, figsize=(9, 3.3), layout="constrained", width_ratios=(15, 15, 7, 7))
for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
    most = np.abs(matrix).max()
    ax.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
    ax.set(title=f"{name}: {matrix.shape[0]} × {matrix.shape[1]}", xlabel="column", ylabel="row")
    ax.set(xticks=[0, matrix.shape[1] - 1], yticks=[0, matrix.shape[0] - 1])
figure.suptitle("The matrices: R A P has the form of A, with half the entries in size")
plt.show()

# %%
# In more dimensions
# ------------------
# Kernels are tensor products there, and the identity holds again for the operators of hats,
# :eq:`restriction-box`. The five-point stencil of finite differences has no such property: with this R its
# coarse operator is another stencil.

for dim in (1, 2, 3):
    shape, coarse = (7,) * dim, (3,) * dim
    fine_matrix = mgnet.Stiffness(1 / 8, dim=dim).to_dense(shape)
    coarse_matrix = mgnet.Stiffness(1 / 4, dim=dim).to_dense(coarse)
    Rd = mgnet.Restriction(dim=dim).to_dense(shape)
    defect = float((Rd @ fine_matrix @ Rd.T - coarse_matrix).abs().max() / coarse_matrix.abs().max())
    print(f"dim = {dim}: R A P differs from the coarse operator by {defect:.1e}")
    assert defect < 1e-14

five_points = np.array([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])
print("nine points:", mgnet.stencils.galerkin(mgnet.stencils.stiffness((h, h))).round(3)[1])
print("five points:", mgnet.stencils.galerkin(five_points)[1])
assert not np.allclose(mgnet.stencils.galerkin(five_points), five_points)

# %%
# What another restriction does
# -----------------------------
# Averaging, R/4 in the plane, maps nodal values to nodal values. Taken for the restriction of residuals, it
# hands on a quarter of what is to be corrected. Injection takes every second entry along each axis and sees
# nothing of the others; four times that has the right size for a smooth residual. Here each of them makes the
# same two-grid cycle, :eq:`two-grid`, with two sweeps of Jacobi before and two after; only R is replaced.

n = 32
options = {"method": "vcycle", "smoother": "jacobi", "levels": 2}
level = mgnet.Hierarchy(mgnet.Poisson(n=n, dim=2), **options).levels[0]
coarse_inverse = torch.linalg.inv(mgnet.Stiffness(2 / n, dim=2).to_dense((n // 2 - 1,) * 2))
random = torch.from_numpy(np.random.default_rng(2).normal(size=(1, 1, n - 1, n - 1)))


def correct(u: torch.Tensor, restrict: object) -> torch.Tensor:
    """Correct an error from the coarse grid; the solution is zero."""
    r = restrict(-level.A(u))
    return u + level.P((r.flatten(1) @ coarse_inverse).reshape(r.shape))


def factor(restrict: object, cycles: int = 40) -> float:
    """Return by how much a two-grid cycle shrinks an error in the long run."""
    u, zero = random, torch.zeros_like(random)
    for _ in range(cycles):
        u = u / u.norm()
        u = correct(level.smoother(level.A, u, zero, 2), restrict)
        u = level.smoother(level.A, u, zero, 2, post=True)
    return float(u.norm())


def growth(restrict: object) -> float:
    """Return what a coarse correction alone makes of the energy norm of a random error."""
    energies = [float((u * level.A(u)).sum()) for u in (random, correct(random, restrict))]
    return (energies[1] / energies[0]) ** 0.5


# %%
# Two figures for each: the factor of the cycle, and what the correction alone does to a rough error.

restrictions = {
    "R, the hats'": level.R,
    "R/4, averaging": lambda r: level.R(r) / 4,
    "2 R": lambda r: 2 * level.R(r),
    "injection": lambda r: r[..., 1::2, 1::2],
    "4 × injection": lambda r: 4 * r[..., 1::2, 1::2],
}
print("restriction       factor of a cycle   energy after a correction / before")
factors = {name: (factor(restrict), growth(restrict)) for name, restrict in restrictions.items()}
for name, (per_cycle, energy) in factors.items():
    print(f"{name:<15} {per_cycle:>19.3f} {energy:>36.3f}")

# %%
# A wrong size spoils the cycle. The right size and poor weights are good enough for what two sweeps leave,
# which is smooth. But the correction is no longer the best in energy: a rough error it makes larger, where
# that of the hats' R, an orthogonal projection, cannot.

assert factors["R, the hats'"][0] < 0.12
assert factors["R, the hats'"][1] < 1 < 1.5 < factors["4 × injection"][1]
assert min(factors[name][0] for name in ("R/4, averaging", "2 R", "injection")) > 0.5

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
titles = ("factor of a two-grid cycle", "energy of a rough error after a\ncorrection, relative to before")
for ax, title, values in zip(axes, titles, zip(*factors.values(), strict=True), strict=True):
    bars = ax.barh(
        list(factors), values, color=["C0", *["0.8"] * 4], hatch=["", *["/"] * 4], edgecolor="black"
    )
    ax.bar_label(bars, fmt=" %.2f")
    ax.axvline(1, color="black", linestyle=":")
    ax.set(xlabel=title, xlim=(0, 1.2 * max(values)))
axes[0].invert_yaxis()
axes[0].set_ylabel("restriction")
figure.suptitle("Only the hats' restriction has a small factor and never adds energy")
plt.show()
