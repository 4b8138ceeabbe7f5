"""
What is inside? A conductivity from noisy measurements
======================================================

A rod is heated in a few places, and thermometers read its temperature, not quite exactly. What does it
conduct where? Each guess of a(x) gives temperatures by one solve, and one more solve tells how every cell
of the guess should change. So an ordinary optimiser of torch finds the conductivity, and the Jacobian says
how sure it is. At the end the same lines find what is hidden in a plate.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/learning-kernels`

The derivative of a solve is another solve with the same operator, :eq:`adjoint`, so a gradient by 80 unknown
numbers costs no more than one by a single number.
"""

# %%
# The experiment
# --------------
# The rod is held at zero at both ends. Its conductivity is smooth, but for a bad stretch in the middle.
# Five experiments heat it in one place each: five rows of f are five right-hand sides, solved at once.
# Thirty thermometers read every one, with an error of one percent of the highest temperature. The
# "measurements" come from a grid that is much finer than the one used later, so that the answer is not
# built in.

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet

rng = np.random.default_rng(5)
n, sensors = 80, np.linspace(0.02, 0.98, 30)
heaters = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


def conductivity(x):
    return np.exp(0.5 * np.sin(4 * x) - 1.4 / (1 + ((x - 0.55) / 0.09) ** 6))


def heat(x):
    return 10 * np.exp(-(((x - heaters[:, None]) / 0.06) ** 2))


true = mgnet.solve(heat, n=4000, a=conductivity)(sensors)
noise = 0.01 * true.max()
measured = torch.from_numpy(true + noise * rng.normal(size=true.shape))

# %%
# Temperatures of a guess
# -----------------------
# The unknowns are the logarithms m of the conductivity in the cells: then every guess is positive. A tensor
# goes into ``solve`` and a tensor comes out, and torch can differentiate through it.


def temperatures(m):
    return mgnet.solve(heat, n=n, a=m.exp())(sensors)


# %%
# A misfit, and what is expected beforehand
# -----------------------------------------
# Many conductivities explain the data about as well, most of them wildly jagged. Therefore the loss has two
# parts: the squared misfit in units of the noise, and the squared jumps between neighbouring cells in units
# of what is expected of a jump. Half their sum is the negative logarithm of a probability: Bayes' rule.

jump = 0.15


def loss(m):
    misfit = (temperatures(m) - measured) / noise
    return 0.5 * misfit.square().sum() + 0.5 * (m.diff() / jump).square().sum()


# %%
# The gradient costs one more solve
# ---------------------------------
# ``backward`` solves once more, with the misfit as the load, and has the derivative by all 80 cells. A
# difference quotient needs two solves for each cell. Here they are compared along one random direction.

m = torch.zeros(n, dtype=torch.float64, requires_grad=True)
direction, step = torch.from_numpy(rng.normal(size=n)), 1e-5
loss(m).backward()
slope = float(m.grad @ direction)
with torch.no_grad():
    difference = float(loss(m + step * direction) - loss(m - step * direction)) / (2 * step)
print(f"slope by the adjoint {slope:.8g}, by a difference {difference:.8g}")
assert abs(slope - difference) < 1e-6 * abs(slope)

# %%
# Recover the conductivity
# ------------------------
# From here on it is an optimisation like any other. L-BFGS starts from a conductivity of 1 everywhere.


def minimise(loss, m, steps=200):
    optimiser = torch.optim.LBFGS([m], max_iter=steps, history_size=30, line_search_fn="strong_wolfe")
    losses = []

    def evaluate():
        optimiser.zero_grad()
        value = loss(m)
        value.backward()
        losses.append(float(value.detach()))
        return value

    optimiser.step(evaluate)
    return losses


losses = minimise(loss, m)
found = m.detach()
middles = (np.arange(n) + 0.5) / n
log_true = np.log(conductivity(middles))
error = np.exp(found.numpy()) - conductivity(middles)
relative = np.linalg.norm(error) / np.linalg.norm(conductivity(middles))
misfit = ((temperatures(found) - measured) / noise).square().mean().sqrt()
print(
    f"{len(losses)} evaluations, loss {losses[0]:.3g} to {losses[-1]:.3g}; misfit {misfit:.2f} of the noise"
)
print(f"relative error of the conductivity {relative:.3f}")
assert relative < 0.1
assert 0.8 < misfit < 1.2

# %%
# How sure is that?
# -----------------
# ``torch.func.jacrev`` takes the gradients of all 150 readings in one solve of many right-hand sides. If
# the readings are almost linear in m near the answer, the inverse of the Hessian below is the covariance of
# m. Two standard deviations to both sides make a band that should hold the truth in about 95 of 100 cells.

J = torch.func.jacrev(temperatures)(found).reshape(-1, n) / noise
D = torch.eye(n, dtype=torch.float64).diff(dim=0) / jump
deviation = torch.linalg.inv(J.T @ J + D.T @ D).diagonal().sqrt()
inside = float((torch.from_numpy(log_true) - found).abs().le(2 * deviation).double().mean())
print(f"the band holds the truth in {inside:.0%} of the cells")
assert inside > 0.8

# %%
# The band is one of the logarithm, so it is narrow where a is small.

print(f"standard deviation of log a: {deviation.min():.2f} to {deviation.max():.2f}")

whole = mgnet.solve(heat, n=n, a=found.exp().numpy())
figure, (data, answer) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for row, marker in enumerate("os^vD"):
    data.plot(whole.x, whole.u[row], color=f"C{row}", linewidth=1)
    label = f"heated at {heaters[row]:g}"
    data.plot(sensors, measured[row], marker, color=f"C{row}", markersize=3, label=label)
data.set(title="Five experiments: readings and the fit", xlabel="x", ylabel="temperature")
data.legend(fontsize="small")
fine = np.linspace(0, 1, 1000)
edges = np.linspace(0, 1, n + 1)
low, high = ((found + sign * 2 * deviation).exp().numpy() for sign in (-1, 1))
answer.stairs(high, edges, baseline=low, fill=True, color="C0", alpha=0.25, label="two standard deviations")
answer.stairs(found.exp().numpy(), edges, baseline=None, color="C0", linewidth=1.5, label="recovered")
answer.plot(fine, conductivity(fine), "k--", linewidth=1, label="true")
answer.axhline(1.0, color="0.4", linewidth=0.8, linestyle=":", label="first guess")
answer.set(
    title="The conductivity of the rod, with its bad stretch", xlabel="x", ylabel="a(x)", ylim=(0, None)
)
answer.legend(loc="upper right", fontsize="small")
plt.show()

# %%
# Inclusions in a plate
# ---------------------
# In the plane nothing changes but ``dim=2``. Four heaters, thermometers on a grid, 24 × 24 cells.
# Inclusions have edges, so jumps count by their size and not by their square (rounded off at zero): one
# large jump is then no dearer than many small ones.

cells = 24
xy = (np.arange(cells) + 0.5) / cells
x, y = np.meshgrid(xy, xy, indexing="ij")
places = torch.tensor([[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]], dtype=torch.float64)
grid = np.linspace(0.06, 0.94, 16)


def plate(x, y):
    inclusion = ((x - 0.6) ** 2 + (y - 0.45) ** 2 < 0.2**2) | ((abs(x - 0.25) < 0.1) & (abs(y - 0.65) < 0.17))
    return np.where(inclusion, 0.2, 1.0)


def heat_plate(x, y):
    px, py = places.numpy().T[:, :, None, None]
    return 30 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 0.15**2)


def temperatures_of_plate(m):
    return mgnet.solve(heat_plate, n=cells, dim=2, a=m.exp(), tol=1e-7)(grid[:, None], grid)


true_plate = mgnet.solve(heat_plate, n=192, dim=2, a=plate)(grid[:, None], grid)
noise_plate = 0.005 * true_plate.max()
measured_plate = torch.from_numpy(true_plate + noise_plate * rng.normal(size=true_plate.shape))


def loss_plate(m):
    misfit = (temperatures_of_plate(m) - measured_plate) / noise_plate
    jumps = torch.cat((m.diff(dim=0).flatten(), m.diff(dim=1).flatten()))
    return 0.5 * misfit.square().sum() + 10.0 * (jumps.square() + 0.02**2).sqrt().sum()


m_plate = torch.zeros(cells, cells, dtype=torch.float64, requires_grad=True)
losses_plate = minimise(loss_plate, m_plate, 80)
found_plate = m_plate.detach().exp().numpy()
right = float(((found_plate < 0.45) == (plate(x, y) < 0.45)).mean())
print(f"{len(losses_plate)} evaluations; {right:.1%} of the cells are on the right side of the edge")
assert right > 0.9

# %%
# The readings are taken at the white dots. Place, size and depth of the inclusions come out, their corners
# less well.

figure, panels = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
whole_plate = mgnet.solve(heat_plate, n=cells, dim=2, a=found_plate)
image = panels[0].pcolormesh(*whole_plate.x, whole_plate.u[1].T, cmap="inferno", shading="gouraud")
figure.colorbar(image, ax=panels[0], location="bottom", label="temperature")
panels[0].plot(*np.meshgrid(grid, grid), ".", color="white", markersize=1.5)
panels[0].set(title="one of four experiments")
for ax, a, title in ((panels[1], plate(x, y), "the plate"), (panels[2], found_plate, "recovered")):
    sides = np.linspace(0, 1, cells + 1)
    image = ax.pcolormesh(sides, sides, a.T, cmap="viridis", vmin=0.1, vmax=1.1)
    ax.set(title=title)
figure.colorbar(image, ax=panels[1:], location="bottom", label="a(x, y)", shrink=0.6)
for ax in panels:
    ax.set(aspect="equal", xlabel="x", ylabel="y")
figure.suptitle("Two inclusions in a plate, found from 256 thermometers")
plt.show()
