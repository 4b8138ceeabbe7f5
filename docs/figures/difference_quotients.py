"""The derivative of one function by difference quotients of many steps, and by autograd."""

import matplotlib.pyplot as plt
import numpy as np
import torch

x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)


def f(x):
    """Give a function whose derivative is known: exp(sin x)."""
    return torch.exp(torch.sin(x))


(slope,) = torch.autograd.grad(f(x), x)
exact = np.cos(0.7) * np.exp(np.sin(0.7))

steps = 10.0 ** np.arange(-15, 0.1, 0.25)
h = torch.from_numpy(steps)
at = torch.full_like(h, 0.7)
one_sided = ((f(at + h) - f(at)) / h).numpy()
central = ((f(at + h) - f(at - h)) / (2 * h)).numpy()
least = np.finfo(float).eps / 4  # an error of zero has no place on a logarithmic axis


def error(value):
    """Give the relative error, at least what can be drawn."""
    return np.maximum(abs(value - exact) / exact, least)


figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.loglog(steps, error(one_sided), "o-", markersize=3, label="(f(x + h) − f(x)) / h")
ax.loglog(steps, error(central), "s--", markersize=3, label="(f(x + h) − f(x − h)) / 2h")
ax.axhline(error(slope.item()), color="black", linestyle=":", label="autograd")
ax.set_xlabel("step h")
ax.set_ylabel("relative error of the derivative")
ax.set_title("Difference quotients lose digits to step or rounding, autograd to neither")
ax.grid(alpha=0.3)
ax.legend()
plt.show()
