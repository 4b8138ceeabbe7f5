r"""
Logistic regression on Fisher's irises
======================================

Four measurements of a flower, two species: which one is it? Logistic regression answers with a probability,
:math:`P(y = 1 \mid x) = \sigma(w \cdot x + b)` with :math:`\sigma(z) = 1/(1 + e^{-z})`, and learns :math:`w`
and :math:`b` by minimising the binary cross-entropy.

:Lecture systems: T4
:Chapter: :doc:`/book/linear-models`

The loss can be computed from the probability or from the score :math:`z`, which is called the logit. Both
agree to rounding on the irises; where they part, only one is right. For the two species that no plane
separates, the weights are compared with those of Newton's method.
"""

# %%
# The data
# --------
# Fisher published the table in 1936: 50 flowers of each of three species. A transcription is easily a digit
# out, so the means of the columns are checked against those that are known.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional

import mgnet

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
table = np.loadtxt(here.parent / "data" / "iris.csv", delimiter=",", skiprows=4, dtype=str)
measured, species = table[:, :4].astype(float), table[:, 4]
names, counts = np.unique(species, return_counts=True)
print(measured.shape, dict(zip(names.tolist(), counts.tolist(), strict=True)), measured.mean(0).round(3))
assert measured.shape == (150, 4) and (counts == 50).all()
assert np.allclose(measured.mean(0), [5.843, 3.057, 3.758, 1.199], atol=5e-4)


def pair(first, second):
    """Measurements of two species, with label 1 for the second."""
    chosen = (species == first) | (species == second)
    return torch.tensor(measured[chosen]), torch.tensor(species[chosen] == second, dtype=torch.float64)


# %%
# Two losses, one number
# ----------------------
# With :math:`p = \sigma(z)` the binary cross-entropy of a flower is
#
# .. math:: -y \ln p - (1 - y) \ln(1 - p) = \max(z, 0) - y z + \ln\bigl(1 + e^{-\lvert z\rvert}\bigr).
#
# :class:`torch.nn.BCELoss` computes the left side from :math:`p`, :class:`torch.nn.BCEWithLogitsLoss` the
# right side from :math:`z`. Train with each, from one start and in single precision, to tell setosa from
# versicolor.


def train(loss_of_scores, x, y, steps=100, rate=0.1):
    torch.manual_seed(0)
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of_scores(net(x).squeeze(1), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return net, np.array(losses)


x, y = (values.float() for values in pair("setosa", "versicolor"))
of_probability = nn.BCELoss()
net, losses = train(lambda z, y: of_probability(torch.sigmoid(z), y), x, y)
net_by_logits, by_logits = train(nn.BCEWithLogitsLoss(), x, y)

apart = np.abs(losses - by_logits).max()
correct = int(((net_by_logits(x)[:, 0] > 0) == (y > 0.5)).sum())
print(f"loss {losses[0]:.4f} → {losses[-1]:.4f}; the two losses differ by at most {apart:.1e} in 100 steps")
print(f"{correct} of {len(y)} flowers recognised")
assert apart < 1e-6
assert correct == 100

# %%
# Where they part
# ---------------
# Let a flower of label 0 have a large score: a mistake made with confidence. In single precision
# :math:`\sigma(z)` is 1 from about :math:`z = 17` on, and :math:`\ln(1 - p)` is lost; torch caps it at 100.
# Worse, the gradient is then 0, so the mistake is never corrected. From the logit, loss and gradient are
# right for every :math:`z`.

z = torch.linspace(0, 40, 401, requires_grad=True)
zeros = torch.zeros_like(z)
by_p = functional.binary_cross_entropy(torch.sigmoid(z), zeros, reduction="none")
by_z = functional.binary_cross_entropy_with_logits(z, zeros, reduction="none")
(slope_p,) = torch.autograd.grad(by_p.sum(), z)
(slope_z,) = torch.autograd.grad(by_z.sum(), z)
exact = np.logaddexp(0, z.detach().double().numpy())
assert np.allclose(by_z.detach(), exact, rtol=1e-6)
assert float(slope_p[-1]) == 0.0 and float(slope_z[-1]) == 1.0
first = float(z.detach()[torch.sigmoid(z.detach()) == 1].min())
print(f"σ(z) = 1 in single precision from z = {first:.1f} on")
print(f"z = 40: from p {by_p[-1].item():.0f}, from z {by_z[-1].item():.0f}, exact {exact[-1]:.0f}")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, of_p, of_z, what in ((left, by_p, by_z, "loss"), (right, slope_p, slope_z, "derivative of the loss")):
    ax.plot(z.detach(), of_p.detach(), "--", color="tab:red", label="from the probability")
    ax.plot(z.detach(), of_z.detach(), "-", color="black", label="from the logit")
    ax.set(xlabel="score z of a flower with label 0", ylabel=what)
    ax.legend(loc="center right")
    ax.grid(alpha=0.3)
left.set_title("In single precision the loss jumps to its cap")
right.set_title("and its derivative vanishes")
plt.show()

# %%
# Flowers that no plane separates
# -------------------------------
# Setosa and versicolor can be separated by a plane, and then there is no best one for this loss: to double
# all weights of a plane that separates lowers the loss, so they grow for ever. Versicolor and virginica
# overlap, and there is a minimum. We find it with L-BFGS, and again by Newton's method, where a step solves
# :math:`H d = X^T (p - y)` with the matrix of second derivatives :math:`H = X^T \operatorname{diag}(p(1-p))\,
# X`.

with torch.no_grad():
    scores = net_by_logits(x)[:, 0]
    once, twice = (float(functional.binary_cross_entropy_with_logits(t * scores, y)) for t in (1, 2))
print(f"setosa and versicolor: loss {once:.4f}, with doubled weights {twice:.4f}")
assert twice < once


def minimise(x, y):
    net = nn.Linear(x.shape[1], 1, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(
        net.parameters(),
        max_iter=1000,
        tolerance_grad=1e-10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def evaluate():
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(net(x)[:, 0], y)
        loss.backward()
        return loss

    optimizer.step(evaluate)
    return torch.cat([net.bias, net.weight[0]]).detach()


def newton(x, y, steps=12):
    X = torch.cat([torch.ones(len(x), 1, dtype=torch.float64), x], 1)
    theta = torch.zeros(X.shape[1], dtype=torch.float64)
    for _ in range(steps):
        p = torch.sigmoid(X @ theta)
        theta = theta - torch.linalg.solve(X.T @ ((p * (1 - p))[:, None] * X), X.T @ (p - y))
    return theta


x, y = pair("versicolor", "virginica")
theta, oracle = minimise(x, y), newton(x, y)
z = theta[0] + x @ theta[1:]
deviance = 2 * float(functional.binary_cross_entropy_with_logits(z, y, reduction="sum"))
wrong = (z > 0) != (y > 0.5)
print("L-BFGS:", theta, "\nNewton:", oracle)
print(f"deviance {deviance:.3f}, {int(wrong.sum())} of {len(y)} flowers on the wrong side")
assert torch.allclose(theta, oracle, rtol=1e-4)

# %%
# The same numbers stand in many a course on statistics: R prints them for ``glm(Species ~ ., binomial)``,
# with a deviance, which is twice the sum of the losses, of 11.899.

published = torch.tensor([-42.638, -2.465, -6.681, 9.429, 18.286], dtype=torch.float64)
assert torch.allclose(oracle, published, rtol=0, atol=5e-4) and abs(deviance - 11.899) < 5e-4

# %%
# A picture of four measurements is a picture of the score. For a map, two measurements have to do: a second
# model sees the petals alone, and its lines of equal probability are parallel.

petals = minimise(x[:, 2:], y)
assert torch.allclose(petals, newton(x[:, 2:], y), rtol=1e-4)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
colours = ("tab:blue", "tab:orange", "tab:green")
for name, marker, colour in zip(names, "^os", colours, strict=True):
    some = species == name
    left.plot(*measured[some, 2:].T, marker, color=colour, mfc="none", label=name)
length = np.linspace(4.0, 7.1, 2)
for p, style in ((0.1, ":"), (0.5, "-"), (0.9, "--")):
    width = (np.log(p / (1 - p)) - float(petals[0]) - float(petals[1]) * length) / float(petals[2])
    left.plot(length, width, style, color="black", linewidth=1, label=f"P(virginica) = {p}")
left.set(xlabel="petal length in cm", ylabel="petal width in cm", ylim=(0, 3.0))
left.set_title("From the petals alone")
left.legend(fontsize="small", loc="upper left")
line = torch.linspace(-25, 30, 500)
right.plot(line, torch.sigmoid(line), "k-", linewidth=1, label="σ(z)")
for label, marker, colour in ((0, "o", colours[1]), (1, "s", colours[2])):
    some = y == label
    right.plot(z[some], y[some], marker, color=colour, mfc="none", label=names[1 + label])
right.plot(z[wrong], y[wrong], "x", color="black", markersize=9, label="on the wrong side")
right.set(xlabel="score z = w · x + b", ylabel="label, and probability σ(z)")
right.set_title("From all four measurements")
right.legend(fontsize="small", loc="center right")
for ax in (left, right):
    ax.grid(alpha=0.3)
plt.show()

# %%
# Two classes of many
# -------------------
# The classifiers of the package give one score per class and are trained with the cross-entropy of their
# softmax, :eq:`softmax-cross-entropy`. For two classes with the scores 0 and :math:`z` that is logistic
# regression: :math:`e^z / (e^0 + e^z) = \sigma(z)`. The model ``"logistic"`` takes images; a flower is one of
# four channels and one pixel.

model = mgnet.models.create("logistic", num_classes=2, in_channels=4, image_size=1).double()
with torch.no_grad():
    model[1].weight.copy_(torch.stack([torch.zeros(4), theta[1:]]))
    model[1].bias.copy_(torch.stack([torch.zeros(()), theta[0]]))
    loss = float(functional.cross_entropy(model(x[:, :, None, None]), y.long()))
print(f"cross-entropy of two scores {loss:.12f}, binary cross-entropy {deviance / 200:.12f}")
assert abs(loss - deviance / 200) < 1e-12
