"""What the conductivity of each cell does to the temperature at one point, by one more solve."""

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet

n = 96
middle = (np.arange(n) + 0.5) / n
x, y = np.meshgrid(middle, middle, indexing="ij")
wall = (np.abs(x - 0.45) < 0.04) & (np.abs(y - 0.5) > 0.12)  # with a gap
a = torch.from_numpy(np.where(wall, 0.1, 1.0)).requires_grad_()
sides = {"left": mgnet.Dirichlet(1.0), "bottom": mgnet.Neumann(0.0), "top": mgnet.Neumann(0.0)}
sol = mgnet.solve(0.0, n=n, dim=2, a=a, boundary=sides)
point = (0.75, 0.7)
sol(*point).backward()

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.7), layout="constrained")
u = sol.u.detach().numpy()
image = left.imshow(u.T, origin="lower", extent=(0, 1, 0, 1), cmap="viridis")
figure.colorbar(image, ax=left, label="temperature u")
left.set_title("The solution")
gradient = (a.grad * n**2).numpy()
most = np.quantile(np.abs(gradient), 0.98)
image = right.imshow(gradient.T, origin="lower", extent=(0, 1, 0, 1), cmap="RdBu_r", vmin=-most, vmax=most)
figure.colorbar(image, ax=right, label="∂u(point)/∂a, per area", extend="both")
right.set_title("Derivative of u at + by each cell’s a")
for ax in (left, right):
    ax.contour(x, y, wall, levels=[0.5], colors="black", linewidths=0.8)
    ax.plot(*point, "k+", markersize=11, markeredgewidth=2)
    ax.set(xlabel="x", ylabel="y")
left.plot(*point, "w+", markersize=11, markeredgewidth=2)
plt.show()
