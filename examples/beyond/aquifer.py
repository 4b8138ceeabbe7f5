r"""
Groundwater: where does the water of a well come from?
======================================================

A confined aquifer between hills and the sea: rivers that cut into it, outcrops of bedrock where it is
missing, a transmissivity that varies by a factor of a thousand, and wells. One call gives the heads. They are
compared with those of an assembly of our own, the water is counted, and in the end the question is answered.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/boxes`

The head u, the height to which water rises in a pipe, solves :eq:`strong-form-box` with c = 0,

.. math:: -\nabla \cdot (T \nabla u) = R + \sum_k q_k\, \delta(x - x_k),

where T is the transmissivity in m²/d, R the recharge by rain in m/d, and q the water in m³/d that a well puts
in; it is negative where one is pumped. The data are made up, not measured.
"""

# %%
# The land
# --------
# Twelve by eight kilometres in cells of 50 m. The sea and the outcrops are cells that are not in the domain.
# Nothing flows through the border of an outcrop, nor through the sides of the map, which are divides.

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
from matplotlib.colors import ListedColormap, LogNorm
from scipy.ndimage import gaussian_filter
from scipy.sparse.linalg import spsolve

import mgnet

h, shape = 50.0, (240, 160)
nodes = tuple(n + 1 for n in shape)
x, y = (h * (np.arange(n) + 0.5) / 1000 for n in shape)  # middles of the cells, in km
X, Y = np.meshgrid(x, y, indexing="ij")


def ellipse(x: float, y: float, long: float, short: float, turn: float) -> np.ndarray:
    z = (X - x + 1j * (Y - y)) * np.exp(-1j * np.deg2rad(turn))
    return (z.real / long) ** 2 + (z.imag / short) ** 2 < 1


sea = X > 10.7 + 0.35 * np.sin(1.1 * Y + 0.5) + 0.15 * np.sin(2.9 * Y)
rock = ellipse(3.0, 6.4, 1.1, 0.45, 25) | ellipse(7.6, 1.7, 0.75, 0.45, -40) | ellipse(7.9, 6.6, 0.5, 0.3, 60)
active = ~sea & ~rock

# %%
# The transmissivity has one value per cell: smooth noise in its logarithm, and a buried valley of gravel that
# conducts ten times as well.

noise = gaussian_filter(np.random.default_rng(7).normal(size=shape), 9, mode="reflect")
gravel = np.exp(-(((Y - 5.6 + 0.2 * X - 0.3 * np.sin(1.3 * X)) / 0.4) ** 2))
T = 10 ** (2 + 0.45 * noise / noise.std() + gravel)
print(f"transmissivity {T[active].min():.1f} to {T[active].max():.0f} m²/d")
assert T[active].max() > 1000 * T[active].min()

# %%
# The coast and the rivers hold the head. A river is a line of nodes, and the head there is the height of its
# water, which falls towards the mouth.

level = np.zeros(nodes)  # of the water, in m


def touched(cells: np.ndarray) -> np.ndarray:
    """Return which nodes are corners of some cells."""
    padded = np.pad(cells, 1)
    return padded[1:, 1:] | padded[1:, :-1] | padded[:-1, 1:] | padded[:-1, :-1]


def course(line: np.ndarray, source: float, mouth: float) -> np.ndarray:
    """Let the water fall along a line, in km, and return which nodes it is."""
    mask, at = np.zeros(nodes, dtype=bool), tuple(np.rint(1000 * line / h).astype(int))
    mask[at], level[at] = True, np.linspace(source, mouth, line.shape[1])
    return mask


t, present = np.linspace(0, 1, 1000), touched(active)
lines = {
    "brook": np.stack([3.2 + 2.3 * t, 3.0 * t - 0.25 * np.sin(2 * np.pi * t)]),
    "river": np.stack([10.35 * t, 3.9 + 0.45 * np.sin(8.5 * t) - 0.85 * t]),
}
brook, river = course(lines["brook"], 26.0, 12.0), course(lines["river"], 24.0, 0.0)
coast = touched(sea) & present
level[coast] = 0
waters = {"brook": brook & ~river, "river": river & present & ~coast, "sea": coast}
held = np.any(list(waters.values()), axis=0)

# %%
# Four wells, and a map of it all.

places = np.array([[2230.0, 4840.0], [4770.0, 4790.0], [9230.0, 6110.0], [6480.0, 1290.0]])  # in m
pumped = np.array([4000.0, 5000.0, 2500.0, 1500.0])  # m³/d
km = [np.linspace(0, h * n / 1000, n + 1) for n in shape]


def chart(ax: plt.Axes, title: str) -> None:
    """Draw sea, bedrock, rivers and wells."""
    ax.contourf(x, y, sea.T, levels=[0.5, 1.5], colors="#cfe3f2", zorder=4)
    with plt.rc_context({"hatch.linewidth": 0.5}):
        ax.contourf(x, y, rock.T, levels=[0.5, 1.5], colors="0.75", hatches=["xxx"], zorder=1)
    ax.contour(x, y, active.T, levels=[0.5], colors="0.2", linewidths=0.8, zorder=4)
    for line in lines.values():
        ax.plot(*line, color="white", linewidth=3.6, zorder=3)
        ax.plot(*line, color="#1f6fd6", linewidth=2, zorder=3)
    ax.scatter(*places.T / 1000, s=pumped / 60, color="#e8402a", edgecolors="white", zorder=5)
    ax.set(aspect="equal", xlim=(0, 12), ylim=(0, 8), xlabel="x (km)", ylabel="y (km)", title=title)


figure, ax = plt.subplots(figsize=(8, 4.8), layout="constrained")
chart(ax, "Transmissivity, rivers (blue), wells (red) and bedrock (hatched)")
colours = ax.pcolormesh(*km, np.where(active, T, np.nan).T, norm=LogNorm(1, 1e4), cmap="YlOrBr", zorder=0)
figure.colorbar(colours, ax=ax, label="T (m²/d)")
plt.show()

# %%
# Heads
# -----
# A well is a point, and no node: ``load`` gives its water to the hats there, :eq:`point-load`. The strengths
# have two rows, without and with pumping, so there are two loads, which share their grids. ``cells`` says
# what the domain is, ``fixed`` which nodes are held at which heads.

rain = 4e-4  # m/d
land = {
    "dim": 2,
    "domain": [(0.0, h * n) for n in shape],
    "a": T,
    "cells": active,
    "fixed": (held, level),
    "boundary": mgnet.Neumann(),
}
b = mgnet.load(mgnet.Poisson(rain, **land), points=(places, np.stack([0 * pumped, -pumped])))
sol = mgnet.solve(b=b, **land)
print(sol)
assert sol.iterations < 25
assert np.array_equal(np.isnan(sol.u[0]), ~present)

# %%
# Against SciPy
# -------------
# The same hats without mgnet. On square cells the matrix E of a cell does not depend on h, so an entry of A
# is a sum of entries of E times T; rain goes to the corners of a cell in equal parts, and a well by its hats.


def by_hand(pumped: np.ndarray) -> np.ndarray:
    number = np.arange(np.prod(nodes)).reshape(nodes)
    corners = np.stack([number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]], axis=-1)
    k, m = np.array([[1, -1], [-1, 1]]), np.array([[2, 1], [1, 2]]) / 6
    E = np.kron(k, m) + np.kron(m, k)
    inside = corners[active]  # one row of four nodes for each cell
    rows, columns = (
        np.broadcast_to(each, (len(inside), 4, 4)) for each in (inside[:, :, None], inside[:, None])
    )
    entries = T[active][:, None, None] * E
    A = sp.coo_array((entries.ravel(), (rows.ravel(), columns.ravel())), (number.size, number.size)).tocsr()
    b = rain * h**2 / 4 * np.bincount(inside.ravel(), minlength=number.size)
    for place, q in zip(places, pumped, strict=True):
        (i, j), (s, t) = (place // h).astype(int), place / h % 1
        b[corners[i, j]] -= q * np.array([(1 - s) * (1 - t), (1 - s) * t, s * (1 - t), s * t])
    u = np.where(held, level, 0.0).ravel()
    free = np.flatnonzero(present & ~held)
    u[free] = spsolve(A[free][:, free], (b - A @ u)[free])
    return u.reshape(nodes)


for u, q in zip(sol.u, (0 * pumped, pumped), strict=True):
    difference = np.abs(u - by_hand(q))[present].max()
    print(f"heads up to {u[present].max():.2f} m, largest difference from SciPy {difference:.1e} m")
    assert difference < 1e-7

# %%
# Every drop
# ----------
# ``sol.flux(mask)`` is what comes in at some of the nodes that are held: negative, where a river gains water
# from the ground. These are residuals, :eq:`boundary-flux`, so with rain and wells all sum to zero.

flows = {name: sol.flux(mask) for name, mask in waters.items()}
flows["rain"] = np.full(2, rain * h**2 * active.sum())
flows["wells"] = np.array([0.0, -pumped.sum()])
print("comes in, m³/d   at rest   pumped   change")
for name, (before, after) in flows.items():
    print(f"{name:<15} {before:>8.0f} {after:>8.0f} {after - before:>8.0f}")

# %%
# What the pumps take, the waters go without. What misses of the balance is what the iteration has left at the
# nodes that are not held; with these too it is exact to rounding.

change = {name: flows[name][1] - flows[name][0] for name in waters}
assert abs(sum(change.values()) - pumped.sum()) < 1e-8 * pumped.sum()
defect = np.abs(sum(flows.values())).max()
everywhere = np.abs(sol.flux(present) + flows["rain"] + flows["wells"]).max()
print(f"defect {defect:.1e} m³/d at the waters, {everywhere:.1e} m³/d with all nodes")
assert defect < 1e-9 * flows["rain"][0]
assert everywhere < 1e-12 * flows["rain"][0]

# %%
# The map
# -------
# The flow −T ∇u in the middles of the cells, drawn as lines with arrows. It goes from the hills to the
# waters, around the outcrops, and into the wells.

flow = -T[..., None] * sol.derivative(1000 * X, 1000 * Y)[1]
flow[~active] = np.nan
pale = ListedColormap(plt.get_cmap("viridis")(np.linspace(0.25, 1, 256)))

# sphinx_gallery_thumbnail_number = 2
figure, ax = plt.subplots(figsize=(10, 5.9), layout="constrained")
chart(ax, "Heads of the pumped aquifer, and where its water flows")
levels = np.arange(np.floor(np.nanmin(sol.u[1]) / 2), np.ceil(np.nanmax(sol.u[1]) / 2) + 1) * 2
colours = ax.contourf(*km, sol.u[1].T, levels=levels, cmap=pale, zorder=0)
ax.contour(*km, sol.u[1].T, levels=levels, colors="white", linewidths=0.5, zorder=0)
ax.streamplot(x, y, flow[..., 0].T, flow[..., 1].T, color="k", linewidth=0.6, density=1.8, arrowsize=0.8)
figure.colorbar(colours, ax=ax, label="head (m)")
plt.show()

# %%
# Who pays
# --------
# Drawdown is the difference of the two rows. It is nowhere negative, and it ends at waters that hold the
# head: beyond brook and river nobody notices the wells.

drawdown = sol.u[0] - sol.u[1]
assert drawdown[present].min() > -1e-8
beyond = np.nanmax(drawdown[: int(2000 / h), : int(3000 / h)])
print(f"drawdown up to {np.nanmax(drawdown):.1f} m, in the southwest {beyond:.3f} m")
assert beyond < 0.001 * np.nanmax(drawdown)

figure, (ax, bars) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", width_ratios=(3, 1))
chart(ax, "Drawdown, and who pays for it")
levels = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 40]
shades = plt.get_cmap("Purples")(np.linspace(0, 1, len(levels) - 1))
colours = ax.contourf(*km, drawdown.T, levels=levels, colors=shades, zorder=0)
figure.colorbar(colours, ax=ax, label="drawdown (m)", format="%g")
bars.bar(list(change), [100 * each / pumped.sum() for each in change.values()], color="#1f6fd6")
bars.set(title="comes out of", ylabel="% of what is pumped")
plt.show()
