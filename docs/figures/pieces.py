"""A coast, a river and an island: the cells that are the domain, and the heads in them."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from scipy.ndimage import label

import mgnet

N = 96
x = (np.arange(N) + 0.5) / N
X, Y = np.meshgrid(x, x, indexing="ij")
shore = 0.68 + 0.05 * np.sin(9 * Y) + 0.04 * np.cos(23 * Y + 1)
island = ((X - 0.88) / 0.08) ** 2 + ((Y - 0.42 - 0.1 * np.sin(9 * X)) / 0.2) ** 2 < 1
lake = ((X - 0.2) / 0.12) ** 2 + ((Y - 0.7) / 0.09) ** 2 < 1
cells = ((shore > X) & ~lake) | island

# The river is held at its level, which falls towards the sea.
nodes = np.linspace(0, 1, N + 1)
P, Q = np.meshgrid(nodes, nodes, indexing="ij")
river = (np.abs(Q - 0.3 - 0.08 * np.sin(7 * P)) < 0.5 / N) & (P < 0.66)

# Rain, and a well on either side of the water.
rain = np.ones((N, N))
for i, j in ((40, 80), (84, 38)):
    rain[i, j] -= 0.02 * N**2
heads = mgnet.solve(
    rain,
    dim=2,
    cells=cells,
    fixed=(river, lambda x, y: 0.1 * (0.66 - x)),
    boundary=mgnet.Neumann(),
    compatible="project",
)

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.9), layout="constrained", sharey=True)
pieces, count = label(cells, np.ones((3, 3)))
shown = np.ma.masked_equal(pieces, 0)
left.pcolormesh(nodes, nodes, shown.T, cmap=ListedColormap(["#cfe3c8", "#f2c288"][:count]))
left.plot(P[river], Q[river], "o", color="tab:blue", markersize=1.5)
for text, place in {
    "held by the river": (0.3, 0.5),
    "nothing\nholds it": (0.88, 0.52),
    "no cells": (0.2, 0.7),
}.items():
    left.text(*place, text, ha="center", va="center", fontsize="small")
left.set(title="two pieces, and nodes that are held", xlabel="x", ylabel="y", aspect="equal")

top = right.contourf(nodes, nodes, heads.u.T, 24)
right.contour(nodes, nodes, heads.u.T, 24, colors="k", linewidths=0.3)
right.set(title=f"heads: {heads.iterations} cycles", xlabel="x", aspect="equal")
figure.colorbar(top, ax=right)
plt.show()
