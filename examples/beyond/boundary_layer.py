r"""
A boundary layer
================

Water flows through a duct that is filled with sand, as fast everywhere as the sand lets it, except at the
walls, where it sticks. The layer in which it comes to rest may be ten thousand times thinner than the duct is
wide. With the same number of cells, nodes that crowd at the walls [1]_ find the flow and the drag, and equal
ones do not.

Of the duct's square one quarter is enough, with walls at x = 0 and y = 0. Brinkman's equation for the speed u
is :eq:`strong-form-box` with a small coefficient,

.. math:: -\varepsilon^2 \Delta u + u = f, \qquad u = (1 - E(x))\,(1 - E(y)), \quad
   E(s) = \frac{\cosh((1 - s)/\varepsilon)}{\cosh(1/\varepsilon)},

with the layer's thickness ε. This u solves it for f = 1 − E(x) E(y), a drop of pressure that is the same
everywhere but in the corner; at x = 1 and y = 1 it is symmetric.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/jumps`

.. [1] H.-G. Roos, M. Stynes, L. Tobiska, Robust Numerical Methods for Singularly Perturbed Differential
   Equations, Springer, 2nd edition 2008.
"""

# %%
# Two grids
# ---------
# Half of the nodes of each axis go into the layer, where E falls like exp(−x/ε). They are placed so that
# exp(−x/2ε) falls by the same amount from node to node, from 1 to 1/n; the other half is spread over the rest
# of the duct. One array of nodes for each axis makes the grid.

import matplotlib.pyplot as plt
import numpy as np

import mgnet


def equal(n: int, eps: float) -> np.ndarray:
    return np.linspace(0, 1, n + 1)


def graded(n: int, eps: float) -> np.ndarray:
    near = -2 * eps * np.log(np.linspace(1, 1 / n, n // 2 + 1))
    return np.append(near[:-1], np.linspace(near[-1], 1, n // 2 + 1))


def layer(s: np.ndarray, eps: float) -> np.ndarray:
    """Return E, by exponentials that do not overflow."""
    return (np.exp(-s / eps) + np.exp(-(2 - s) / eps)) / (1 + np.exp(-2 / eps))


def flow(nodes: np.ndarray, eps: float) -> mgnet.Solution:
    wall, middle = mgnet.Dirichlet(0.0), mgnet.Neumann()
    E = layer(nodes, eps)
    return mgnet.solve(
        1 - np.outer(E, E),
        dim=2,
        nodes=(nodes, nodes),
        a=eps**2,
        c=1.0,
        boundary={"left": wall, "bottom": wall, "right": middle, "top": middle},
    )


# %%
# A layer that can be seen, of a fiftieth of the quarter, on 32 × 32 cells. In the graded grid cells are flat
# at one wall, tall at the other, small and square in the corner.

eps, n = 0.02, 32
figure, axes = plt.subplots(1, 4, figsize=(12, 3.5), layout="constrained", width_ratios=(1, 1, 1, 1.1))
for ax, (name, grid) in zip(axes, {"equal": equal, "graded": graded}.items(), strict=False):
    sol = flow(grid(n, eps), eps)
    for view in (ax, axes[2]) if grid is graded else (ax,):
        image = view.pcolormesh(*sol.x, sol.u.T, shading="gouraud", cmap="viridis", vmin=0, vmax=1)
        lines = {"colors": "black", "alpha": 0.5, "linewidth": 0.3}
        view.vlines(sol.x[0], 0, 1, **lines)
        view.hlines(sol.x[1], 0, 1, **lines)
        view.set(title=f"{name} nodes", xlabel="x", ylabel="y", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[3].plot(sol.x[0], sol.u[:, -1], ".-", label=name, linewidth=1)
corner = {"xlim": (0, 5 * eps), "ylim": (0, 5 * eps), "xticks": [0, 0.05, 0.1], "yticks": [0, 0.05, 0.1]}
axes[2].set(title="the corner of these", **corner)
s = np.linspace(0, 10 * eps, 501)
axes[3].plot(s, 1 - layer(s, eps), "k--", linewidth=1, label="exact")
axes[3].set(title="speed at y = 1", xlabel="x", ylabel="u", xlim=(0, 8 * eps))
axes[3].legend()
figure.colorbar(image, ax=axes[:3], label="u", location="bottom", shrink=0.3, aspect=30)
figure.suptitle(f"The flow in a quarter of a duct with a layer of {eps} at its walls, on {n} × {n} cells")
plt.show()

# %%
# The whole function, and the drag
# --------------------------------
# The error is looked for between the nodes too, on a grid four times as fine that goes to the walls. And the
# wall holds the water back: the drag on the wall x = 0 is what the flux through this side takes away,
#
# .. math:: \int_0^1 \varepsilon^2 \frac{\partial u}{\partial x}(0, y)\, \mathrm{d}y
#    = \varepsilon T\, (1 - \varepsilon T), \qquad T = \tanh(1/\varepsilon) .


def errors(nodes: np.ndarray, eps: float) -> tuple[float, float, float]:
    """Return the largest error anywhere and at the nodes, and the relative error of the drag."""
    sol = flow(nodes, eps)
    assert sol.iterations <= 10
    fine = graded(4 * len(nodes) - 4, eps)
    at_nodes, between = (np.outer(v, v) for v in (1 - layer(x, eps) for x in (nodes, fine)))
    T = np.tanh(1 / eps)
    return (
        np.abs(sol(fine[:, None], fine) - between).max(),
        np.abs(sol.u - at_nodes).max(),
        np.abs(-sol.flux("left") / (eps * T * (1 - eps * T)) - 1),
    )


# %%
# Now the layer is thin, and the longest side of a cell is ten thousand times its shortest. On the graded grid
# everything is of order 2. On the equal one the speed at the nodes is right to four digits, and nothing else
# is: there is a straight line where the layer should be, and the drag is the pressure of half a cell, h/2
# instead of ε.

thin, sizes = 5e-5, np.array([32, 64, 128])
widths = np.diff(graded(64, thin))
print(f"cells with sides of 1 to {widths.max() / widths.min():.0f}")
assert widths.max() / widths.min() > 0.9e4

found = {grid.__name__: np.array([errors(grid(n, thin), thin) for n in sizes]) for grid in (equal, graded)}
for name, table in found.items():
    print(f"{name:>7}   n   anywhere   at nodes       drag")
    for n, row in zip(sizes, table, strict=True):
        print(f"{n:>11}" + "".join(f"{error:>11.1e}" for error in row))
orders = np.log2(found["graded"][:-1] / found["graded"][1:])
print("orders on the graded grid:", *orders.round(2))
assert np.abs(orders - 2).max() < 0.15
assert found["graded"].max() < 5e-3
assert found["equal"][:, 0].min() > 0.9
assert found["equal"][:, 1].max() < 1e-4
assert np.abs(found["equal"][:, 2] * thin * 2 * sizes - 1).max() < 0.05

# %%
# Any thickness
# -------------
# What the graded grid misses does not depend on ε, and nor does the number of iterations, which ``errors``
# asserts. The equal grid comes near to it only where its cells are narrower than the layer.

thicknesses = np.logspace(-1.3, -6, 12)
table = {grid: np.array([errors(grid(64, eps), eps) for eps in thicknesses]) for grid in (equal, graded)}
assert table[graded].max() < 2e-3
assert (table[equal][:, 0] > 10 * table[graded][:, 0]).all()

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9), layout="constrained", sharey=True)
for colour, grid in (("C0", equal), ("C1", graded)):
    for style, which, column in (("o-", "u", 0), ("s--", "drag", 2)):
        label = f"{which}, {grid.__name__} nodes"
        left.loglog(sizes, found[grid.__name__][:, column], style, color=colour, label=label)
        right.loglog(thicknesses, table[grid][:, column], style, color=colour)
left.loglog(sizes, 8 / sizes**2.0, ":", color="0.4", label="order 2")
left.set_xticks(sizes, sizes)
left.minorticks_off()
left.set(title=f"ε = {thin:g}", xlabel="cells along each axis, n", ylabel="error")
right.set(title="n = 64", xlabel="thickness of the layer, ε")
right.axvline(1 / 64, color="0.6", linewidth=0.8)
right.text(1 / 64, 5e-3, "ε = h ", color="0.4", ha="right")
figure.legend(*left.get_legend_handles_labels(), loc="outside right center")
for ax in (left, right):
    ax.grid(alpha=0.3)
figure.suptitle("Graded nodes: order 2, whatever the thickness. Equal nodes: no layer, and the wrong drag")
# sphinx_gallery_thumbnail_number = 1
plt.show()
