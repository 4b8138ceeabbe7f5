"""The hats on an axis of 13 cells and on the coarser axes that follow from it."""

import matplotlib.pyplot as plt
import numpy as np

from mgnet.operators.axes import Axis

axes = [Axis(13, 1.0, ("natural", "natural"))]
while axes[-1].coarsens:
    axes.append(axes[-1].coarse)

figure, rows = plt.subplots(len(axes), figsize=(8, 3.8), sharex=True, layout="constrained")
for ax, axis in zip(rows, axes, strict=True):
    x = np.concatenate(([0.0], np.cumsum(axis.widths)))
    for hat in np.eye(len(x)):
        ax.plot(x, hat, color="tab:blue", linewidth=1)
    ax.axvspan(
        x[-2], x[-1], facecolor="tab:orange", alpha=0.3, hatch="//", edgecolor="tab:orange", linewidth=0
    )
    ax.plot(x, 0 * x, "k.-", markersize=7, linewidth=1, clip_on=False, zorder=3)
    ax.set_title(f"{axis.cells} cells, r = {axis.widest / axis.h:g}", fontsize="medium", loc="left")
    ax.set_ylabel("hat")
    ax.set_yticks([0, 1])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0)
rows[-1].set_xticks([0, 2, 4, 6, 8, 10, 12, 13])
rows[-1].set_xlabel("x, in widths of a fine cell")
plt.show()
