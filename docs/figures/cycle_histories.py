"""The error after each cycle: on three grids, and by four methods on one."""

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.multigrid import ConjugateGradients


def errors(n, steps=10, method="vcycle", **options):
    """Give the largest nodal value of a random error before and after each cycle."""
    hierarchy = mgnet.Hierarchy(mgnet.Poisson(n=n), method=method, **options)
    step = ConjugateGradients(hierarchy.A, hierarchy.cycle) if method == "pcg" else hierarchy.cycle
    e = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, n - 1)))
    sizes = [float(e.abs().max())]
    for _ in range(steps):
        e = e + step(-hierarchy.A(e))
        sizes.append(float(e.abs().max()))
    return np.array(sizes) / sizes[0]


figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", sharey=True)
for n, style in ((64, "o-"), (1024, "s--"), (16384, "^:")):
    axes[0].semilogy(errors(n), style, fillstyle="none", label=f"V-cycle, n = {n}")
smoothing = errors(64, levels=1, coarse="smoother", omega=2 / 3)
axes[0].semilogy(smoothing, "k-.", label="50 sweeps instead, n = 64")
kinds = {
    "V-cycle": ("o-", {}),
    "F-cycle": ("s--", {"method": "fcycle"}),
    "conjugate gradients": ("^:", {"method": "pcg"}),
    "V-cycle, red-black": ("D-.", {"smoother": "red-black"}),
}
for name, (style, options) in kinds.items():
    axes[1].semilogy(errors(1024, **options), style, fillstyle="none", label=name)
axes[0].set(title="the same on every grid", xlabel="cycles", ylabel="error", ylim=(1e-15, 3))
axes[1].set(title="other cycles, n = 1024", xlabel="cycles")
for ax in axes:
    ax.legend(fontsize="small")
