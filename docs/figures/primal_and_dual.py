"""The same function and the same load on two grids: values stay, loads halve."""

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.poisson import assembly

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained", sharex=True)
for n, marker, colour in ((8, "o", "tab:blue"), (16, "x", "tab:orange")):
    problem = mgnet.Poisson(lambda x: np.pi**2 * np.sin(np.pi * x), n=n)
    load = assembly.load(problem, torch.float64, torch.device("cpu")).b
    u = mgnet.Hierarchy(problem).solve(load).u
    x = problem.grid.x
    axes[0].plot(x, u, marker=marker, color=colour, linestyle="none", label=f"{n} cells")
    axes[1].vlines(x[1:-1], 0, load, color=colour, linewidth=1)
    axes[1].plot(x[1:-1], load, marker=marker, color=colour, linestyle="none", label=f"{n} cells")
axes[0].set(title="primal: u at the nodes stays", xlabel="x", ylabel="value")
axes[1].set(title="dual: b on the hats halves", xlabel="x", ylabel="load")
axes[1].set_ylim(bottom=0)
for ax in axes:
    ax.legend()
