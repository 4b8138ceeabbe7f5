r"""
A capacitor, and its capacitance two ways
=========================================

Two electrodes in a box: nodes that are held, wherever they are. The capacitance is the charge on one of them,
or twice the energy of the field, and on every grid the two agree. That they agree does not make them right. A
second solve, whose lines of equal value are the field lines of the first, bounds the error from the other
side.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/boxes`

Between electrodes at the potentials ±V/2 the potential solves −Δu = 0, in units in which ε₀ is 1. Nothing
goes through the walls, so the charges Q and −Q of the electrodes are opposite. With v = u in
:eq:`boundary-flux`,

.. math:: C = \frac{Q}{V} = \frac{2 W}{V^2}, \qquad W = \tfrac12 \int |\nabla u|^2 .
"""

# %%
# Two parallel plates
# -------------------
# ``fixed`` is a mask over the nodes and their values. A plate is a line of nodes.

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import ellipj, ellipk

import mgnet

n = 256
x = np.linspace(0, 1, n + 1)
X, Y = np.meshgrid(x, x, indexing="ij")
walls = mgnet.Neumann()


def between(plus: np.ndarray, minus: np.ndarray) -> mgnet.Solution:
    """Return the potential of two electrodes, masks over the nodes, for V = 1."""
    held = plus | minus, np.where(plus, 0.5, -0.5)
    return mgnet.solve(n=len(plus) - 1, dim=2, boundary=walls, fixed=held)


def plates(d: float) -> tuple[np.ndarray, np.ndarray]:
    along = np.abs(X - 0.5) <= 0.25
    return along & (Y == 0.5 + d / 2), along & (Y == 0.5 - d / 2)


plus, minus = plates(0.25)
sol = between(plus, minus)
print(sol)
assert sol.iterations < 15
assert np.abs(sol.u).max() == 0.5  # the largest values are at the electrodes

# %%
# Two ways
# --------
# What holds the potential at a node is the charge there, the residual that ``sol.flux`` sums. ``sol.energy``
# is another sum, over the whole field. The walls let nothing through, so the charges are opposite.

charge, other, energy = sol.flux(plus), sol.flux(minus), sol.energy
print(f"charges {charge:.10f} and {other:.10f}, twice the energy {2 * energy:.10f}")
assert abs(charge + other) < 1e-8
assert abs(charge - 2 * energy) < 1e-8

# %%
# The picture has the lines of equal potential, and field lines, which cross them at right angles. Most of the
# field is between the plates. What bulges out at their ends is why they hold more than the formula for large
# plates says, their length L over their distance d.

middle = (x[1:] + x[:-1]) / 2
field = -sol.derivative(middle[:, None], middle)

figure, ax = plt.subplots(figsize=(7, 5.6), layout="constrained")
levels = np.linspace(-0.5, 0.5, 21)
colours = ax.contourf(x, x, sol.u.T, levels=levels, cmap="RdBu_r")
ax.contour(x, x, sol.u.T, levels=levels, colors="0.3", linewidths=0.8, linestyles="solid")
ax.streamplot(
    middle, middle, field[..., 0].T, field[..., 1].T, color="k", linewidth=0.7, density=1.1, arrowsize=0.9
)
for mask in (plus, minus):
    ax.plot(X[mask], Y[mask], color="k", linewidth=4, solid_capstyle="round")
figure.colorbar(colours, ax=ax, label="potential", ticks=levels[::5])
ax.set(aspect="equal", xlim=(0, 1), ylim=(0, 1), xlabel="x", ylabel="y")
ax.set_title("Two plates in a box: lines of equal potential, and field lines")
plt.show()

# %%
# The closer the plates, the less their ends matter. Kirchhoff's formula for plates without a box has the
# first correction,
#
# .. math:: C \approx \frac{L}{d} + \frac1\pi \Bigl( 1 + \ln \frac{2 \pi L}{d} \Bigr).

L, distances = 0.5, 1 / 2 ** np.arange(2, 7)
print("d         C, charge   C, energy   over L/d   Kirchhoff")
excess = []
for d in distances:
    plus, minus = plates(d)
    pair = between(plus, minus)
    C, by_energy = pair.flux(plus), 2 * pair.energy
    kirchhoff = 1 + d / (np.pi * L) * (1 + np.log(2 * np.pi * L / d))
    print(f"{d:<9g} {C:>9.5f} {by_energy:>11.5f} {C * d / L:>10.4f} {kirchhoff:>11.4f}")
    excess.append(C * d / L - 1)
    assert abs(C - by_energy) < 1e-8 * C
assert np.all(np.diff(excess) < 0) and excess[-1] < 0.1
assert abs(C * d / L - kirchhoff) < 0.01

# %%
# Two plates in one line
# ----------------------
# That charge and energy agree says nothing about the grid: both are made of the same nodal values. So let the
# plates lie in one line, at half the height. Then the potential is symmetric to the line, and the upper half
# of the box is a rectangle with a plate, an insulated gap, a plate and insulated walls around. Jacobi's sn
# maps it onto a half-plane, and back onto a rectangle between two of whose sides the potential is linear.
# With K the complete elliptic integral,
#
# .. math::
#
#    C = \frac{K(k')}{K(k)}, \qquad k = \frac{\operatorname{sn} t_1}{\operatorname{sn} t_2}, \qquad
#    k'^2 = 1 - k^2,
#
# where t₁ and t₂ are (2x − 1) K(1/√2) at the inner and the outer end of the right plate.

inner, outer = 5 / 8, 7 / 8


def sn(x: float) -> float:
    return ellipj((2 * x - 1) * ellipk(0.5), 0.5)[0]


modulus = (sn(inner) / sn(outer)) ** 2
exact = ellipk(1 - modulus) / ellipk(modulus)

# %%
# By Dirichlet's principle the potential has the least energy of all functions with its values at the
# electrodes. The finite elements know some of them, so what they find is too large, on every grid.
#
# A bound from below comes from the field lines. They are lines on which another function is constant, v, the
# conjugate one. It also has Δv = 0, but plates and insulation are exchanged: v is held at 0 in the gap
# between the plates and at 1 on the walls of the upper half and beside the plates, and nothing goes through
# the plates. For the exact functions, in this half,
#
# .. math:: \int |\nabla u|^2 \int |\nabla v|^2 = 1 .
#
# The energy of v is found too large as well, and so a C that is too small.


def strips(n: int) -> tuple[mgnet.Solution, mgnet.Solution, float]:
    """Return the potential, the conjugate function in the upper half, and the charge."""
    x = np.linspace(0, 1, n + 1)
    X, Y = np.meshgrid(x, x, indexing="ij")
    right = (X >= inner) & (X <= outer) & (Y == 0.5)
    u = between(right, right[::-1])
    edge, gap = Y[:, : n // 2 + 1] == 0, np.abs(X[:, : n // 2 + 1] - 0.5)
    beside = edge & (gap >= outer - 0.5)
    held = beside | (edge & (gap <= inner - 0.5)), np.where(beside, 1.0, 0.0)
    sides = dict.fromkeys(("left", "right", "top"), mgnet.Dirichlet(1.0)) | {"bottom": walls}
    grid = {"n": (n, n // 2), "dim": 2, "domain": [(0, 1), (0, 0.5)]}
    return u, mgnet.solve(boundary=sides, fixed=held, **grid), u.flux(right)


sizes = np.array([16, 32, 64, 128, 256])
above, below = np.array([]), np.array([])
print("n     charge       energy       bound below  their mean   exact")
for n in sizes:
    u, v, charge = strips(n)
    above, below = np.append(above, 2 * u.energy), np.append(below, 1 / v.energy)
    mean = np.sqrt(above[-1] * below[-1])
    print(f"{n:<4} {charge:>10.8f} {above[-1]:>12.8f} {below[-1]:>12.8f} {mean:>12.8f} {exact:>12.8f}")
    assert abs(charge - above[-1]) < 1e-8
assert np.all(below < exact) and np.all(exact < above)

# %%
# At the ends of a plate the field is infinite, like one over the root of the distance. So the bounds are only
# of first order. But the two errors are nearly opposite, and the geometric mean of the bounds is of second
# order.

errors = {
    "charge, energy": above / exact - 1,
    "bound below": 1 - below / exact,
    "mean of the two": np.abs(np.sqrt(above * below) / exact - 1),
}
for (name, error), order in zip(errors.items(), (1, 1, 2), strict=True):
    orders = np.log2(error[:-1] / error[1:])
    print(f"{name}: orders {orders.round(2)}")
    assert np.abs(orders[1:] - order).max() < 0.1
assert errors["mean of the two"][-1] < 1e-5

# %%
# The lines of equal u and of equal v cut the box into patches that are all alike, curved squares. Between two
# neighbouring field lines there is the same charge everywhere, so they are dense at the plates' ends.

# sphinx_gallery_thumbnail_number = 2
figure, (ax, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", width_ratios=(1.15, 1))
x, y = u.x
tubes = 12
step = exact / 2 / tubes  # of u, for squares
levels = np.arange(-np.floor(0.5 / step), np.floor(0.5 / step) + 1) * step
colours = ax.pcolormesh(x, y, u.u.T, cmap="RdBu_r", shading="gouraud", rasterized=True)
ax.contour(x, y, u.u.T, levels=levels, colors="0.35", linewidths=0.7, linestyles="solid")
for side in (0.5 + v.x[1], 0.5 - v.x[1]):
    ax.contour(x, side, v.u.T, levels=np.arange(1, tubes) / tubes, colors="k", linewidths=0.9)
for start, end in ((inner, outer), (1 - outer, 1 - inner)):
    ax.plot((start, end), (0.5, 0.5), color="k", linewidth=4, solid_capstyle="butt")
figure.colorbar(colours, ax=ax, label="potential", ticks=(-0.5, 0, 0.5))
ax.set(aspect="equal", xlabel="x", ylabel="y", title="Lines of equal potential, and field lines")
for (name, error), style, order in zip(errors.items(), ("o-", "s--", "^-"), (1, 1, 2), strict=True):
    right.loglog(sizes, error, style, fillstyle="none", label=f"{name}: order {order}")
right.set(title="Relative error of the capacitance", xlabel="cells along a side")
right.set_xticks(sizes, sizes)
right.minorticks_off()
right.grid(alpha=0.3)
right.legend()
figure.suptitle("Two plates in one line")
plt.show()
