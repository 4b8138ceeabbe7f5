r"""
Least squares and ReLU networks
===============================

A network without biases,

.. math:: f(x) = w_3^{\mathsf T}\, \sigma(W_2\, \sigma(W_1 x)), \qquad \sigma(t) = \max(t, 0),

is fitted to data by minimising :math:`L = \tfrac12 \sum_i (f(x_i) - y_i)^2`. How does its smallest loss
compare with that of the linear model :math:`w^{\mathsf T} x`? That depends on what the weights may be. If
inputs and hidden weights are not negative, no ReLU ever cuts anything off, the network is linear, and the
losses are equal. If the weights are free, the network contains the linear model and can do better.

:Lecture systems: C14
:Chapter: :doc:`/book/linear-models`

Two linear models and three networks are fitted to the same data here. The linear ones are solved by
``numpy.linalg.lstsq`` and, with non-negative weights, by ``scipy.optimize.nnls``. The networks, trained by
L-BFGS, have to come out equal to them, or below.
"""

# %%
# Data
# ----
# Each input is (t, 1) with t from 0 to 1, so that the second weight is a constant term, the b of
# :eq:`linear-scores`, and no input is negative. The data fall at first and stay level then.

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import nnls

torch.manual_seed(0)
t = torch.linspace(0, 1, 60, dtype=torch.float64)
X = torch.stack([t, torch.ones_like(t)], 1)
y = 0.3 + 2 * (0.45 - t).relu() + 0.05 * torch.randn(60, dtype=torch.float64)


def loss(values: torch.Tensor) -> torch.Tensor:
    return 0.5 * (values - y).square().sum()


w_free = torch.from_numpy(np.linalg.lstsq(X.numpy(), y.numpy())[0])
w_positive = torch.from_numpy(nnls(X.numpy(), y.numpy())[0])
losses = {"least squares": loss(X @ w_free).item(), "least squares, w ≥ 0": loss(X @ w_positive).item()}
fits = {"least squares": X @ w_free, "least squares, w ≥ 0": X @ w_positive}

# %%
# The networks
# ------------
# A weight that may not be negative is the square of a free number. All networks have two hidden layers of 8
# neurons.


def network(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    W1, W2, w3 = weights
    return ((x @ W1.T).relu() @ W2.T).relu() @ w3


def fitted(start: list[torch.Tensor], squared: tuple[bool, ...]) -> list[torch.Tensor]:
    numbers = [W.clone().requires_grad_() for W in start]

    def weights() -> list[torch.Tensor]:
        return [V.square() if square else V for V, square in zip(numbers, squared, strict=True)]

    options = {"max_iter": 2000, "tolerance_grad": 1e-10, "tolerance_change": 1e-14}
    optimiser = torch.optim.LBFGS(numbers, line_search_fn="strong_wolfe", **options)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss(network(weights(), X))
        value.backward()
        return value

    optimiser.step(closure)
    return [W.detach() for W in weights()]


shapes = (8, 2), (8, 8), (8,)
random = [torch.rand(shape, dtype=torch.float64) for shape in shapes]

# %%
# Where the network collapses
# ---------------------------
# Inputs and hidden weights are not negative, so every number in front of a ReLU is not negative: the ReLUs
# are the identity, and f(x) is :math:`w^{\mathsf T} x` with :math:`w^{\mathsf T} = w_3^{\mathsf T} W_2 W_1`.
# With a free w₃ any w can be had, and the smallest loss is that of least squares. With w₃ ≥ 0 too, only
# :math:`w \ge 0` can be had, and the loss is that of non-negative least squares, which is not smaller.

kinds = {"network, hidden W ≥ 0": (True, True, False), "network, all W ≥ 0": (True, True, True)}
for name, squared in kinds.items():
    # A free w₃ starts with both signs: where it has one only, squares can end in a saddle point at zero.
    start = random if squared[2] else [*random[:2], random[2] - 0.5]
    weights = fitted(start, squared)
    fits[name], losses[name] = network(weights, X), loss(network(weights, X)).item()
    W1, W2, w3 = weights
    collapsed = w3 @ W2 @ W1
    print(f"{name}: loss {losses[name]:.10f}, the same as x ↦ ({collapsed[0]:.4f}, {collapsed[1]:.4f}) · x")
    assert (X @ collapsed - fits[name]).abs().max() < 1e-12

for name, value in losses.items():
    print(f"{name:<24} {value:.10f}")
assert abs(losses["network, hidden W ≥ 0"] - losses["least squares"]) < 1e-8
assert abs(losses["network, all W ≥ 0"] - losses["least squares, w ≥ 0"]) < 1e-8
assert losses["network, all W ≥ 0"] > losses["least squares"] + 0.1

# %%
# Where it does not
# -----------------
# With free weights the network contains the linear model. For inputs that are not negative the identity will
# do as hidden layers; for others x = σ(x) − σ(−x) takes two neurons per input. So the smallest loss is at
# most that of least squares. Started from there, with the other neurons silent in w₃, the optimiser goes
# below it.

W1, W2 = torch.randn(8, 2, dtype=torch.float64), 0.3 * torch.randn(8, 8, dtype=torch.float64)
W1[:2], W2[:2] = torch.eye(2), torch.eye(2, 8)
start = [W1, W2, torch.cat([w_free, torch.zeros(6, dtype=torch.float64)])]
assert abs(loss(network(start, X)).item() - losses["least squares"]) < 1e-12

name = "network, free W"
weights = fitted(start, (False, False, False))
fits[name], losses[name] = network(weights, X), loss(network(weights, X)).item()
print(f"{name}: loss {losses[name]:.4f}, least squares {losses['least squares']:.4f}")
assert losses[name] < 0.5 * losses["least squares"]

eye = torch.eye(2, dtype=torch.float64)
both_signs = torch.randn(100, 2, dtype=torch.float64)
identity = [torch.cat([eye, -eye]), torch.eye(4, dtype=torch.float64), torch.cat([w_free, -w_free])]
assert (network(identity, both_signs) - both_signs @ w_free).abs().max() < 1e-14

# %%
# And inputs of both signs undo the collapse even if no hidden weight is negative: a neuron is cut off where x
# is.

W1, W2, w3 = random
bend = (network(random, both_signs) - both_signs @ (w3 @ W2 @ W1)).abs().max()
print(f"non-negative weights, inputs of both signs: up to {bend:.1f} from the linear map")
assert bend > 1

# %%
# In order
# --------

order = [
    "least squares, w ≥ 0",
    "network, all W ≥ 0",
    "least squares",
    "network, hidden W ≥ 0",
    "network, free W",
]
assert np.all(np.diff([losses[name] for name in order]) < 1e-8)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
left.plot(t.numpy(), y.numpy(), ".", color="0.6", label="data")
lines = {
    "least squares, w ≥ 0": ("C1", "-", 5),
    "network, all W ≥ 0": ("k", ":", 2),
    "least squares": ("C0", "-", 5),
}
lines |= {"network, hidden W ≥ 0": ("k", "--", 2), "network, free W": ("C3", "-.", 2)}
for name in order:
    colour, style, width = lines[name]
    shade = 0.5 if width == 5 else 1
    left.plot(t.numpy(), fits[name].numpy(), style, color=colour, linewidth=width, alpha=shade, label=name)
left.set(xlabel="t", ylabel="y", title="Two networks lie on two lines")
left.legend(fontsize="small")
bars = right.barh(order[::-1], [losses[name] for name in order[::-1]], color="0.8", edgecolor="k")
for bar, name in zip(bars, order[::-1], strict=True):
    bar.set_hatch("//" if name.startswith("network") else "")
right.bar_label(bars, fmt="%.4f", padding=3)
right.margins(x=0.2)
right.set(xlabel="loss", ylabel="model", title="Equal, equal, and below")
plt.show()
