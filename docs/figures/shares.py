"""What each level adds to the solution, from the coarsest to the finest."""

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.poisson import assembly

problem = mgnet.Poisson(lambda x: 40 * np.exp(-40 * (x - 0.35) ** 2), n=16)
load = assembly.load(problem, torch.float64, torch.device("cpu")).b
levels = mgnet.Hierarchy(problem, method="vcycle").levels
x = problem.grid.x

shares, b = [], load[None, None]
for depth, level in enumerate(levels):
    new = torch.zeros_like(b)
    new[..., ::2] = b[..., ::2] / level.A.diagonal(level.unknowns)[::2]
    for finer in reversed(levels[:depth]):
        new = finer.P(new)
    shares.append(np.pad(new[0, 0], 1))
    b = level.R(b) if level.R else None

figure, axes = plt.subplots(2, len(levels), figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
exact, total = mgnet.solve(problem.f, n=16).u, np.zeros(17)
for (top, bottom), share, level in zip(axes.T, reversed(shares), reversed(levels), strict=True):
    nodes = np.arange(0, 17, 16 // level.cells)
    top.plot(x, share, "-", color="tab:blue")
    top.plot(x[nodes[1::2]], share[nodes[1::2]], "o", color="tab:blue")
    top.set_title(f"{level.cells} cells: new nodes", fontsize="medium")
    total = total + share
    bottom.plot(x, exact, "k:", label="solution")
    bottom.plot(x[nodes], total[nodes], ".-", color="tab:orange", label="sum so far")
    bottom.set_xlabel("x")
assert abs(total - exact).max() < 1e-14
axes[0, 0].set_ylabel("share of the level")
axes[1, 0].set_ylabel("sum")
axes[1, 0].legend(fontsize="small", loc="lower center")
axes[0, 0].set_ylim(-0.1, 1.15 * abs(exact).max())
