"""A coarse hat as a combination of fine hats, for one level and for two levels at once."""

import matplotlib.pyplot as plt
import numpy as np

from mgnet.stencils import hat

figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
for ax, m in zip(axes, (2, 4), strict=True):
    nodes = np.arange(-m - 1, m + 2)
    for node, weight in zip(range(1 - m, m), hat(m), strict=True):
        ax.plot(nodes, weight * (nodes == node), "--", color="tab:blue", linewidth=1)
        shift = 0.35 * m / 2 * np.sign(node)  # beside the line
        ax.text(node + shift, weight + 0.05, f"{weight:g}", ha="center", color="tab:blue")
    ax.plot(nodes, np.interp(nodes, [-m, 0, m], [0, 1, 0]), "-", color="tab:orange", linewidth=2)
    ax.plot(nodes, 0 * nodes, "k.", markersize=5)
    ax.plot(nodes[nodes % m == 0], 0 * nodes[nodes % m == 0], "ks", markersize=7, fillstyle="none")
    ax.set(xlabel="fine nodes (coarse ones in squares)", xticks=nodes, ylim=(-0.1, 1.25))
axes[0].set(title="a coarse hat is three fine ones: ½, 1, ½", ylabel="value")
axes[1].set_title("four times as wide: seven weights")
