"""Convolutions of one small vector as matrices."""

import matplotlib.pyplot as plt
import numpy as np

import mgnet

kernel = [1.0, 2.0, 3.0]
operators = {
    "stride 1, no zeros outside": mgnet.Stencil(kernel, 1, "valid"),
    "stride 1, zeros outside": mgnet.Stencil(kernel, 1, "same"),
    "stride 2, zeros outside": mgnet.Stencil(kernel, 2, "same"),
    "its transpose": mgnet.Stencil(kernel, 2, "same").T,
}
figure, axes = plt.subplots(1, 4, figsize=(9, 3.2), layout="constrained", width_ratios=(7, 7, 7, 4))
for ax, (name, operator) in zip(axes, operators.items(), strict=True):
    size = 4 if name == "its transpose" else 7
    matrix = operator.to_dense(size).numpy()
    ax.imshow(np.where(matrix == 0, np.nan, matrix), cmap="viridis", vmin=-2, vmax=4)
    for (i, j), value in np.ndenumerate(matrix):
        if value:
            ax.text(j, i, f"{value:.0f}", ha="center", va="center", color="white" if value < 3 else "black")
    rows, columns = matrix.shape
    ax.set_xticks(np.arange(columns + 1) - 0.5, [])
    ax.set_yticks(np.arange(rows + 1) - 0.5, [])
    ax.grid(color="0.8")
    ax.tick_params(length=0)
    ax.set_xlabel(f"{columns} inputs")
    ax.set_ylabel(f"{rows} outputs")
    ax.set_title(name, fontsize="medium")
plt.show()
