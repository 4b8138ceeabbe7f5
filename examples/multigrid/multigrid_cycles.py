r"""
Multigrid cycles
================

A smoother removes what is rough from an error, a coarse grid what is smooth. Together they reduce every error
by a factor that does not depend on the number of unknowns. This page shows both halves at work, the three
ways of going through the grids (V, W and F), three smoothers, and the factor: at most 0.12 for all sizes.

:Lecture systems: M5
:Chapter: :doc:`/book/cycles`

A cycle on level ℓ smooths, restricts the residual, finds a correction on the next coarser grid in the same
way, adds it, and smooths again, :eq:`two-grid` and :eq:`cycle`.
"""

# %%
# What a smoother does
# --------------------
# Damped Jacobi, :eq:`jacobi`, multiplies the wave sin kπx by 1 − ωλ, where λ = 1 − cos kπh is an eigenvalue
# of D⁻¹A. With ω = 2/3 all waves of the upper half, k ≥ n/2, shrink to a third or less in one sweep. The
# smoothest ones hardly change.

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.bridge import convergence_factor
from mgnet.multigrid import Level, cycle

n = 64
x = np.arange(1, n) / n
k = np.arange(1, n)
waves = torch.from_numpy(np.sin(np.pi * np.outer(k, x)))[:, None]


def levels_of(n: int, smoother: str = "jacobi", **options: object) -> list[Level]:
    problem = mgnet.Poisson(n=n, dim=options.pop("dim", 1))
    return mgnet.Hierarchy(problem, method="vcycle", smoother=smoother, **options).levels


# %%
# Two sweeps on all waves at once, of Jacobi and of Chebyshev's polynomial, :eq:`chebyshev`; the right-hand
# side is zero, so what comes out is what is left of each wave.

left = {}
for smoother in ("jacobi", "chebyshev"):
    level = levels_of(n, smoother)[0]
    smoothed = level.smoother(level.A, waves, torch.zeros_like(waves), 2)
    left[smoother] = ((smoothed * waves).sum(-1) / (waves * waves).sum(-1)).flatten().numpy()

theory = (1 - 2 / 3 * (1 - np.cos(np.pi * k / n))) ** 2
assert np.abs(left["jacobi"] - theory).max() < 1e-12
assert np.abs(left["jacobi"][n // 2 - 1 :]).max() < 1 / 9 + 1e-12
print(f"two sweeps leave of the smoothest wave {left['jacobi'][0]:.4f}, of the upper half at most 1/9")

figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.axvspan(n / 2, n, color="0.93", label="not seen by the coarse grid")
ax.plot(k, left["jacobi"], "-", label="damped Jacobi")
ax.plot(k, left["chebyshev"], "--", label="Chebyshev")
ax.axhline(0, color="0.5", linewidth=0.8)
ax.set(title="What two sweeps leave of the waves sin kπx, 64 cells", xlabel="k", ylabel="left of the wave")
ax.set(xlim=(0, n))
ax.legend()
plt.show()

# %%
# Smoothing and coarse-grid correction
# ------------------------------------
# An error in the plane, noise and a smooth hill, under one two-grid step. Two sweeps remove the noise, the
# correction removes the hill and brings in some roughness, two more sweeps remove that. The right-hand side
# is zero, so the approximation is the error.

fine, coarse = levels_of(n, dim=2, levels=2)
X, Y = np.meshgrid(x, x, indexing="ij")
noise = np.random.default_rng(0).normal(size=X.shape)
error = torch.from_numpy(np.sin(np.pi * X) * np.sin(2 * np.pi * Y) + 0.5 * noise)[None, None]
zero = torch.zeros_like(error)

stages = {"at first": error}
stages["two sweeps"] = fine.smoother(fine.A, error, zero, 2)
correction = fine.P(coarse.solve(fine.R(zero - fine.A(stages["two sweeps"]))))
stages["coarse correction"] = stages["two sweeps"] + correction
stages["two sweeps more"] = fine.smoother(fine.A, stages["coarse correction"], zero, 2, post=True)
assert torch.allclose(stages["two sweeps more"], cycle([fine, coarse], zero, error))

sizes = {name: float(image.abs().max()) for name, image in stages.items()}
print("largest error: " + ", ".join(f"{name} {size:.3f}" for name, size in sizes.items()))
assert sizes["two sweeps more"] < 0.05 * sizes["at first"]

figure, axes = plt.subplots(2, 4, figsize=(9.5, 4.6), height_ratios=(1.6, 1), layout="constrained")
for (above, below), (name, image) in zip(axes.T, stages.items(), strict=True):
    picture, size = image[0, 0].numpy(), sizes[name]
    above.imshow(picture.T, origin="lower", cmap="RdBu_r", vmin=-size, vmax=size, extent=(0, 1, 0, 1))
    above.set(title=f"{name}:\nup to {size:.3f}", xticks=[], yticks=[], xlabel="x", ylabel="y")
    below.plot(x, picture[n // 4])
    below.set(xlabel="y", xticks=(0, 0.5, 1), ylim=(-2.2, 2.2))
axes[1, 0].set_ylabel("error at x = ¼")
figure.suptitle("An error under a two-grid step: each map has its own scale, the curves have one")
plt.show()

# %%
# V, W and F
# ----------
# The coarse problem need not be solved; a cycle on the coarse grid is good enough. The three kinds differ in
# how often they call it. To see the way they take, let each level note when it smooths.


def way(kind: str, depth: int = 5) -> list[int]:
    """Return the levels in the order in which they smooth or solve."""
    visited: list[int] = []

    def noting(i: int, step: object) -> object:
        def noted(*arguments: object, **options: object) -> torch.Tensor:
            visited.append(i)
            return step(*arguments, **options)

        return noted

    levels = [
        replace(level, smoother=noting(i, level.smoother), solve=level.solve and noting(i, level.solve))
        for i, level in enumerate(levels_of(64, levels=depth))
    ]
    cycle(levels, torch.ones(1, 1, 63, dtype=torch.float64), kind=kind)
    return visited


ways = {kind: way(kind) for kind in "VWF"}
assert ways["V"] == [0, 1, 2, 3, 4, 3, 2, 1, 0]
assert [ways[kind].count(4) for kind in "VWF"] == [1, 8, 4]

figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True, layout="constrained")
axes = dict(zip("VFW", axes, strict=True))
for kind, ax in axes.items():
    ax.plot(ways[kind], "o-", markersize=4)
    ax.set(title=f"{kind}-cycle: {ways[kind].count(4)} on the coarsest grid", xlabel="steps", xticks=[])
axes["V"].set_ylabel("level (0 is the finest)")
axes["V"].set_yticks(range(5))
axes["V"].invert_yaxis()
figure.suptitle("The way through five levels")
plt.show()

# %%
# The factor for all sizes
# ------------------------
# From a random error, with two sweeps before and two after the correction: by how much a cycle shrinks it in
# the long run. On a small grid the same number comes from linear algebra, as the largest eigenvalue of the
# matrix that takes an error to the next one.


def factor(levels: list[Level], kind: str = "V", cycles: int = 14) -> float:
    shape = np.atleast_1d(levels[0].unknowns)
    error = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, *shape)))
    zero, found = torch.zeros_like(error), []
    for _ in range(cycles):
        error = cycle(levels, zero, error / error.norm(), kind=kind)
        found.append(float(error.norm()))
    return float(np.exp(np.mean(np.log(found[-8:]))))


small = levels_of(16)
identity = torch.eye(15, dtype=torch.float64)[:, None]
matrix = cycle(small, torch.zeros_like(identity), identity)[:, 0].numpy()
by_eigenvalues = np.abs(np.linalg.eigvals(matrix)).max()
print(f"16 cells: factor by cycles {factor(small):.4f}, by eigenvalues {by_eigenvalues:.4f}")
assert abs(factor(small, cycles=40) - by_eigenvalues) < 1e-3
assert abs(convergence_factor(small) - by_eigenvalues) < 1e-3

lines = {"1-D": 4 ** np.arange(2, 8), "2-D": 2 ** np.arange(4, 9)}
table = {}
for dim, (name, sizes) in enumerate(lines.items(), start=1):
    for smoother in ("jacobi", "chebyshev", "red-black"):
        if (dim, smoother) != (1, "red-black"):
            some = sizes[:4] if smoother == "red-black" else sizes
            table[name, "V", smoother] = [factor(levels_of(int(n), smoother, dim=dim)) for n in some]
    for kind in "FW":
        table[name, kind, "jacobi"] = [factor(levels_of(int(n), dim=dim), kind) for n in sizes[:3]]

for (name, kind, smoother), row in table.items():
    print(f"{name} {kind}-cycle, {smoother:<9} " + " ".join(f"{value:.3f}" for value in row))
    assert max(row) <= 0.12

# %%
# No factor grows beyond 0.12, from 15 unknowns to tens of thousands. W- and F-cycles come close to solving
# the coarse problem, and what they gain over the V-cycle is little. (Red-black is missing in one dimension
# because nothing is left there after a cycle.) Without coarse grids the smoother alone gets slower with each
# refinement: the smoothest wave keeps :math:`1 - \omega (1 - \cos \pi h)` of its size per sweep.

alone = [(1 - 2 / 3 * (1 - np.cos(np.pi / cells))) ** 4 for cells in lines["1-D"]]
print("four sweeps of Jacobi alone:", np.round(alone, 6))

figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
styles = {
    ("V", "jacobi"): "s-",
    ("V", "chebyshev"): "D--",
    ("V", "red-black"): "^-.",
    ("F", "jacobi"): "x:",
    ("W", "jacobi"): "o:",
}
for ax, (name, sizes) in zip(axes, lines.items(), strict=True):
    for (kind, smoother), style in styles.items():
        if (name, kind, smoother) in table:
            row = table[name, kind, smoother]
            ax.semilogx(sizes[: len(row)], row, style, fillstyle="none", label=f"{kind}, {smoother}")
    ax.axhline(0.12, color="black", linewidth=0.8)
    ax.set(title=name, xlabel="cells along an axis", ylim=(0, 0.14))
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", ncols=2, loc="lower right")
axes[0].set_ylabel("factor per cycle")
figure.suptitle("The factor of a cycle does not grow with the number of unknowns: at most 0.12")
plt.show()

# %%
# As a solver
# -----------
# ``method="vcycle"`` repeats cycles until the estimated error is small, :eq:`stopping`. The number of cycles
# does not depend on the size, so the work is proportional to the number of unknowns. Against SciPy's sparse
# factorisation:

for cells in (32, 64, 128):
    sol = mgnet.solve(lambda x, y: np.exp(x * y), n=cells, dim=2, method="vcycle")
    direct = mgnet.solve(lambda x, y: np.exp(x * y), n=cells, dim=2, method="direct")
    apart = np.abs(sol.u - direct.u).max() / direct.u.max()
    print(f"{cells:>3} cells: {sol.iterations} cycles, difference from the factorisation {apart:.1e}")
    assert apart < 1e-10
    assert sol.iterations <= 12

print(mgnet.Hierarchy(mgnet.Poisson(n=128, dim=2), method="vcycle"))
