r"""
Gradient descent, whole and by samples
======================================

The loss of a model is a mean over its data, and so is the gradient. Gradient descent computes all of it for
one step. Stochastic gradient descent steps after a few data, whose gradient is a noisy estimate. The few can
be drawn with replacement, from all data every time, or without: shuffle, deal them out, shuffle again when
all were dealt.

:Lecture systems: T7
:Chapter: :doc:`/book/training`

First a least-squares problem in the plane, where theory has formulas: the rate of gradient descent, the exact
mean error of sampling with replacement, and the order in which sampling without replacement is better. Then a
network, trained three ways with :func:`mgnet.fit`.
"""

# %%
# The problem
# -----------
# The loss is :math:`F(\theta) = \frac1N \sum_j \frac12 (a_j \cdot \theta - y_j)^2`, for 64 points with noise.
# So the gradients of the single terms do not vanish at the minimum, only their mean does. The eigenvalues
# :math:`\mu` and :math:`L` of :math:`H = \frac1N \sum_j a_j a_j^T` are the least and the largest curvature.
# We follow the error :math:`e = \theta - \theta^*`; the gradient of one term is :math:`a_j (a_j \cdot e -
# r_j)`, with the residual :math:`r_j` at the minimum.

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet

generator = torch.Generator().manual_seed(0)
N, batch = 64, 4
a = torch.randn(N, 2, dtype=torch.float64, generator=generator) * torch.tensor([1.0, 0.4])
y = a @ torch.tensor([1.0, 2.0], dtype=torch.float64)
y = y + 0.5 * torch.randn(N, dtype=torch.float64, generator=generator)

H = a.T @ a / N
minimum = torch.linalg.solve(H, a.T @ y / N)
r = y - a @ minimum
start = -minimum  # θ = 0
mu, L = torch.linalg.eigvalsh(H).tolist()
print(f"curvatures {mu:.3f} and {L:.3f}, condition {L / mu:.2f}")

# %%
# The whole gradient
# ------------------
# The full step is :math:`e \leftarrow (I - \gamma H) e`. The best constant step is :math:`\gamma = 2/(L +
# \mu)`, and with the condition :math:`\kappa = L/\mu` every step multiplies the error by at most
#
# .. math:: \rho = \frac{\kappa - 1}{\kappa + 1}.

epochs = 60
e = start.clone()
whole = [e]
for _ in range(epochs):
    e = e - 2 / (L + mu) * H @ e
    whole.append(e)
whole = torch.stack(whole)
rho = (L - mu) / (L + mu)
bound = rho ** torch.arange(epochs + 1, dtype=torch.float64) * start.norm()
observed = float(whole[21].norm() / whole[20].norm())
print(f"factor per step: observed {observed:.6f}, theory {rho:.6f}")
assert (whole.norm(dim=1) <= bound + 1e-14).all()
assert abs(observed - rho) < 1e-6

# %%
# Two ways to draw
# ----------------
# In the package :class:`mgnet.data.Batches` deals out the data of a training set. Here the labels are the
# numbers 0 to 63, so that we see who was drawn. With replacement a datum is missed in all :math:`N` draws of
# an epoch with probability :math:`(1 - 1/N)^N`, about :math:`1/e`.


def indices(replacement, epochs, seed=0):
    split = mgnet.data.Split(torch.zeros(N, 1, 1, 1, dtype=torch.uint8), torch.arange(N))
    batches = mgnet.data.Batches(split, batch, replacement=replacement, seed=seed)
    return [torch.stack([labels for _, labels in batches]) for _ in range(epochs)]


seen = {way: [len(epoch.unique()) for epoch in indices(way, 200)] for way in (True, False)}
expected_seen = N * (1 - (1 - 1 / N) ** N)
mean, error = np.mean(seen[True]), np.std(seen[True]) / np.sqrt(200)
print(
    f"different data in an epoch: {mean:.2f} ± {error:.2f} of 64 with replacement, theory {expected_seen:.2f}"
)
assert abs(mean - expected_seen) < 4 * error
assert set(seen[False]) == {N}

# %%
# The three paths, side by side. Each dot is one pass over the data: one step above, sixteen steps below.


def step(e, rows, gamma):
    """One step of every run; e has one row per run, and rows the data that each of them drew."""
    drawn = a.index_select(0, rows.flatten()).unflatten(0, rows.shape)
    factors = (drawn * e[:, None]).sum(2) - r.take(rows)
    return e - gamma * (factors[:, :, None] * drawn).mean(1)


paths = {"gradient descent": (whole[:13], 1)}
for replacement in (True, False):
    e, path = start[None], [start]
    for rows in torch.cat(indices(replacement, 12)):
        e = step(e, rows[None], 0.2)
        path.append(e[0])
    paths[f"batches of {batch}, with{'' if replacement else 'out'} replacement"] = (
        torch.stack(path),
        N // batch,
    )

fig, axes = plt.subplots(1, 3, figsize=(10, 3.8), layout="constrained", sharex=True, sharey=True)
grid = torch.stack(
    torch.meshgrid(torch.linspace(-1.7, 0.7, 80), torch.linspace(-2.6, 0.9, 80), indexing="ij")
)
grid = grid.double()
height = 0.5 * torch.einsum("ixy,ij,jxy->xy", grid, H, grid)
for ax, (name, (path, stride)) in zip(axes, paths.items(), strict=True):
    ax.contour(*grid, height, levels=np.geomspace(0.005, 2, 10), colors="0.8", linewidths=0.8)
    ax.plot(*path.T, "-", color="tab:blue", linewidth=0.8)
    ax.plot(*path[::stride].T, "o", color="black", markersize=4)
    ax.plot(0, 0, "+", color="tab:red", markersize=14, markeredgewidth=2)
    ax.set(title=name, xlabel="$e_1$")
axes[0].set_ylabel("$e_2$")
fig.suptitle("Twelve passes over the data; dots: after each pass, cross: the minimum")
plt.show()

# %%
# With replacement theory is exact
# --------------------------------
# Draws with replacement are independent, so the mean :math:`m = \mathbb{E}\, e` and the second moment
# :math:`C = \mathbb{E}\, e e^T` after a step follow from those before. For batches of :math:`b`,
#
# .. math:: m \leftarrow (I - \gamma H)\, m, \qquad
#    C \leftarrow C - \gamma (HC + CH) + \gamma^2 \Bigl[\tfrac1b S + \bigl(1 - \tfrac1b\bigr) H C H\Bigr],
#
# .. math:: S = \frac1N \sum_j a_j a_j^T \bigl(a_j \cdot C a_j - 2 r_j\, a_j \cdot m + r_j^2\bigr).
#
# The trace of :math:`C` is the mean square error. The term with :math:`r_j^2` never goes away: for a constant
# step the error ends on a floor, which is proportional to :math:`\gamma` when that is small.


outer = a[:, :, None] * a[:, None]


def moments(m, C, gamma, b):
    """Mean and second moment after a step, from those before."""
    weight = ((a @ C) * a).sum(1) - 2 * r * (a @ m) + r**2
    S = (weight[:, None, None] * outer).mean(0)
    after = C - gamma * (H @ C + C @ H) + gamma**2 * (S / b + (1 - 1 / b) * H @ C @ H)
    return m - gamma * H @ m, after


def expected(gammas):
    """Mean square errors after each epoch."""
    m, C = start, torch.outer(start, start)
    trace = [C.trace()]
    for gamma in gammas:
        for _ in range(N // batch):
            m, C = moments(m, C, gamma, batch)
        trace.append(C.trace())
    return torch.stack(trace)


# %%
# A first check goes through all batches of two that there are, so that no luck is involved. A second follows
# 400 runs for 60 epochs, beside as many without replacement.

pairs = torch.cartesian_prod(torch.arange(N), torch.arange(N))  # all that a batch of two can be
outcomes = step(start.expand(N * N, 2), pairs, 0.3)
m, C = moments(start, torch.outer(start, start), 0.3, 2)
apart = max(float((outcomes.mean(0) - m).abs().max()), float((outcomes.T @ outcomes / N**2 - C).abs().max()))
print(f"one step with two data: formula against all {N * N} outcomes, {apart:.1e}")
assert apart < 1e-13


def simulate(gammas, replacement, start=start, runs=400):
    """Square errors after each epoch, of many runs at once."""
    generator = torch.Generator().manual_seed(1)
    e = start.expand(runs, 2)
    errors = [e.square().sum(1)]
    for gamma in gammas:
        if replacement:
            rows = torch.randint(N, (runs, N), generator=generator)
        else:
            rows = torch.rand(runs, N, generator=generator).argsort(1)
        for part in rows.split(batch, 1):
            e = step(e, part, gamma)
        errors.append(e.square().sum(1))
    return torch.stack(errors)


constant = [0.1] * epochs
exact = expected(constant)
drawn = simulate(constant, replacement=True)
dealt = simulate(constant, replacement=False)
deviation = ((drawn.mean(1) - exact)[1:] / (drawn.std(1)[1:] / 20)).abs()
print(f"400 runs against the formula, 60 epochs: at most {float(deviation.max()):.1f} standard errors apart")
assert float(deviation.max()) < 5

floors = {gamma: float(expected([gamma] * 1000)[-1]) for gamma in (0.02, 0.01)}
print(f"floor: {floors[0.02]:.2e} for γ = 0.02, {floors[0.01]:.2e} for γ = 0.01")
assert abs(floors[0.02] / floors[0.01] - 2) < 0.1

# %%
# Why shuffling is better
# -----------------------
# Without replacement an epoch uses every datum once. To first order in :math:`\gamma` the sixteen steps add
# up to one step with the whole gradient, in any order, and the noise cancels. What is left is of second
# order. To see it, start *at* the minimum, make one epoch, and look how far it leads away: the square of the
# distance goes like :math:`\gamma^2` with replacement and like :math:`\gamma^4` without.

ratio = {}
for replacement in (True, False):
    away = [simulate([g], replacement, torch.zeros_like(start))[-1].mean().item() for g in (0.002, 0.001)]
    ratio[replacement] = away[0] / away[1]
    name = "with" if replacement else "without"
    print(f"half the step, {name} replacement: the square is {ratio[replacement]:.2f} times smaller")
assert abs(ratio[True] - 4) < 0.1 and abs(ratio[False] - 16) < 0.4

# %%
# To reach the minimum the steps have to shrink. With :math:`\gamma_K \sim 1/K` in epoch :math:`K` the mean
# square error falls like :math:`1/K` with replacement. Without, theory has
#
# .. math:: \frac{1}{(NK)^2} + \frac{1}{N K^3}
#
# up to constants and logarithms, for sums of quadratics, well-chosen steps and many epochs, as upper and as
# lower bound: a slope between −2 and −3 (I. Safran and O. Shamir, *How good is SGD with random shuffling?*,
# 2020; S. Rajput, A. Gupta and D. Papailiopoulos, *Closing the convergence gap of SGD without replacement*,
# 2020).

shrinking = [1.2 / (k + 6) for k in range(300)]
exact_shrinking = expected(shrinking)
drawn_shrinking, dealt_shrinking = (simulate(shrinking, way).mean(1) for way in (True, False))


def slope(errors, first=100, last=300):
    return float((errors[last] / errors[first]).log()) / np.log(last / first)


print(f"slopes: {slope(exact_shrinking):.2f} with replacement, {slope(dealt_shrinking):.2f} without")
assert abs(slope(exact_shrinking) + 1) < 0.1
assert -3 < slope(dealt_shrinking) < -2

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
k = np.arange(epochs + 1)
left.semilogy(k, bound**2, "-", color="0.6", label="theory: $\\rho^{2k}$")
left.semilogy(k, exact, "-", color="tab:blue", label="theory: exact mean")
left.semilogy(k[::3], whole.square().sum(1)[::3], "^", color="black", mfc="none", label="whole gradient")
left.semilogy(k[::3], drawn.mean(1)[::3], "o", color="tab:blue", mfc="none", label="with replacement")
left.semilogy(k[::3], dealt.mean(1)[::3], "s", color="tab:orange", mfc="none", label="without")
left.set(
    xlabel="passes over the data",
    ylabel="mean square error",
    ylim=(1e-8, 20),
    title="Constant steps: a floor",
)
k = np.unique(np.geomspace(1, 300, 25).astype(int))
right.loglog(np.arange(1, 301), exact_shrinking[1:], "-", color="tab:blue", label="theory: exact mean")
right.loglog(k, drawn_shrinking[k], "o", color="tab:blue", mfc="none", label="with replacement")
right.loglog(k, dealt_shrinking[k], "s", color="tab:orange", mfc="none", label="without")
late = np.array([40, 300])
for power, style in ((1, "--"), (2, "-."), (3, ":")):
    level = exact_shrinking[40] if power == 1 else dealt_shrinking[40]
    right.loglog(
        late, 0.4 * float(level) * (40 / late) ** power, style, color="black", label=f"slope −{power}"
    )
right.set(xlabel="passes over the data", title="Steps that shrink like 1/K: two rates")
for ax in (left, right):
    ax.legend(fontsize="small")
    ax.grid(alpha=0.3)
plt.show()

# %%
# A network
# ---------
# For a network on a thousand images the first question is another one: what does a pass over the data buy?
# Whole gradients make one step of it, batches of 20, :eq:`batch-loss`, make fifty. With whole gradients a
# step five times as large is still stable, and not enough. Between the two ways of drawing little is to be
# seen: after so few epochs the training is far from a minimum, and the noise is not yet what limits it. (The
# loss is the mean over what was drawn, while the weights changed.)

data = mgnet.data.synthetic(train=1000, validation=0, test=200)
ways = {
    "whole gradient": {"batch_size": 1000, "lr": 0.1},
    "batches of 20, with replacement": {"batch_size": 20, "lr": 0.02, "replacement": True},
    "batches of 20, without": {"batch_size": 20, "lr": 0.02},
}
curves = {}
for name, changes in ways.items():
    torch.manual_seed(0)
    model = mgnet.models.create("mlp", in_channels=3, image_size=32, hidden=[64])
    history = mgnet.fit(
        model, data, recipe="lecture", epochs=8, momentum=0.0, seed=0, progress=False, **changes
    )
    curves[name] = history["train_loss"]
    print(f"{name:32} loss {curves[name][0]:.3f} → {curves[name][-1]:.3f}")

at_end = [curve[-1] for curve in curves.values()]
assert max(at_end[1:]) < 0.5 * at_end[0]
assert abs(at_end[1] - at_end[2]) < 0.1 * at_end[0]

fig, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for (name, curve), style in zip(curves.items(), ("k^-", "o-", "s--"), strict=True):
    ax.plot(range(1, 9), curve, style, mfc="none", label=name)
ax.set(xlabel="passes over the data", ylabel="training loss", ylim=(0, None))
ax.set_title("A perceptron on a thousand images: many rough steps beat few exact ones")
ax.legend()
ax.grid(alpha=0.3)
plt.show()
