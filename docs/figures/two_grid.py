"""An error in the four stages of a two-grid step, and its sine waves."""

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet

n = 32
fine, coarse = mgnet.Hierarchy(mgnet.Poisson(n=n), method="vcycle", levels=2).levels
x = torch.linspace(0, 1, n + 1, dtype=torch.float64)
waves = torch.sin(torch.pi * torch.outer(torch.arange(1, n), x[1:-1]))

zero = torch.zeros(1, 1, n - 1, dtype=torch.float64)
rough = 0.25 * torch.randn(n - 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
error = (0.8 * waves[0] + 0.3 * waves[2] + rough)[None, None]
stages = {"before": error}
error = fine.smoother(fine.A, error, zero, 2)
stages["two sweeps"] = error
error = error + fine.P(coarse.solve(fine.R(zero - fine.A(error))))
stages["coarse correction"] = error
stages["two sweeps more"] = fine.smoother(fine.A, error, zero, 2, post=True)

figure, axes = plt.subplots(2, 4, figsize=(9, 4.2), layout="constrained", sharex="row", sharey="row")
for (name, e), (top, bottom) in zip(stages.items(), axes.T, strict=True):
    top.plot(x, np.pad(e[0, 0], 1), ".-", markersize=4, linewidth=1)
    top.axhline(0, color="k", linewidth=0.5)
    top.set(title=name, xlabel=f"x;  largest {e.abs().max():.3f}")
    size = (2 / n * waves @ e[0, 0]).abs().numpy()
    smooth = np.arange(1, n) < n / 2
    bottom.bar(np.arange(1, n)[smooth], size[smooth], label="smooth")
    bottom.bar(np.arange(1, n)[~smooth], size[~smooth], hatch="////", edgecolor="w", label="rough")
    bottom.set(xlabel="half waves k", yscale="log", ylim=(1e-4, 40))
axes[0, 0].set_ylabel("error")
axes[1, 0].set_ylabel("size of each wave")
axes[1, 0].legend(fontsize="small")
