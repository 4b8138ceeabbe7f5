r"""
ReLU networks are piecewise linear
==================================

A ReLU is piecewise linear, and so is what is put together from linear maps and ReLUs: the plane falls into
polygons, and on each of them the network

.. math:: f(x) = W_3\,\sigma(W_2\,\sigma(W_1 x + b_1) + b_2) + b_3, \qquad \sigma(t) = \max(t, 0),

is a linear function plus a constant. Its Hessian is zero except on the edges, where it does not exist. Linear
finite elements are of this kind too, on polygons that one chooses; a network learns its own.

:Lecture systems: C13
:Chapter: :doc:`/book/models`

The page draws the pieces of a network with 25 and 25 neurons, counts those of its first layer, and ends with
a finite element function of :func:`mgnet.solve` written as a ReLU network.
"""

# %%
# A network and its gradient
# --------------------------
# Which neurons are positive at x is the pattern of x. Points of the same pattern lie on the same piece, and
# there
#
# .. math:: \nabla f(x) = W_3 D_2 W_2 D_1 W_1
#
# with diagonal matrices of zeros and ones. Autograd gives the same gradient for all of them.

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import mgnet

torch.manual_seed(4)
f = nn.Sequential(nn.Linear(2, 25), nn.ReLU(), nn.Linear(25, 25), nn.ReLU(), nn.Linear(25, 1)).double()
axis = torch.linspace(-2.5, 2.5, 401, dtype=torch.float64)
points = torch.cartesian_prod(axis, axis).requires_grad_()
values = f(points)
(gradients,) = torch.autograd.grad(values.sum(), points)


@torch.no_grad()
def activations(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    first = f[0](x)
    return first, f[2](first.relu())


def pattern(x: torch.Tensor) -> torch.Tensor:
    return torch.cat(activations(x), -1) > 0


pieces, piece = torch.unique(pattern(points), dim=0, return_inverse=True)
W1, W2, W3 = (f[i].weight.detach() for i in (0, 2, 4))
D1, D2 = pieces.double().split(25, dim=1)
by_hand = ((W3 * D2) @ W2 * D1) @ W1  # one row per piece: W3 D2 W2 D1 W1
difference = (gradients - by_hand[piece]).abs().max().item()
print(f"{len(points):,} points on {len(pieces)} pieces, gradients differ by {difference:.0e}")
assert difference < 1e-13
assert len(pieces) > 100

# %%
# The Hessian
# -----------
# Autograd's Hessian is zero at random points. For a network with tanh it is not. Without autograd: the second
# difference f(x − h) − 2 f(x) + f(x + h) is zero to rounding where the three points lie on one piece, and not
# across edges.

x = 5 * torch.rand(2000, 2, dtype=torch.float64) - 2.5
smooth = nn.Sequential(f[0], nn.Tanh(), f[2], nn.Tanh(), f[4])
bent = {}
for name, network in {"ReLU": f, "tanh": smooth}.items():
    # Of the sum over 100 points: the Hessian of each is a block on the diagonal, the rest is zero.
    hessian = torch.autograd.functional.hessian(lambda x, network=network: network(x).sum(), x[:100])
    bent[name] = hessian.abs().max().item()
print("largest entry of the Hessian: " + ", ".join(f"{name} {value:.2g}" for name, value in bent.items()))
assert bent["ReLU"] == 0 and bent["tanh"] > 0.01

h = torch.tensor([0.03, 0.02], dtype=torch.float64)
with torch.no_grad():
    second = (f(x - h) - 2 * f(x) + f(x + h))[:, 0].abs()
one_piece = (pattern(x - h) == pattern(x)).all(1) & (pattern(x + h) == pattern(x)).all(1)
print(f"on one piece ({one_piece.double().mean():.0%} of the points) second differences are at most")
print(f"{second[one_piece].max():.0e}, across edges the median is {second[~one_piece].median():.0e}")
assert second[one_piece].max() < 1e-14
assert second[~one_piece].median() > 1e-5

# %%
# The pieces
# ----------
# A neuron of the first layer has its kink on a straight line. One of the second layer has it where its input
# changes sign; this curve is straight on each piece of the first layer, and bends where it crosses a line.
# Without knowing about neurons, the gradient draws the same pieces.

X, Y = (a.numpy() for a in torch.meshgrid(axis, axis, indexing="ij"))
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
shown = left.contourf(X, Y, values.detach().reshape(401, 401).numpy(), 20, cmap="viridis")
figure.colorbar(shown, ax=left, label="f", shrink=0.8)
for layer, style in zip(activations(points.detach()), ("solid", "dashed"), strict=True):
    for neuron in layer.T:
        if neuron.min() < 0 < neuron.max():
            left.contour(
                X, Y, neuron.reshape(401, 401).numpy(), [0], colors="w", linewidths=0.8, linestyles=style
            )
left.set_title("f, and the kinks of both layers (second dashed)")
slope = gradients.norm(dim=1).reshape(401, 401).numpy()
shown = right.pcolormesh(X, Y, slope, cmap="viridis", shading="nearest", rasterized=True)
figure.colorbar(shown, ax=right, label="length of the gradient", shrink=0.8)
right.set_title("The gradient is constant on each piece")
for ax in (left, right):
    ax.set(xlabel="x₁", ylabel="x₂", aspect="equal")
plt.show()

# %%
# How many
# --------
# n lines of which no two are parallel and no three meet in a point cut the plane into
# :math:`1 + n + \binom{n}{2}` pieces, 326 for 25 lines. To find them all, look around each of the 300
# crossings: there are four pieces at each, and every piece has a corner.

W, b = f[0].weight.detach(), f[0].bias.detach()
corners = []
for i, j in itertools.combinations(range(25), 2):
    crossing = torch.linalg.solve(W[[i, j]], -b[[i, j]])
    along = torch.stack([-W[[i, j], 1], W[[i, j], 0]], 1)  # directions of the two lines
    corners += [crossing + 1e-6 * (s * along[0] + t * along[1]) for s in (-1, 1) for t in (-1, 1)]
found = len(torch.unique(activations(torch.stack(corners))[0] > 0, dim=0))
print(f"{len(corners)} corners at 300 crossings belong to {found} pieces; 1 + 25 + 300 = {1 + 25 + 300}")
assert found == 326

# %%
# Finite elements are ReLU networks
# ---------------------------------
# The hat function of a grid, :eq:`hat`, is three ReLUs, and a piecewise linear function with nodes
# :math:`x_i` and slopes :math:`s_i` is a network with one hidden layer,
#
# .. math:: u_h(x) = u_0 + s_1 (x - x_0) + \sum_{i=1}^{n-1} (s_{i+1} - s_i)\, \sigma(x - x_i).
#
# So what :func:`mgnet.solve` computes is a network with known weights: 1 at the input, the negative nodes as
# biases, the changes of slope at the output.

grid = torch.arange(-3.0, 4.0) / 4
hat = torch.relu(grid + 1) - 2 * torch.relu(grid) + torch.relu(grid - 1)
assert np.array_equal(hat.numpy(), mgnet.stencils.hat(4))

solution = mgnet.solve(lambda x: 40 * np.sin(5 * x**2), n=12)
nodes, u = torch.from_numpy(solution.x), torch.from_numpy(solution.u)
slopes = u.diff() / nodes.diff()
network = nn.Sequential(nn.Linear(1, 12), nn.ReLU(), nn.Linear(12, 1)).double()
with torch.no_grad():
    network[0].weight.fill_(1.0)
    network[0].bias.copy_(-nodes[:-1])
    network[2].weight.copy_(torch.cat([slopes[:1], slopes.diff()]))
    network[2].bias.copy_(u[0])
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    y = network(x[:, None])[:, 0].numpy()
difference = np.abs(y - solution(x.numpy())).max()
print(f"network minus finite element function: {difference:.0e}")
assert difference < 1e-13 * np.abs(y).max() * 12

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for i, (node, change) in enumerate(zip(nodes[:-1], network[2].weight[0].detach(), strict=True)):
    style = ("-", "--", "-.")[i % 3]
    left.plot(x.numpy(), (change * (x - node).relu()).numpy(), style, color=plt.cm.viridis(i / 12))
left.set(xlabel="x", ylabel="contribution", title="The 12 neurons, each with its kink at a node")
solution.plot(right)
right.lines[0].set(label="finite element function", linewidth=4, alpha=0.4)
right.plot(x.numpy(), y, "k--", label="sum of the neurons")
right.plot(solution.x, solution.u, "ko", markersize=4)
right.set_title("Their sum is the finite element function")
right.legend()
plt.show()
