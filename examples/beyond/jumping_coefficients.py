r"""
Coefficients that jump
======================

Islands of metal in a plate: the conductivity a jumps by a factor of up to a million, at lines that no coarse
grid has. Interpolation by hats then fails, because the solution has a kink where a coarse hat has none. This
page compares it with the interpolation that the package takes from the operator, and shows what conjugate
gradients do about the few errors that are left.

:Lecture systems: M5, and beyond the lectures
:Chapter: :doc:`/book/jumps`

The problem is :math:`-\nabla \cdot (a \nabla u) = f` on the unit square, with one value of a for each cell,
:eq:`cell-energy`.
"""

# %%
# Islands
# -------
# Islands of a few cells, at random. Outside a = 1.

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.multigrid import Level, cycle


def islands(n: int, jump: float, count: int = 12, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = np.ones((n, n))
    for i, j in rng.integers(1, n - 4, (count, 2)):
        wide, high = rng.integers(1, 4, 2)
        a[i : i + wide, j : j + high] = jump
    return a


n = 24
jumps = 10.0 ** np.arange(7)


def levels_of(a: np.ndarray) -> list[Level]:
    return mgnet.Hierarchy(mgnet.Poisson(n=len(a), dim=2, a=a), method="vcycle", levels=2).levels


# %%
# Two interpolations
# ------------------
# What does a coarse basis function look like on the fine grid? That of the hats knows nothing of a. The
# package solves small equations at the new nodes, :eq:`equilibrium`, so that the flux passes from one side of
# a jump to the other. Inside an island the function is nearly constant. Where a is constant the two are the
# same.

hats = mgnet.Prolongation(dim=2)
a = islands(n, 1e4)
fine = levels_of(a)[0]
constant = levels_of(islands(n, 1.0))[0]
rng = np.random.default_rng(0)
e = torch.from_numpy(rng.normal(size=(1, 1, n // 2 - 1, n // 2 - 1)))
assert torch.allclose(constant.P(e), hats(e), atol=1e-13)

unit = torch.zeros(1, 1, n // 2 - 1, n // 2 - 1, dtype=torch.float64)
node = (7, 5)
unit[(0, 0, *node)] = 1.0
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
sides = np.linspace(0, 1, n + 1)
axes[0].pcolormesh(sides, sides, np.log10(a).T, cmap="Greys", vmin=0, vmax=6)
axes[0].set_title("islands of $10^4$ in 1")
inner = sides[1:-1]
for ax, (name, P) in zip(axes[1:], {"hats": hats, "from the operator": fine.P}.items(), strict=True):
    image = ax.pcolormesh(inner, inner, P(unit)[0, 0].numpy().T, cmap="viridis", shading="nearest", vmin=0)
    ax.set_title(f"interpolation: {name}")
places, drawn = (np.arange(8 * n) + 0.5) / (8 * n), np.kron(a, np.ones((8, 8)))
for ax in axes:
    ax.contour(places, places, drawn.T, levels=[2.0], colors="C1")
    ax.set(xlabel="x", ylabel="y", aspect="equal")
for ax in axes[1:]:
    ax.set(xlim=(0.48, 0.84), ylim=(0.32, 0.68))
figure.colorbar(image, ax=axes, label="value", shrink=0.8)
figure.suptitle("A coarse basis function near some islands (outlined), by hats and from the operator")
plt.show()

# %%
# With either P the coarse operator is R A P, R = Pᵀ. The package finds it without a product of matrices, by
# applying R A P to vectors of zeros and ones, :eq:`probing`. Here is the product.

A = fine.A.to_dense()
units = torch.eye((n // 2 - 1) ** 2, dtype=torch.float64).reshape(-1, 1, n // 2 - 1, n // 2 - 1)
P = fine.P(units).flatten(1).T
coarse = levels_of(a)[1].A.to_dense()
defect = float((P.T @ A @ P - coarse).abs().max() / coarse.abs().max())
print(f"R A P and the coarse operator differ by {defect:.1e}")
assert defect < 1e-14

# %%
# The factor of a two-grid cycle
# ------------------------------
# The error after a cycle is a matrix times the error before, I − B A. Its eigenvalues say how fast each part
# of the error falls, and the largest is the factor in the long run.


def spectrum(a: np.ndarray, by_hats: bool) -> np.ndarray:
    """Return the eigenvalues of the error's matrix, largest first."""
    levels = levels_of(a)
    fine, shape = levels[0], levels[0].unknowns
    if by_hats:
        matrix = fine.A.to_dense()
        P = hats.to_dense((n // 2 - 1, n // 2 - 1))
        inverse = torch.linalg.inv(P.T @ matrix @ P)
        size = (n // 2 - 1,) * 2
        solver = Level(None, None, None, None, solve=lambda r: (r.flatten(1) @ inverse).reshape(-1, 1, *size))
        levels = [Level(fine.A, fine.cells, shape, fine.smoother, hats, hats.T), solver]
    units = torch.eye((n - 1) ** 2, dtype=torch.float64).reshape(-1, 1, *shape)
    after = cycle(levels, torch.zeros_like(units), units).flatten(1).numpy()
    return np.sort(np.abs(np.linalg.eigvals(after)))[::-1]


shown = (1.0, 1e2, 1e4)
spectra = {(hat, jump): spectrum(islands(n, jump), hat) for hat in (True, False) for jump in shown}
print("jump     factor with hats   from the operator")
for jump in shown:
    print(f"{jump:<8g} {spectra[True, jump][0]:>16.3f} {spectra[False, jump][0]:>19.3f}")
slow = {key: int((values > 0.2).sum()) for key, values in spectra.items()}
print(f"eigenvalues above 0.2 for 10^4: {slow[True, 1e4]} with hats, {slow[False, 1e4]} from the operator")
assert spectra[True, 1.0][0] < 0.1
assert spectra[True, 1e4][0] > 0.99
assert spectra[False, 1e4][0] < 0.2
assert 6 <= slow[True, 1e4] <= 12

# %%
# The picture has all of the slow eigenvalues, and some of the others.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, by_hats in zip(axes, (True, False), strict=True):
    for jump, style in zip(shown, "os^", strict=True):
        slowest = spectra[by_hats, jump][:40]
        ax.plot(1 + np.arange(40), slowest, style, fillstyle="none", label=f"jumps of {jump:g}")
    name = "hats" if by_hats else "interpolation from the operator"
    ax.set(title=name, xlabel="number of the eigenvalue", ylim=(0, 1.05))
    ax.grid(alpha=0.3)
axes[0].set_ylabel("left after a cycle")
axes[1].legend()
figure.suptitle("The 40 slowest parts of the error: with P from the operator none is slow")
plt.show()

# %%
# With hats about one slow part is left for each of the twelve islands: the island is a nearly rigid piece of
# the solution with one unknown, its height, which no coarse hat can move without its surroundings.
#
# Why conjugate gradients
# -----------------------
# On larger grids, with more levels and islands that meet, some slow parts are left with the better
# interpolation too. A repeated cycle has to wait for the slowest of them. Conjugate gradients,
# :eq:`conjugate-gradients`, remove isolated eigenvalues in about a step each. To the default tolerance,
# against SciPy's sparse factorisation:

size = 96
f = np.random.default_rng(1).normal(size=(size + 1, size + 1))
steps: dict[str, list[int]] = {"vcycle": [], "pcg": []}
for jump in jumps:
    problem = {"n": size, "dim": 2, "a": islands(size, jump, count=30)}
    direct = mgnet.solve(f, method="direct", **problem).u
    for method, counts in steps.items():
        sol = mgnet.solve(f, method=method, throw=False, maxiter=200, **problem)
        counts.append(sol.iterations)
        assert sol.status is mgnet.Status.CONVERGED
        assert np.abs(sol.u - direct).max() < 1e-8 * np.abs(direct).max()
print("jump      " + " ".join(f"{jump:>7g}" for jump in jumps))
for method, counts in steps.items():
    print(f"{method:<9} " + " ".join(f"{count:>7}" for count in counts))
assert max(steps["pcg"]) < 20
assert steps["pcg"][-1] < steps["vcycle"][-1]

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for (method, counts), style in zip(steps.items(), ("s--", "o-"), strict=True):
    ax.semilogx(jumps, counts, style, label=method)
ax.set(title="Iterations for 30 islands in 96 × 96 cells", ylabel="iterations", ylim=(0, None))
ax.set_xlabel("jump of the conductivity")
ax.grid(alpha=0.3)
ax.legend()
plt.show()
