"""What a linear MgNet and a multigrid cycle have on each grid: load, network's features, cycle's vectors."""

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.multigrid import descend

n = 64
x, y = np.meshgrid(*[np.arange(1, n) / n] * 2, indexing="ij")
ring = np.abs(np.hypot(x - 0.36, y - 0.62) - 0.17) < 0.05
square = np.maximum(np.abs(x - 0.72), np.abs(y - 0.3)) < 0.11
noise = np.random.default_rng(0).standard_normal(x.shape)
b = torch.from_numpy(1.0 * ring - square + 0.3 * noise)[None, None] / n**2

network = mgnet.models.mgnet(
    kernels="poisson", linear=True, Pi="zero", dim=2, in_channels=1, image_size=n - 1, nu=[2, 2, 2, 2]
)
features = network.descend(b)

levels = mgnet.Hierarchy(mgnet.Poisson(n=n, dim=2), method="vcycle", smoother="jacobi").levels
vectors, load = [], b
for level in levels[:4]:
    smoothed, coarse_load = descend(level, load, None, sweeps=2)
    vectors.append(smoothed)
    load = coarse_load

figure, axes = plt.subplots(3, 4, figsize=(8, 6.2), layout="constrained")
rows = {
    "data f,\nnetwork": [f for _, f in features],
    "features u,\nnetwork": [u for u, _ in features],
    "x, smoothed\nby the cycle": vectors,
}
for row, (name, images) in zip(axes, rows.items(), strict=True):
    row[0].set_ylabel(name)
    for ax, image in zip(row, images, strict=True):
        most = float(image.abs().max())
        ax.imshow(image[0, 0].numpy().T, origin="lower", cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set(xticks=[], yticks=[])
for ax, (u, f), vector in zip(axes[2], features, vectors, strict=True):
    ax.set_xlabel(f"differs by {float((u - vector).abs().max() / vector.abs().max()):.0e}", fontsize="small")
    axes[0, list(axes[2]).index(ax)].set_title(f"{f.shape[-1]} × {f.shape[-1]} unknowns", fontsize="medium")
plt.show()
