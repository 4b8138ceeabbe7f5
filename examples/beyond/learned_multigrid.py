r"""
Learned multigrid
=================

A multigrid cycle is made of convolutions, so its smoother and its transfers can be learned like the kernels
of a network: by gradient through a few cycles, on random right-hand sides,

.. math:: \min_{B,\,R}\ \mathbb{E}_b\,\log \frac{\| u_m - A^{-1} b \|}{\| u_{m-1} - A^{-1} b \|}, \qquad
   u_i = u_{i-1} + C(b - A u_{i-1}),

where C is one V-cycle. The kernels know no grid. Trained on one size they make the cycle of any other, and
there they are compared with two textbook smoothers that make as many sweeps: damped Jacobi and Chebyshev.

:Lecture systems: M5, and beyond the lectures
:Chapter: :doc:`/book/learning-kernels`
"""

# %%
# Before training
# ---------------
# The problem is −Δu = f on the unit square. A ``LearnedCycle`` has a kernel B for each of two sweeps, which
# are made before the coarse correction and again after it, and a kernel R with P = Rᵀ. Untrained it is the
# V-cycle with damped Jacobi, :eq:`jacobi`. All kernels are the same on every grid; B reaches one node to
# either side, R two.

import time
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.bridge import convergence_factor
from mgnet.learned import LearnedCycle, train
from mgnet.multigrid import Level, cycle

SIZES = (16, 32, 64, 128, 256)
TRAINED_ON = 32


def textbook(n: int, smoother: str) -> list[Level]:
    return mgnet.Hierarchy(mgnet.Poisson(n=n, dim=2), method="vcycle", smoother=smoother).levels


def factors(levels_for: Callable[[int], list[Level]]) -> list[float]:
    return [convergence_factor(levels_for(n), cycles=20) for n in SIZES]


learned = LearnedCycle(dim=2, sweeps=2, transfer_reach=2)
table = {
    "damped Jacobi": factors(lambda n: textbook(n, "jacobi")),
    "Chebyshev": factors(lambda n: textbook(n, "chebyshev")),
}
assert np.allclose(factors(learned.levels), table["damped Jacobi"], rtol=0.02)

# %%
# Smoother first, then transfers
# ------------------------------
# Each step makes four cycles for each of four random loads and takes the logarithm of what the last one did
# to the error, :eq:`learned-cycle`. At first only B is learned, on a grid of 16 × 16 cells, then everything,
# on one of 32 × 32. With twice these rates what is learned depends on rounding. After each step R changes as
# little as possible so that P maps constants to constants; without that, errors that are smooth on fine grids
# would stay.

start = time.perf_counter()
train(learned, 16, steps=80, lr=0.05, parameters=list(learned.B.parameters()))
table["learned smoother"] = factors(learned.levels)
train(learned, TRAINED_ON, steps=120, lr=0.04, seed=1)
table["and transfers"] = factors(learned.levels)
seconds = time.perf_counter() - start

# %%
# On other sizes
# --------------
# The factor of a cycle in the long run, from a random error.

print(f"{'cells along an axis':<20} " + " ".join(f"{n:>7}" for n in SIZES))
for name, row in table.items():
    print(f"{name:<20} " + " ".join(f"{value:>7.4f}" for value in row))
print(f"trained in {seconds:.0f} s")

for name, share in (("learned smoother", 0.6), ("and transfers", 0.35)):
    assert all(np.array(table[name]) < share * np.array(table["Chebyshev"]))
    assert all(np.array(table[name]) < share * np.array(table["damped Jacobi"]))

inner = learned.R.T(torch.ones(1, 1, 9, 9, dtype=torch.float64))[..., 2:-2, 2:-2]
assert (inner - 1).abs().max() < 1e-12

# %%
# The factors grow a little with n and then no more. The learned kernels were made for 32 × 32 cells.

figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
ax.axvspan(28, 36, color="0.92", label="trained here")
for (name, row), style in zip(table.items(), ("s:", "D--", "o-.", "*-"), strict=True):
    ax.loglog(SIZES, row, style, label=name)
ax.set(
    title="The learned cycle keeps its factor on grids it has never seen",
    xlabel="cells along an axis",
    ylabel="factor of a V-cycle",
    ylim=(0.005, 0.3),
)
ax.set_xticks(SIZES, SIZES)
ax.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2], ["0.01", "0.02", "0.05", "0.1", "0.2"])
ax.minorticks_off()
ax.legend(loc="upper left", ncols=2)
ax.grid(alpha=0.3)
plt.show()

# %%
# On other right-hand sides
# -------------------------
# A smooth load, one at a single point, and one of a checkerboard, on 128 × 128 cells; the errors are those
# against the direct solution.

n = 128
x = torch.arange(1, n, dtype=torch.float64) / n
smooth = torch.sin(2 * torch.pi * x)[:, None] * torch.exp(x) / n**2
point = torch.zeros_like(smooth)
point[40, 90] = 1
board = ((torch.arange(1, n)[:, None] // 4 + torch.arange(1, n) // 4) % 2 - 0.5) / n**2
b = torch.stack([smooth, point, board])[:, None]
exact = torch.as_tensor(mgnet.solve(b=b[:, 0], n=n, dim=2, method="direct").u)[:, None, 1:-1, 1:-1]


@torch.no_grad()
def errors(levels: list[Level], sweeps: int = 2, cycles: int = 6) -> np.ndarray:
    """Return the error after each cycle, relative to the solution; the largest of the three."""
    u, found = torch.zeros_like(b), [1.0]
    for _ in range(cycles):
        u = cycle(levels, b, u, (sweeps, sweeps))
        found.append(float(((u - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).max()))
    return np.array(found)


# %%
# All three errors, the largest of them, after each cycle.

curves = {
    "damped Jacobi": errors(textbook(n, "jacobi")),
    "Chebyshev": errors(textbook(n, "chebyshev")),
    "learned": errors(learned.levels(n)),
}
for name, curve in curves.items():
    print(f"{name:<14} error after {len(curve) - 1} cycles {curve[-1]:.1e}")
assert curves["learned"][-1] < 1e-2 * curves["Chebyshev"][-1]

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (name, curve), style in zip(curves.items(), ("s:", "D--", "*-"), strict=True):
    ax.semilogy(curve, style, label=name)
ax.set(title="New loads on 128 × 128 cells", xlabel="cycles", ylabel="largest relative error")
ax.legend()
ax.grid(alpha=0.3)
plt.show()

# %%
# What it costs
# -------------
# A B of 3 × 3 numbers costs as much as the product with A, so a learned sweep costs two of the textbook's.
# Even against twice as many sweeps of Chebyshev the learned cycle wins.

twice = convergence_factor(textbook(n, "chebyshev"), (4, 4), cycles=25)
print(f"Chebyshev with 4 sweeps instead of 2: {twice:.4f}")
assert table["and transfers"][SIZES.index(n)] < 0.8 * twice

# %%
# What was learned
# ----------------
# Beside the kernels, what two sweeps leave of a wave, by its frequencies along the two axes, shows why they
# help. Outside the dashed square are the waves that the coarse grid does not see, those of
# :eq:`rough-interval`. There the learned sweeps are no better than Jacobi's, but inside they leave only the
# smoothest waves, which the coarse grid treats best. Four sweeps of Jacobi, which cost about as much, leave
# more of those inside.


def left_by_sweeps(B: list[torch.Tensor]) -> np.ndarray:
    """Return what is left of the waves with frequencies from −π to π."""
    angles = np.linspace(-np.pi, np.pi, 121)

    def symbol(kernel: np.ndarray) -> np.ndarray:
        reach = len(kernel) // 2
        waves = np.exp(1j * np.outer(angles, np.arange(-reach, reach + 1)))
        return waves @ kernel @ waves.T

    A = symbol(mgnet.stencils.stiffness([1.0, 1.0]))
    return np.abs(np.prod([1 - symbol(kernel[0, 0].numpy()) * A for kernel in B], axis=0))


# %%
# The kernels above, the waves below.

figure, (kernels, waves) = plt.subplots(2, 3, figsize=(8.5, 6), layout="constrained")
for small, name, operator in zip(
    kernels, ("B, first sweep", "B, second sweep", "R, and P = Rᵀ"), (*learned.B, learned.R), strict=True
):
    kernel = operator.weight.detach()[0, 0].numpy()
    most = np.abs(kernel).max()
    small.imshow(kernel, cmap="RdBu_r", vmin=-1.6 * most, vmax=1.6 * most)
    small.set(title=name, xlabel="x", ylabel="y", xticks=[], yticks=[])
    for (i, j), value in np.ndenumerate(kernel):
        text = f"{value:.2f}".replace("-", "−")
        small.text(j, i, text, ha="center", va="center", fontsize=10 if kernel.size == 9 else 7)
smoothers = {
    "two sweeps of Jacobi": [B.weight.detach() for B in LearnedCycle(dim=2).B],
    "four sweeps of Jacobi": [B.weight.detach() for B in LearnedCycle(dim=2, sweeps=4).B],
    "two learned sweeps": [B.weight.detach() for B in learned.B],
}
for small, (name, B) in zip(waves, smoothers.items(), strict=True):
    image = small.imshow(left_by_sweeps(B), cmap="magma", vmin=0, vmax=0.3, extent=(-1, 1, -1, 1))
    small.plot([-0.5, 0.5, 0.5, -0.5, -0.5], [-0.5, -0.5, 0.5, 0.5, -0.5], "w--")
    small.set(title=name, xlabel="frequency along x", ylabel="along y")
    small.set(xticks=(-1, 0, 1), xticklabels=("−π", "0", "π"), yticks=())
figure.colorbar(image, ax=waves, label="left of a wave", extend="max")
figure.suptitle("The learned kernels, and what two sweeps leave of each wave")
plt.show()
