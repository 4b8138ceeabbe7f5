r"""
A multi-layer perceptron, and what it is without activation
===========================================================

Four linear layers with rectifiers in between learn the parabola :math:`x^2 + 3` from a thousand points. Then
the rectifiers are taken out: the same number of weights, and all that remains is a straight line.

:Lecture systems: T3
:Chapter: :doc:`/book/models`

Two facts that need no training serve as oracles. A network of linear layers *is* one linear layer, and the
best line is known. And a network with rectifiers is piecewise linear, so it cannot come closer to a parabola
than its number of pieces allows.
"""

# %%
# Data and network
# ----------------
# The inputs are normally distributed, so most lie between −2 and 2. In the package the perceptron is a model
# for images. An image of one pixel is a number, and one class makes one answer; the hidden layers have 6, 10
# and 6 neurons. A layer has as many parameters as :eq:`parameters` says for kernels of size 1.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import mgnet


def parabola(x):
    return x**2 + 3


generator = torch.Generator().manual_seed(0)
x = torch.randn(1000, 1, dtype=torch.float64, generator=generator)
y = parabola(x)


def perceptron(seed):
    torch.manual_seed(seed)
    shape = {"num_classes": 1, "in_channels": 1, "image_size": 1}
    return mgnet.models.create("mlp", hidden=[6, 10, 6], **shape).double()


print(perceptron(seed=0))
parameters = sum(p.numel() for p in perceptron(seed=0).parameters())
assert parameters == (1 * 6 + 6) + (6 * 10 + 10) + (10 * 6 + 6) + (6 * 1 + 1)

# %%
# Training
# --------
# With so few weights, and a loss that is computed from all points in every step, a quasi-Newton method is the
# right tool: L-BFGS estimates second derivatives from the gradients that it has seen. It takes the loss as a
# function, because it may evaluate it several times in a step. What it finds is a local minimum, and which
# one depends on the random start, :eq:`uniform-start`: where all rectifiers of a layer are silent nothing can
# be learned. So there are four starts, and the lowest loss wins.


def train(net, steps):
    optimizer = torch.optim.LBFGS(
        net.parameters(), max_iter=steps, history_size=20, line_search_fn="strong_wolfe"
    )
    loss_function, losses = nn.MSELoss(), []

    def evaluate():
        optimizer.zero_grad()
        loss = loss_function(net(x), y)
        loss.backward()
        losses.append(loss.item())
        return loss

    optimizer.step(evaluate)
    return losses


grid = torch.linspace(-2, 2, 4001, dtype=torch.float64)[:, None]
runs = []
for seed in range(4):
    net = perceptron(seed)
    losses = train(net, 400)
    with torch.no_grad():
        error = float((net(grid) - parabola(grid)).abs().max())
    print(f"start {seed}: loss {losses[0]:5.2f} → {losses[-1]:.2e}, largest error on [−2, 2] {error:.3f}")
    runs.append((losses[-1], error, net))
_, error, net = min(runs, key=lambda run: run[0])
assert error < 0.1

# %%
# The pieces
# ----------
# Each rectifier is linear on both sides of its kink, so the network is linear wherever no rectifier changes
# sides. We look for sign changes of what enters the rectifiers and find the kinks between.


def entering(net, x):
    """What enters each rectifier, side by side."""
    found = []
    for layer in net:
        if isinstance(layer, nn.ReLU):
            found.append(x)
        x = layer(x)
    return torch.cat(found, 1)


with torch.no_grad():
    z = entering(net, grid)
cell, neuron = torch.nonzero((z[1:] > 0) != (z[:-1] > 0), as_tuple=True)
low, high = z[cell, neuron], z[cell + 1, neuron]
kinks = (grid[cell, 0] + low / (low - high) * (grid[1, 0] - grid[0, 0])).sort().values
ends = torch.tensor([-2.0, 2.0], dtype=torch.float64)
nodes = torch.cat([ends[:1], kinks, ends[1:]])
with torch.no_grad():
    values, answer = net(nodes[:, None])[:, 0], net(grid)[:, 0]
between = float(np.abs(np.interp(grid[:, 0], nodes, values) - answer.numpy()).max())
print(f"{len(kinks)} kinks, {len(kinks) + 1} pieces; network against lines between kinks: {between:.1e}")
assert between < 1e-3  # two kinks in one cell of the grid would be a little out of place

# %%
# So on the nodes that it chose for itself the network is a finite-element function, a sum of hats :eq:`hat`.
# What it learns is the nodes and the values at once.
#
# A line cannot follow :math:`x^2` over a length :math:`\ell` better than to :math:`\ell^2/8`: half the
# largest gap between the parabola and its chord. Of :math:`m` pieces on [−2, 2] one is at least :math:`4/m`
# long, hence no network with :math:`m` pieces has an error below :math:`2/m^2`.

bound = 2 / (len(kinks) + 1) ** 2
print(f"error {error:.4f}, and no smaller than {bound:.4f} for so many pieces")
assert error >= bound

# %%
# Without activation
# ------------------
# Take the rectifiers out. Layers :math:`W_i x + b_i` in a row compose to :math:`W_4 W_3 W_2 W_1 x + \dots`,
# one matrix and one vector, whatever their number. With one input and one output it is a line.

linear = perceptron(seed=0)
for name, layer in list(linear.named_children()):
    if isinstance(layer, nn.ReLU):
        linear.set_submodule(name, nn.Identity())
train(linear, 400)

W, b = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
with torch.no_grad():
    for layer in linear:
        if isinstance(layer, nn.Linear):
            W, b = layer.weight @ W, layer.weight @ b + layer.bias
    collapsed = float((linear(grid) - (grid @ W.T + b)).abs().max())
print(f"four layers against one: {collapsed:.1e}")
assert collapsed < 1e-12

slope, intercept = np.polyfit(x[:, 0], y[:, 0], 1)
print(f"learned line {float(W):.6f} x + {float(b):.6f}; least squares {slope:.6f} x + {intercept:.6f}")
assert abs(float(W) - slope) < 1e-4 and abs(float(b) - intercept) < 1e-4

# %%
# It finds the best line, and nothing better: depth without activation adds weights, but no functions.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.plot(grid, parabola(grid), color="0.7", linewidth=5, label="x² + 3")
left.plot(grid, answer, "k-", linewidth=1, label="perceptron")
left.plot(nodes[1:-1], values[1:-1], "ko", markersize=4, label="its kinks")
left.plot(grid, grid * float(W) + float(b), "--", color="tab:red", label="without activation")
left.set(xlabel="x", ylabel="y", title="A parabola in straight pieces, and a single line")
left.legend(loc="upper center")
right.plot(grid, answer - parabola(grid)[:, 0], "k-", linewidth=1)
right.plot(nodes[1:-1], values[1:-1] - parabola(nodes[1:-1]), "ko", markersize=4)
right.axhspan(
    -bound,
    bound,
    color="tab:blue",
    alpha=0.2,
    hatch="//",
    label="no network with so many pieces stays inside",
)
right.set(xlabel="x", ylabel="perceptron − (x² + 3)", title="Error of the perceptron")
right.legend(fontsize="small", loc="upper center")
right.margins(y=0.3)
for ax in (left, right):
    ax.grid(alpha=0.3)
plt.show()
