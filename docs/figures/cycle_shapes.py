"""The order in which cycles visit the grids, recorded while they run."""

from dataclasses import replace

import matplotlib.pyplot as plt
import torch

import mgnet
from mgnet.multigrid import cycle, full_multigrid

b = torch.ones(1, 1, 31, dtype=torch.float64)
levels = mgnet.Hierarchy(mgnet.Poisson(n=32), method="vcycle", sweeps=(1, 1)).levels


def visits(run):
    """List the levels in the order in which a cycle smooths or solves on them."""
    order = []

    def watched(depth, function):
        def call(*args, **keywords):
            order.append(depth)
            return function(*args, **keywords)

        return call

    run(
        [
            replace(
                level,
                smoother=watched(depth, level.smoother),
                solve=level.solve and watched(depth, level.solve),
            )
            for depth, level in enumerate(levels)
        ]
    )
    return order


runs = {
    "V-cycle": lambda levels: cycle(levels, b, kind="V"),
    "F-cycle": lambda levels: cycle(levels, b, kind="F"),
    "W-cycle": lambda levels: cycle(levels, b, kind="W"),
    "full multigrid": lambda levels: full_multigrid(levels, b),
}
figure, axes = plt.subplots(2, 2, figsize=(8, 4.4), layout="constrained", sharey=True)
for ax, (name, run) in zip(axes.flat, runs.items(), strict=True):
    order = visits(run)
    last = len(levels) - 1
    ax.plot(order, "-", color="0.6", linewidth=1)
    ax.plot([i for i, k in enumerate(order) if k < last], [k for k in order if k < last], "o", label="smooth")
    solved = [i for i, k in enumerate(order) if k == last]
    ax.plot(solved, [last] * len(solved), "s", label="solve")
    cost = sum(0.5**k for k in order)
    ax.set_title(f"{name}: {len(order)} stops, which cost {cost:.1f} fine ones", fontsize="medium")
    ax.set_xticks([])
    ax.set_yticks(range(len(levels)), [f"{level.cells} cells" for level in levels])
axes[0, 0].invert_yaxis()
axes[0, 0].legend()
for ax in axes[1]:
    ax.set_xlabel("time")
