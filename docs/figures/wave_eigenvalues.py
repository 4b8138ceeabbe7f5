"""What D⁻¹A makes of waves, on square cells and on cells that are four times as wide as high."""

import matplotlib.pyplot as plt
import numpy as np

from mgnet import stencils

theta = np.linspace(-np.pi, np.pi, 201)
waves = np.exp(1j * np.outer(theta, [-1, 0, 1]))

figure, axes = plt.subplots(1, 2, figsize=(8, 3.9), sharey=True, layout="constrained")
for ax, q in zip(axes, (1, 4), strict=True):
    kernel = stencils.stiffness((1.0, float(q)))
    value = (waves @ kernel @ waves.T).real / kernel[1, 1]
    levels = np.arange(0, 3.01, 0.25) if q == 4 else np.arange(0, 1.51, 0.25)
    image = ax.contourf(theta, theta, value.T, levels=np.arange(0, 3.01, 0.25), cmap="viridis")
    lines = ax.contour(theta, theta, value.T, levels=levels, colors="white", linewidths=0.6)
    half = np.pi / 2
    ax.plot([-half, half, half, -half, -half], [-half, -half, half, half, -half], "w--", linewidth=2)
    ax.plot(0, np.pi, "wv", markeredgecolor="black", markersize=9, clip_on=False)
    ax.annotate(
        f"λ = {value[100, -1]:.3g}", (0, np.pi), (0, 2.45), color="white", ha="center", fontsize="large"
    )
    ax.set_title(
        "Square cells" if q == 1 else "Cells four times as wide along the second axis",
        fontsize="medium",
        pad=10,
    )
    ax.set_xlabel("frequency along the first axis")
    ax.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    ax.set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    ax.set_aspect("equal")
axes[0].set_ylabel("frequency along the second axis")
figure.colorbar(image, ax=axes, label="eigenvalue λ of D⁻¹A")
plt.show()
