"""The four parts of a function on a square cell, each with its eigenvalue of the cell's matrix."""

import matplotlib.pyplot as plt
import numpy as np

from mgnet import stencils

E, t = stencils.element((1.0, 1.0)), np.linspace(-1, 1, 65)
names = {
    "mean": (0, 0),
    "difference along x": (1, 0),
    "difference along y": (0, 1),
    "of both: twist": (1, 1),
}
figure, axes = plt.subplots(1, 4, figsize=(8, 2.6), layout="constrained")
for ax, (name, flags) in zip(axes, names.items(), strict=True):
    field = np.multiply.outer(*(t**flag for flag in flags))
    corners = field[::64, ::64]
    value = corners.ravel() @ E @ corners.ravel() / 4
    ax.imshow(field.T, origin="lower", cmap="RdBu_r", vmin=-1.3, vmax=1.3, extent=(0, 1, 0, 1))
    for (i, j), sign in np.ndenumerate(corners):
        place = 0.12 + 0.76 * i, 0.12 + 0.76 * j
        ax.text(*place, "+" if sign > 0 else "−", ha="center", va="center", fontsize="large")
    ax.set_title(name, fontsize="medium")
    ax.set_xlabel(f"x\neigenvalue {round(value, 3):g}")
    ax.set_ylabel("y", rotation=0)
    ax.set_xticks([])
    ax.set_yticks([])
plt.show()
