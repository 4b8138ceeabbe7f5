"""Two uses of one set of operators: kernels that are given solve, kernels that are learned classify."""

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet import stencils

torch.manual_seed(0)

# Given: the kernels of -Δ and of the restriction, and a plate whose disc conducts a hundred times better.
K, M, hat = stencils.stiffness(), stencils.mass(), stencils.hat()
given = {"A": stencils.tensor(K, M) + stencils.tensor(M, K), "R": stencils.tensor(hat, hat)}
middle = (np.arange(128) + 0.5) / 128
disc = (middle[:, None] - 0.4) ** 2 + (middle - 0.5) ** 2 < 0.25**2
sides = {
    "left": mgnet.Dirichlet(1.0),
    "right": mgnet.Robin(5.0, 0.0),
    "bottom": mgnet.Neumann(0.0),
    "top": mgnet.Neumann(lambda x, y: 2.0 * (x > 0.5)),
}
plate = mgnet.solve(n=128, dim=2, a=np.where(disc, 100.0, 1.0), boundary=sides)

# Learned: a small network, a few thousand images, two epochs.
data = mgnet.data.synthetic(train=6000, validation=200, test=500)
model = mgnet.models.create("net")
history = mgnet.fit(model, data, epochs=2, progress=False)
learned = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d)).weight.detach().mean(1).numpy()
chosen = [int((data.test.labels == k).nonzero()[0]) for k in (1, 2, 3, 4, 6, 7, 8, 9)]
names = [data.classes[k] for k in mgnet.predict(model, data.test.subset(chosen)).argmax(1)]

figure = plt.figure(figsize=(9, 6.2), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(1.45, 1))
above.suptitle("Kernels that hat functions dictate solve Poisson's equation")
below.suptitle(f"Learned kernels classify images: {history.test_accuracy:.1%} of 500 after two epochs")

left, right = above.subfigures(1, 2, width_ratios=(1, 1))
for ax, (name, kernel) in zip(left.subplots(1, 2), given.items(), strict=True):
    ax.imshow(kernel, cmap="RdBu_r", vmin=-abs(kernel).max(), vmax=abs(kernel).max())
    for (i, j), value in np.ndenumerate(kernel):
        dark = abs(value) > 0.6 * abs(kernel).max()
        ax.text(j, i, f"{value:.2g}", ha="center", va="center", color="white" if dark else "black")
    ax.set(title={"A": "stiffness A", "R": "restriction R"}[name], xticks=[], yticks=[])
ax = right.subplots()
filled = ax.contourf(*plate.x, plate.u.T, 16, cmap="viridis")
ax.contour(*plate.x, plate.u.T, 16, colors="black", linewidths=0.4)
ax.add_patch(plt.Circle((0.4, 0.5), 0.25, fill=False, color="white", linestyle="--", linewidth=1.5))
ax.set(title="temperature of a plate\nthe disc conducts 100 times better", aspect="equal")
ax.set(xlabel="x", ylabel="y")
right.colorbar(filled, ax=ax, label="temperature")

left, right = below.subfigures(1, 2, width_ratios=(1, 1.5))
left.supxlabel("first layer of a network: 5 × 5 kernels", fontsize="medium")
bound = abs(learned).max()
for ax, kernel in zip(left.subplots(2, 3).flat, learned, strict=True):
    ax.imshow(kernel, cmap="RdBu_r", vmin=-bound, vmax=bound)
    ax.set(xticks=[], yticks=[])
for ax, index, name in zip(right.subplots(2, 4).flat, chosen, names, strict=True):
    ax.imshow(data.test.images[index].permute(1, 2, 0).numpy())
    ax.set(xticks=[], yticks=[])
    ax.set_title(name, fontsize="medium")
plt.show()
