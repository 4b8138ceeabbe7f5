r"""
One cycle is exact
==================

In one dimension a V-cycle need not be repeated. With an interpolation that fits the operator, and each new
node relaxed once, the first cycle gives the solution: for any coefficients, any nodes and any number of
cells. It also keeps the digits that elimination with the matrix loses, on a million nodes eight of them.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/one-cycle`

The reason is that the hats of the new nodes of all levels are orthogonal in energy, so their corrections do
not disturb each other and the solution is their sum, :eq:`exact`.
"""

# %%
# The solution is a sum over levels
# ---------------------------------
# On each level, take the hats of the nodes that the next coarser level does not have. Each is as high as its
# entry of the restricted load divided by its diagonal entry. The sum of all levels is the solution. The loads
# come from the package's own restriction and nothing is solved.

import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.linalg import solveh_banded

import mgnet

n = 64
x = np.linspace(0, 1, n + 1)
load = (30 * np.exp(-(((x - 0.7) / 0.08) ** 2)) + 4 * np.sin(4 * np.pi * x))[1:-1] / n

R, parts = mgnet.Restriction(), []
b, cells = torch.from_numpy(load)[None, None], n
while cells > 1:
    diagonal = 2 * cells  # of A on this level, where h = 1/cells
    heights = np.zeros(cells + 1)
    heights[1::2] = b[0, 0, ::2].numpy() / diagonal
    parts.append(np.interp(x, np.linspace(0, 1, cells + 1), heights))
    b, cells = R(b), cells // 2

# %%
# The sum, the one cycle of :func:`mgnet.solve`, and LAPACK agree.

summed = np.sum(parts, axis=0)
sol = mgnet.solve(b=load, n=n)
direct = mgnet.solve(b=load, n=n, method="direct")
print(f"sum over {len(parts)} levels against LAPACK: {np.abs(summed - direct.u).max():.1e}")
print(f"one cycle against LAPACK:        {np.abs(sol.u - direct.u).max():.1e}")
assert sol.iterations == 1 and sol.method == "exact"
assert np.abs(summed - direct.u).max() < 1e-14
assert np.abs(sol.u - direct.u).max() < 1e-14

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for level, (part, style) in enumerate(zip(parts, ("-", "--", "-.", ":", "-", "--"), strict=True)):
    left.plot(x, part, style, label=f"level {level}")
for count, style in {1: "-", 2: "--", 3: "-.", 6: ":"}.items():
    right.plot(x, np.sum(parts[-count:], axis=0), style, label=f"{count} coarsest level{'s' * (count > 1)}")
left.set(title="What each level adds", xlabel="x", ylabel="u")
right.set(title="The sum", xlabel="x", ylabel="u")
for ax in (left, right):
    ax.legend(fontsize="small")
figure.suptitle("The solution is a sum of hats of all levels, each found on its own")
plt.show()

# %%
# A jumping coefficient, uneven nodes, any number of cells
# --------------------------------------------------------
# A straight line between two nodes fits −u″, not −(a u′)′ with a coefficient that jumps. The interpolation is
# then taken from the operator, :eq:`interpolation`, and one cycle is cyclic reduction, :eq:`elimination`.
# Here a jumps at random between 10⁻³ and 10³ from cell to cell, c is not zero, 997 cells have random widths,
# and the right end is of Robin's kind. c is lumped as the array f is, :eq:`mass-lumped`. LAPACK's tridiagonal
# solver gets the matrix that is assembled below by hand. Alone it agrees to eight digits or so. One step of
# refinement, with a residual that is computed from differences, brings LAPACK to the result of the cycle.

rng = np.random.default_rng(0)
cells = 997
nodes = np.concatenate([[0.0], np.cumsum(rng.uniform(0.2, 1.8, cells))])
nodes /= nodes[-1]
a = 10 ** rng.uniform(-3, 3, cells)
f = rng.normal(size=cells + 1)
c, alpha, g = 0.1, 2.0, 1.0
one = mgnet.solve(f, nodes=nodes, a=a, c=c, left=mgnet.Dirichlet(0.5), right=mgnet.Robin(alpha, g))

width = np.diff(nodes)
k = a / width  # between neighbours
halves = np.append(width, 0) / 2 + np.append(0, width) / 2
diagonal = np.append(k, 0) + np.append(0, k) + c * halves
diagonal[-1] += alpha
right_side = f * halves
right_side[-1] += g
right_side[1] += k[0] * 0.5
banded = np.stack([np.append(0, -k[1:]), diagonal[1:]])
by_lapack = np.append(0.5, solveh_banded(banded, right_side[1:]))


def left_over(u: np.ndarray) -> np.ndarray:
    """Return the residual, from differences of neighbours: those keep the digits that products lose."""
    flow = k * np.diff(u)
    out = np.append(0, flow) - np.append(flow, 0) + c * halves * u
    out[-1] += alpha * u[-1] - g
    return f * halves - out


refined = by_lapack + np.append(0, solveh_banded(banded, left_over(by_lapack)[1:]))
apart = [np.abs(one.u - u).max() / np.abs(u).max() for u in (by_lapack, refined)]
print(f"one cycle differs from LAPACK by {apart[0]:.1e}, after a step of refinement by {apart[1]:.1e}")
assert one.iterations == 1
assert apart[1] < 1e-13 < apart[0]

# %%
# It keeps the digits
# -------------------
# Elimination with the entries of a matrix loses digits as n grows: the diagonal is 2/h, and what the solution
# depends on is how little 2uᵢ differs from uᵢ₋₁ + uᵢ₊₁. The error may grow like n². The cycle works with
# conductances and row sums, :eq:`coarse-row-sums`, where nothing cancels. For −u″ = π² sin πx the solution at
# the nodes is known.


def errors(n: int, dtype: torch.dtype) -> tuple[float, float]:
    """Return the largest nodal errors of one cycle and of LAPACK."""
    x = np.linspace(0, 1, n + 1)
    exact = np.sin(np.pi * x)
    # The load of the hats, in a form that does not cancel: 2 (1 - cos πh) / h sin πx.
    b = (4 * n * np.sin(np.pi / n / 2) ** 2) * exact[1:-1]
    number = np.dtype(str(dtype).removeprefix("torch."))
    one = mgnet.solve(b=b.astype(number), n=n)
    matrix = np.stack([np.full(n - 1, -n), np.full(n - 1, 2 * n)]).astype(number)
    lapack = solveh_banded(matrix, b.astype(number), overwrite_ab=True)
    return np.abs(one.u - exact).max(), np.abs(lapack - exact[1:-1]).max()


sizes = 4 ** np.arange(3, 11)
found = {dtype: np.array([errors(int(n), dtype) for n in sizes]) for dtype in (torch.float32, torch.float64)}
print("nodes      float32: one cycle   LAPACK    float64: one cycle   LAPACK")
for n, single, double in zip(sizes, *found.values(), strict=True):
    print(f"{n:>8} {single[0]:>18.1e} {single[1]:>9.1e} {double[0]:>18.1e} {double[1]:>9.1e}")

# %%
# In float32 elimination has no digit left from 65,536 cells on, and one cycle as many as ever.

single, double = found.values()
assert (single[5:, 1] > 0.5).all()
assert single[:, 0].max() < 1e-6
assert double[:, 0].max() < 1e-13
assert double[-1, 1] > 1e6 * double[-1, 0]

figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
for (dtype, pairs), colour in zip(found.items(), ("C1", "C0"), strict=True):
    name = str(dtype).removeprefix("torch.")
    ax.loglog(sizes, pairs[:, 1], "s--", color=colour, label=f"LAPACK, {name}")
    ax.loglog(sizes, pairs[:, 0], "o-", color=colour, label=f"one cycle, {name}")
ax.set(title="One cycle keeps its digits; elimination with the matrix loses them", xlabel="cells")
ax.set_ylabel("largest error at the nodes")
ax.set_xticks(sizes, [str(n) for n in sizes])
ax.minorticks_off()
ax.grid(alpha=0.3)
ax.legend()
plt.show()

# %%
# A million nodes
# ---------------
# The same on 2²⁰ cells with a coefficient that jumps by a factor of a million at the middle. The exact
# solution of −(a u′)′ = 1 with u(0) = u(1) = 0 is two parabolas that meet with equal flux.

n, jump = 2**20, 1e6
x = np.linspace(0, 1, n + 1)
a = np.where(np.arange(n) < n // 2, 1.0, jump)
# The flow is q - x; its integral over 1/a vanishes.
q = (1 / 8 + (3 / 8) / jump) / (1 / 2 + (1 / 2) / jump)
half = q / 2 - 1 / 8
exact = np.where(x < 0.5, q * x - x**2 / 2, half + (q * (x - 0.5) - (x**2 - 0.25) / 2) / jump)

start = time.perf_counter()
one = mgnet.solve(1.0, n=n, a=a)
seconds = time.perf_counter() - start
banded = np.stack([np.append(0, -a[1:-1] * n), (a[1:] + a[:-1]) * n])
lapack = np.concatenate([[0], solveh_banded(banded, np.full(n - 1, 1 / n)), [0]])
error, by_lapack = (np.abs(u - exact).max() / exact.max() for u in (one.u, lapack))
print(f"{n + 1} nodes: one cycle in {seconds:.2f} s, relative error {error:.1e}; LAPACK {by_lapack:.1e}")
assert one.iterations == 1
assert error < 1e-13
assert by_lapack > 1e6 * error
