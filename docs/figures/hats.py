"""Hat functions on a grid of unequal cells, and a function as a sum of them."""

import matplotlib.pyplot as plt
import numpy as np

x = np.array([0.0, 0.15, 0.35, 0.5, 0.75, 0.9, 1.0])
values = np.array([0.0, 0.55, 0.9, 0.7, 1.1, 0.5, 0.0])
styles = ["-", "--", "-.", ":", "-"]

figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
for i, style in zip(range(1, 6), styles, strict=True):
    hat = np.eye(7)[i]
    (line,) = axes[0].plot(x, hat, style)
    axes[0].text(x[i], 1.06, f"$\\varphi_{i}$", ha="center")
    axes[1].plot(x, values[i] * hat, style, color=line.get_color(), linewidth=1)
axes[1].plot(x, values, "k.-", linewidth=2)
axes[0].set(title="one hat for each inner node", xlabel="x", ylabel="value", ylim=(0, 1.25))
axes[1].set(title="their sum, each times a nodal value", xlabel="x")
for ax in axes:
    ax.set_xticks(x, [f"$x_{i}$" for i in range(7)])
