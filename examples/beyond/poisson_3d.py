r"""
In space: heat through a composite
==================================

In three dimensions nothing changes for the user but ``dim=3``. First a problem with a variable coefficient
and mixed boundary conditions whose solution is known: the error falls with order 2. Then a block with balls
of metal in it, up to ten thousand times as conducting as the rest. How well does the block conduct as a
whole?

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/boxes`

The equation is :eq:`strong-form-box`, :math:`-\nabla \cdot (a \nabla u) + c u = f` in a box, and the hats are
products of those along the axes, :eq:`product-hat`.
"""

# %%
# A solution that is known
# ------------------------
# Choose u = cos(x) sin(y) eᶻ and a = 1 + xyz. Since Δu = −u, the right-hand side is f = a u − ∇a·∇u. Five
# sides hold the values of u, and through the sixth, z = 1, goes the flux a ∂u/∂z; source and flux are
# integrated against the hats, :eq:`load-box`. The sides of the third axis are called "back" and "front";
# "bottom" and "top" are those of the second, as in the plane.

import time

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet


def exact(x, y, z):
    return np.cos(x) * np.sin(y) * np.exp(z)


def conductivity(x, y, z):
    return 1 + x * y * z


def source(x, y, z):
    u = exact(x, y, z)
    along_x, along_y, along_z = -np.sin(x) * np.sin(y) * np.exp(z), np.cos(x) * np.cos(y) * np.exp(z), u
    return conductivity(x, y, z) * u - (y * z * along_x + x * z * along_y + x * y * along_z)


given = mgnet.Dirichlet(exact)
sides = dict.fromkeys(("left", "right", "bottom", "top", "back"), given)
sides["front"] = mgnet.Neumann(lambda x, y, z: conductivity(x, y, z) * exact(x, y, z))

errors, sizes = [], (6, 12, 24, 48)
for n in sizes:
    start = time.perf_counter()
    sol = mgnet.solve(source, n=n, dim=3, a=conductivity, boundary=sides)
    seconds = time.perf_counter() - start
    x, y, z = np.meshgrid(*sol.x, indexing="ij")
    errors.append(np.abs(sol.u - exact(x, y, z)).max())
    print(f"{sol.u.size:>7} nodes: {sol.iterations} iterations, {seconds:.2f} s, error {errors[-1]:.2e}")

orders = np.log2(np.divide(errors[:-1], errors[1:]))
print("orders", orders.round(3))
assert abs(orders[-1] - 2) < 0.1
assert sol.iterations < 10

# %%
# Between the nodes the solution is linear in each coordinate. It can be evaluated at any point, its gradient
# too.

rng = np.random.default_rng(0)
points = rng.uniform(0, 1, (1000, 3))
between = np.abs(sol(points) - exact(*points.T)).max()
slope = np.abs(sol.derivative(points)[:, 2] - exact(*points.T)).max()  # ∂u/∂z = u
print(f"at 1000 random points: error {between:.1e}, of ∂u/∂z {slope:.1e}")
assert between < 5e-4
assert slope < 0.05

# %%
# A block with balls in it
# ------------------------
# Twenty balls of metal lie in a cube of conductivity 1. The left side is held at 1, the right one at 0, the
# others are insulated. One number for each cell says what it conducts, the a of :eq:`cell-energy`.

n = 40
middle = (np.arange(n) + 0.5) / n
X, Y, Z = np.meshgrid(middle, middle, middle, indexing="ij")
inside = np.zeros((n, n, n), dtype=bool)
for centre in rng.uniform(0.15, 0.85, (20, 3)):
    inside |= (X - centre[0]) ** 2 + (Y - centre[1]) ** 2 + (Z - centre[2]) ** 2 < 0.12**2
share = inside.mean()
print(f"the balls fill {share:.1%} of the cube")

between_two = {"left": mgnet.Dirichlet(1.0), "right": mgnet.Dirichlet(0.0)}
between_two |= dict.fromkeys(("bottom", "top", "back", "front"), mgnet.Neumann(0.0))


def heat(a: np.ndarray) -> mgnet.Solution:
    return mgnet.solve(n=n, dim=3, a=a, boundary=between_two)


def flux(sol: mgnet.Solution, a: np.ndarray) -> float:
    """Return what goes in at the left: the load that the nodes there would need if nothing held them."""
    free = mgnet.Hierarchy(mgnet.Poisson(n=n, dim=3, a=a, boundary=mgnet.Neumann(0.0))).A
    loads = free(torch.from_numpy(sol.u)[None, None])[0, 0].numpy()
    assert np.abs(loads[1:-1]).max() < 1e-8 * np.abs(a).max()  # no sources between
    assert np.isclose(loads[0].sum(), -loads[-1].sum(), rtol=1e-6)  # what goes in comes out
    return float(loads[0].sum())


# %%
# With a difference of 1 over a length of 1 and a cross-section of 1, the flux *is* the conductivity of the
# block. Two layered blocks are known exactly. Layers across the flux are resistors in series, and conduct
# with the harmonic mean of their conductivities; layers along the flux are parallel, with the arithmetic
# mean.

metal = 50.0
layers = np.where(np.arange(n) % 4 == 0, metal, 1.0)
across = layers[:, None, None] * np.ones((n, n, n))
series, parallel = (flux(heat(a), a) for a in (across, across.swapaxes(0, 1)))
print(f"layers across the flux: {series:.8f}, harmonic mean {1 / np.mean(1 / layers):.8f}")
print(f"layers along the flux:  {parallel:.8f}, arithmetic mean {layers.mean():.8f}")
assert np.isclose(series, 1 / np.mean(1 / layers), rtol=1e-8)
assert np.isclose(parallel, layers.mean(), rtol=1e-8)

# %%
# From insulators to metal
# ------------------------
# The same balls with another conductivity k. For any arrangement the two means are bounds, Wiener's. For one
# that is the same in all directions, Hashin and Shtrikman's are narrower. The lower one for k > 1 is
# Maxwell's formula for balls far apart,
#
# .. math:: 1 + \frac{3 \varphi\,(k - 1)}{k + 2 - \varphi\,(k - 1)},
#
# where φ is the share of the balls.

values = 10.0 ** np.arange(-2, 5)
found, solutions = [], []
for k in values:
    a = np.where(inside, k, 1.0)
    solutions.append(heat(a))
    found.append(flux(solutions[-1], a))
found = np.array(found)

harmonic = 1 / (share / values + 1 - share)
arithmetic = share * values + 1 - share
maxwell = 1 + 3 * share * (values - 1) / (values + 2 - share * (values - 1))
print("k          lower bound   the block   upper bound   Maxwell   iterations")
iterations = [sol.iterations for sol in solutions]
for row in zip(values, harmonic, found, arithmetic, maxwell, iterations, strict=True):
    print("{:<10g} {:>11.4f} {:>11.4f} {:>13.4f} {:>9.4f} {:>12}".format(*row))
assert np.all(harmonic <= found + 1e-9) and np.all(found <= arithmetic + 1e-9)
assert np.isclose(found[2], 1.0)  # k = 1

# %%
# Balls ten thousand times as conducting make the block conduct not even twice as well, because the heat has
# to cross the gaps between them. Some of them overlap and are one longer piece, which is better than
# Maxwell's formula for single balls.

assert maxwell[-1] < found[-1] < 2

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained", width_ratios=(1.15, 1))
left.fill_between(values, harmonic, arithmetic, color="0.9", label="between Wiener's bounds")
left.loglog(values, found, "o-", label="the block")
left.loglog(values, maxwell, "--", label="Maxwell's formula")
left.set(title="Conductivity of the block", xlabel="conductivity k of the balls", ylabel="of the block")
left.set_ylim(0.5, 5)
left.set_yticks([0.5, 1, 2, 5], ["0.5", "1", "2", "5"])
left.minorticks_off()
left.set_xticks(values)
left.legend(loc="upper left")
hot = solutions[-2]
slice_at = n // 2
u, cut = hot.u[:, :, slice_at], inside[:, :, slice_at]
filled = right.contourf(*hot.x[:2], u.T, levels=np.linspace(0, 1, 21), cmap="viridis")
right.contour(middle, middle, cut.T, levels=[0.5], colors="white", linewidths=1.5)
right.set(title="Temperature at z = ½, k = 1000", xlabel="x", ylabel="y", aspect="equal")
figure.colorbar(filled, ax=right, label="u")
figure.suptitle("Balls in a block: inside each (white) the temperature is all but constant")
plt.show()
