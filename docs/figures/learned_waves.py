"""What two sweeps leave of each wave: damped Jacobi, and kernels that were learned on 16 x 16 cells."""

import matplotlib.pyplot as plt
import numpy as np

from mgnet import stencils
from mgnet.bridge import convergence_factor
from mgnet.learned import LearnedCycle, train

angles = np.linspace(-np.pi, np.pi, 121)


def symbol(kernel):
    """Give what a kernel makes of each wave."""
    waves = np.exp(1j * np.outer(angles, [-1, 0, 1]))
    return waves @ kernel @ waves.T


def left_of_waves(cycle):
    """Give the size of each wave after the sweeps of a cycle's smoother."""
    A = symbol(stencils.stiffness((1.0, 1.0)))
    return np.abs(np.prod([1 - symbol(B.weight.detach()[0, 0].numpy()) * A for B in cycle.B], axis=0))


jacobi, learned = LearnedCycle(dim=2), LearnedCycle(dim=2)
train(learned, 16, steps=40, lr=0.1, parameters=list(learned.B.parameters()))

figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharey=True, layout="constrained")
for ax, (name, cycle) in zip(
    axes, {"damped Jacobi": jacobi, "learned kernels": learned}.items(), strict=True
):
    factor = convergence_factor(cycle.levels(64), cycles=20)
    image = ax.imshow(
        left_of_waves(cycle).T, origin="lower", cmap="viridis", vmin=0, vmax=0.3, extent=(-1, 1, -1, 1)
    )
    ax.plot([-0.5, 0.5, 0.5, -0.5, -0.5], [-0.5, -0.5, 0.5, 0.5, -0.5], "w--", linewidth=2)
    ax.set_title(f"{name}; factor of a V-cycle {factor:.3f}", fontsize="medium")
    ax.set(xlabel="frequency along x", xticks=(-1, 0, 1), xticklabels=("−π", "0", "π"))
    ax.set(yticks=(-1, 0, 1), yticklabels=("−π", "0", "π"))
axes[0].set_ylabel("frequency along y")
figure.colorbar(image, ax=axes, label="left of a wave", extend="max")
plt.show()
