"""Gradient descent and momentum in a long valley."""

import matplotlib.pyplot as plt
import numpy as np
import torch

CURVATURES = torch.tensor([1.0, 25.0], dtype=torch.float64)


def descend(momentum, lr, steps=60):
    """Give the iterates of SGD with the whole gradient of f(w) = ½ Σ λᵢ wᵢ²."""
    w = torch.tensor([-2.0, 0.8], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=lr, momentum=momentum)
    path = [w.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (CURVATURES * w**2).sum()).backward()
        optimizer.step()
        path.append(w.detach().clone())
    return torch.stack(path).numpy()


# The best constant rates: 2/(λ₀ + λ₁), and with momentum Polyak's pair.
low, high = (float(value) for value in CURVATURES)
root = (np.sqrt(high) - np.sqrt(low)) / (np.sqrt(high) + np.sqrt(low))
paths = {
    "gradient descent": (descend(0.0, 2 / (low + high)), "o-"),
    "with momentum": (descend(root**2, 4 / (np.sqrt(low) + np.sqrt(high)) ** 2), "s--"),
}

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
x, y = np.meshgrid(np.linspace(-2.2, 1.2, 120), np.linspace(-1.8, 1.8, 120))
left.contour(x, y, 0.5 * (low * x**2 + high * y**2), levels=14, colors="0.75", linewidths=0.8)
for name, (path, style) in paths.items():
    left.plot(*path[:16].T, style, markersize=4, linewidth=1, label=name)
    f = 0.5 * (path**2 @ CURVATURES.numpy())
    right.semilogy(f, style, markersize=3, linewidth=1, label=name)
left.plot(0, 0, "k*", markersize=10)
left.set_xlabel("$w_1$, curvature 1")
left.set_ylabel("$w_2$, curvature 25")
left.set_title("The first 15 steps")
right.set_xlabel("step")
right.set_ylabel("f(w)")
right.set_title("Each at its best constant rate")
right.grid(alpha=0.3)
right.legend()
plt.show()
