r"""
Linear regression, four ways
============================

A hundred points lie exactly on the plane :math:`y = w \cdot x + b` with :math:`w = (1, 2, 3)` and :math:`b =
5`. We recover the four numbers by gradient descent on the mean square error, first with the gradient from a
formula, then with more and more of it left to torch: a layer, an optimiser, a module for the loss.

:Lecture systems: T2
:Chapter: :doc:`/book/linear-models`

All four take the same steps to rounding, and arrive where a direct solve of the least-squares problem
arrives. How fast they arrive is a question about eigenvalues, and the answer is the one that makes multigrid
work.
"""

# %%
# The data
# --------
# The model is :eq:`linear-scores` with a single score. A column of ones turns :math:`b` into one more weight:
# :math:`y = X \theta` with :math:`\theta = (w, b)`. The direct solution is the oracle for everything below.

import matplotlib.pyplot as plt
import torch
from torch import nn

true = torch.tensor([1.0, 2.0, 3.0, 5.0], dtype=torch.float64)
generator = torch.Generator().manual_seed(0)
x = torch.randn(100, 3, dtype=torch.float64, generator=generator)
X = torch.cat([x, torch.ones(100, 1, dtype=torch.float64)], 1)
y = X @ true

direct = torch.linalg.lstsq(X, y[:, None]).solution[:, 0]
print("direct solve:", direct)
assert torch.allclose(direct, true, atol=1e-12)

start = torch.randn(4, dtype=torch.float64, generator=generator)
rate, steps = 0.1, 150

# %%
# By hand
# -------
# The mean square error :math:`\frac1N \lVert X\theta - y\rVert^2` has the gradient :math:`\frac2N X^T
# (X\theta - y)`. A step goes against it: :math:`\theta \leftarrow \theta - \gamma \nabla`.

theta = start.clone()
by_hand = [theta]
for _ in range(steps):
    theta = theta - rate * 2 / len(y) * X.T @ (X @ theta - y)
    by_hand.append(theta)
by_hand = torch.stack(by_hand)

# %%
# With a layer
# ------------
# :class:`torch.nn.Linear` holds the weight and the bias, and autograd has the gradient. The update is still
# ours; it must not be recorded, hence ``no_grad``. The layer answers with a column of shape (100, 1), so it
# is flattened before it meets the targets of shape (100,): more on this below.


def layer():
    net = nn.Linear(3, 1, dtype=torch.float64)
    with torch.no_grad():
        net.weight.copy_(start[:3])
        net.bias.copy_(start[3:])
    return net


def numbers(net):
    return torch.cat([net.weight.detach()[0], net.bias.detach()])


net = layer()
by_layer = [numbers(net)]
for _ in range(steps):
    net.zero_grad()
    loss = (net(x).squeeze(1) - y).square().mean()
    loss.backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= rate * parameter.grad
    by_layer.append(numbers(net))

# %%
# With an optimiser, and with a module for the loss
# -------------------------------------------------
# The optimiser knows the parameters and how to step; ``zero_grad`` and ``step`` replace our lines. The last
# version, with :class:`torch.nn.MSELoss`, is the loop that trains every network: forward, loss, backward,
# step.


def descend(loss_function):
    net = layer()
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    path = [numbers(net)]
    for _ in range(steps):
        optimizer.zero_grad()
        loss_function(net(x).squeeze(1), y).backward()
        optimizer.step()
        path.append(numbers(net))
    return torch.stack(path)


by_optimizer = descend(lambda output, target: (output - target).square().mean())
by_module = descend(nn.MSELoss())

for name, path in {
    "by hand": by_hand,
    "layer": torch.stack(by_layer),
    "optimiser": by_optimizer,
    "loss module": by_module,
}.items():
    apart = float((path - by_hand).abs().max())
    w, b = path[-1, :3].tolist(), float(path[-1, 3])
    print(f"{name:12} w = ({w[0]:.6f}, {w[1]:.6f}, {w[2]:.6f}), b = {b:.6f}; difference {apart:.1e}")
    assert apart < 1e-12
    assert torch.allclose(path[-1], direct, atol=1e-6)

# %%
# A slip that nobody reports
# --------------------------
# Forget to flatten the column, and (100, 1) minus (100,) becomes a table of 100 × 100: every answer is
# compared with every target. Nothing fails, the loss falls, and the model learns that the best constant is
# the mean of all targets. (:class:`torch.nn.MSELoss` warns of it; a subtraction does not.)

net = layer()
optimizer = torch.optim.SGD(net.parameters(), lr=rate)
for _ in range(steps):
    optimizer.zero_grad()
    table = net(x) - y
    table.square().mean().backward()
    optimizer.step()

wrong = numbers(net)
print("shape of the difference:", tuple(table.shape), " found:", wrong, " mean of y:", y.mean())
assert torch.allclose(wrong[:3], torch.zeros(3, dtype=torch.float64), atol=1e-6)
assert torch.allclose(wrong[3], y.mean(), atol=1e-6)

# %%
# How fast
# --------
# Let :math:`e = \theta - \theta^*` be the error and :math:`H = \frac2N X^T X` the matrix of second
# derivatives. A step multiplies the error by :math:`I - \gamma H`. Along an eigenvector of :math:`H` with
# eigenvalue :math:`\lambda` that is a number, so each component of the error shrinks on its own:
#
# .. math:: e_k = \sum_i (1 - \gamma \lambda_i)^k\, \alpha_i\, v_i.
#
# The slowest component decides in the end: the factor per step tends to :math:`\max_i \lvert 1 -
# \gamma\lambda_i\rvert`.

H = 2 / len(y) * X.T @ X
eigenvalues, vectors = torch.linalg.eigh(H)
k = torch.arange(steps + 1)[:, None]
components = (by_hand - true) @ vectors
predicted = (1 - rate * eigenvalues) ** k * components[0]
print("eigenvalues of H:", eigenvalues)
print("factors per step:", 1 - rate * eigenvalues)
assert torch.allclose(components, predicted, rtol=0, atol=1e-13)

error = (by_hand - true).norm(dim=1)
slowest, observed = float((1 - rate * eigenvalues).abs().max()), float(error[-1] / error[-2])
print(f"slowest factor: predicted {slowest:.6f}, observed in the last step {observed:.6f}")
assert abs(observed - slowest) < 1e-4

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for values, name, style in zip(by_hand.T, ("w₁", "w₂", "w₃", "b"), ("-", "--", "-.", ":"), strict=True):
    (line,) = left.plot(values[:61], style, label=name)
    left.axhline(float(values[-1]), color=line.get_color(), linewidth=0.5)
left.set(xlabel="step", ylabel="value", title="The weights arrive at 1, 2, 3 and 5")
left.legend(ncols=2, loc="lower right")
markers = "osD^"
for i, marker in enumerate(markers):
    label = f"1 − γλ = {float(1 - rate * eigenvalues[i]):.3f}"
    (line,) = right.semilogy(predicted[:61, i].abs(), "-", linewidth=1)
    right.semilogy(
        range(0, 61, 6), components[:61:6, i].abs(), marker, color=line.get_color(), mfc="none", label=label
    )
right.set(xlabel="step", ylabel="component of the error", title="Each component has its own factor")
right.legend(title="markers: observed, lines: predicted", fontsize="small", title_fontsize="small")
for ax in (left, right):
    ax.grid(alpha=0.3)
plt.show()

# %%
# This is also how a smoother works. For a linear system the same iteration, :math:`u \leftarrow u +
# \omega\,(b - A u)`, is gradient descent on the energy :math:`\frac12 u \cdot A u - b \cdot u`, and damped
# Jacobi, :eq:`jacobi`, is its scaled form. On a fine grid the eigenvalues of :math:`A` range over many orders
# of magnitude, the factors of the smooth components are close to 1, and descent alone stalls. Multigrid hands
# these components to coarser grids.
