r"""
Softmax, cross-entropy and the soft maximum
===========================================

A classifier gives one score per class. The softmax makes probabilities of them, and the cross-entropy says
how far these are from the truth. Behind both stands one function, the logarithm of a sum of exponentials: a
maximum without corners, whose gradient is the softmax.

:Lecture systems: T5
:Chapter: :doc:`/book/linear-models`

The identities are checked against independent formulas and the limits against bounds that hold for every
:math:`\beta`, not only in the limit.
"""

# %%
# The soft maximum
# ----------------
# For :math:`x \in \mathbb{R}^n` and :math:`\beta > 0` let
#
# .. math:: \nu_\beta(x) = \frac1\beta \ln \sum_{i=1}^n e^{\beta x_i}.
#
# The largest term alone is :math:`e^{\beta \max x}`, and there are :math:`n` terms, none larger. Hence
#
# .. math:: \max_i x_i \le \nu_\beta(x) \le \max_i x_i + \frac{\ln n}{\beta},
#
# so :math:`\nu_\beta` tends to the maximum from above. The exponentials overflow long before the result does;
# :func:`torch.logsumexp` first takes the maximum out of the sum.

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional


def soft_maximum(x, beta):
    return torch.logsumexp(beta * x, -1) / beta


x = torch.tensor([1.0, 3.0, -0.5, 2.4, 0.0], dtype=torch.float64)
betas = torch.logspace(-1, 3, 41, dtype=torch.float64)
excess = torch.stack([soft_maximum(x, beta) for beta in betas]) - x.max()
print("ν − max for β = 0.1, 1, 10, 100:", excess[[0, 10, 20, 30]])
rounding = 1e-15
assert (excess >= -rounding).all() and (excess <= np.log(len(x)) / betas).all()
assert (excess.diff() <= rounding).all()
assert float(excess[-1]) < 1e-12

overflows = torch.log(torch.exp(1000 * x).sum()) / 1000
print(f"β = 1000: as it is written {overflows}, without overflow {soft_maximum(x, 1000.0)}")
assert torch.isinf(overflows) and torch.isfinite(soft_maximum(x, 1000.0))

# %%
# Its gradient is the softmax
# ---------------------------
# Differentiate:
#
# .. math::
#    \frac{\partial \nu_1}{\partial x_j} = \frac{e^{x_j}}{\sum_i e^{x_i}} = \operatorname{softmax}(x)_j,
#    \qquad \nabla \nu_\beta(x) = \operatorname{softmax}(\beta x).
#
# Let the largest entry lead by a gap :math:`g`. Then each of the others gets at most :math:`e^{-\beta g}`,
# and the gradient tends to the unit vector :math:`e_{\operatorname{argmax}}`, that of the maximum itself.
# Where several entries are largest the maximum has a corner, and the limit shares 1 among them.


def gradient(x, beta):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(soft_maximum(x, beta), x)[0]


exponentials = torch.exp(x)
assert torch.allclose(gradient(x, 1.0), exponentials / exponentials.sum(), rtol=1e-14)
assert torch.allclose(gradient(x, 7.0), torch.softmax(7 * x, 0), rtol=1e-12)

unit = functional.one_hot(x.argmax(), len(x))
gap = x.topk(2).values.diff().abs().item()
distance = torch.stack([(gradient(x, beta) - unit).abs().max() for beta in betas])
print("distance to the unit vector for β = 1, 10, 100:", distance[[10, 20, 30]])
assert (distance <= (len(x) - 1) * torch.exp(-betas * gap) + rounding).all()

tie = torch.tensor([2.0, 2.0, 0.0], dtype=torch.float64)
print("two largest entries:", gradient(tie, 50.0))
assert torch.allclose(gradient(tie, 50.0), torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64), atol=1e-15)

# %%
# With two scores, :math:`t` and 0, all this is a picture: :math:`\nu_\beta` is a smooth rectifier, known as
# softplus, and its derivative the logistic function.

t = torch.linspace(-3, 3, 301, dtype=torch.float64)
pairs = torch.stack([t, torch.zeros_like(t)], 1)
assert torch.allclose(soft_maximum(pairs, 4.0), functional.softplus(t, beta=4.0), atol=1e-9)

fig, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for beta, style in ((1.0, ":"), (2.0, "-."), (8.0, "--")):
    axes[0].plot(t, soft_maximum(pairs, beta), style, label=f"β = {beta:.0f}")
    axes[1].plot(t, torch.softmax(beta * pairs, 1)[:, 0], style, label=f"β = {beta:.0f}")
axes[0].plot(t, t.clamp(min=0), "k-", linewidth=1, label="max(t, 0)")
axes[1].plot(t, (t > 0).double(), "k-", linewidth=1, label="limit")
axes[0].set(xlabel="t", ylabel="$ν_β(t, 0)$", title="The soft maximum")
axes[1].set(xlabel="t", ylabel="derivative by t", title="and its slope, for two scores")
axes[2].loglog(betas, excess, "o", mfc="none", markersize=4, label="$ν_β − \\max$")
axes[2].loglog(betas, np.log(len(x)) / betas, "-", color="tab:blue", label="bound ln n / β")
axes[2].loglog(
    betas, distance, "s", color="tab:red", mfc="none", markersize=4, label="gradient − unit vector"
)
axes[2].loglog(
    betas, (len(x) - 1) * torch.exp(-betas * gap), "--", color="tab:red", label="bound $(n − 1)\\, e^{−βg}$"
)
axes[2].set(xlabel="β", ylabel="distance to the limit", title="Limits, for five scores")
axes[2].set(xlim=(0.09, 60), ylim=(1e-12, 1e2))
for ax in axes:
    ax.legend(fontsize="small")
    ax.grid(alpha=0.3)
plt.show()

# %%
# Cross-entropy is entropy plus divergence
# ----------------------------------------
# For the true distribution :math:`p` and the predicted :math:`q`,
#
# .. math:: H(p, q) = -\sum_i p_i \ln q_i = \underbrace{-\sum_i p_i \ln p_i}_{H(p)}
#    + \underbrace{\sum_i p_i \ln \frac{p_i}{q_i}}_{D(p \,\Vert\, q)}.
#
# The entropy does not depend on the prediction. The Kullback-Leibler divergence :math:`D` is never negative,
# and 0 for :math:`q = p` alone. So to minimise the cross-entropy is to bring :math:`q` to :math:`p`. We check
# it for random distributions with torch's own :class:`torch.distributions.Categorical`.

generator = torch.Generator().manual_seed(0)
scores = torch.randn(200, 5, dtype=torch.float64, generator=generator)
p = torch.softmax(2 * torch.randn(200, 5, dtype=torch.float64, generator=generator), 1)
truth, prediction = (torch.distributions.Categorical(probs=q) for q in (p, torch.softmax(scores, 1)))
entropy, divergence = truth.entropy(), torch.distributions.kl_divergence(truth, prediction)
loss = functional.cross_entropy(scores, p, reduction="none")

apart = float((loss - (entropy + divergence)).abs().max())
print(f"H(p, q) against H(p) + D(p‖q), 200 pairs: {apart:.1e}; least D {float(divergence.min()):.4f}")
assert apart < 1e-13
assert (divergence > 0).all()
assert float(torch.distributions.kl_divergence(truth, truth).abs().max()) < 1e-15

# %%
# With one class certain, :math:`p = e_y`, the entropy is 0 and what is left is :math:`-\ln q_y`, or in terms
# of the scores the soft maximum minus the score of the true class, :math:`\nu_1(x) - x_y`. This is
# :eq:`softmax-cross-entropy`, and :class:`torch.nn.CrossEntropyLoss` computes it: it wants scores, not
# probabilities, and its gradient is :math:`\operatorname{softmax}(x) - e_y`.

labels = torch.randint(5, (200,), generator=generator)
scores.requires_grad_()
loss = nn.CrossEntropyLoss(reduction="sum")(scores, labels)
by_hand = (soft_maximum(scores, 1.0) - scores[torch.arange(200), labels]).sum()
assert torch.isclose(loss, by_hand, rtol=1e-14)
(slope,) = torch.autograd.grad(loss, scores)
rule = torch.softmax(scores.detach(), 1) - functional.one_hot(labels, 5)
print(f"gradient against softmax − unit vector: {float((slope - rule).abs().max()):.1e}")
assert torch.allclose(slope, rule, rtol=0, atol=1e-14)

# %%
# A slip that goes unnoticed: to apply the softmax first. The loss then takes probabilities for scores. They
# lie between 0 and 1, so even a perfect prediction among five classes costs :math:`\ln(1 + 4/e)`.

perfect = functional.one_hot(torch.tensor([2]), 5).double()
twice = functional.cross_entropy(perfect, torch.tensor([2])).item()
print(f"least loss after a second softmax: {twice:.4f}")
assert abs(twice - np.log(1 + 4 / np.e)) < 1e-14

# %%
# The last picture moves a prediction from the uniform distribution through :math:`p` and beyond: the entropy
# is a floor, and the divergence stands on it.

p = torch.tensor([0.70, 0.15, 0.10, 0.05], dtype=torch.float64)
way = torch.linspace(0, 2, 201, dtype=torch.float64)[:, None]
q = torch.softmax(way * torch.log(p), 1)  # uniform at 0, p at 1
floor = -(p * p.log()).sum()
total = -(p * q.log()).sum(1)
lowest = way[total.argmin()].item()
print(f"lowest at {lowest:.2f}, where H(p, q) − H(p) = {(total.min() - floor).item():.1e}")
assert abs(lowest - 1) < 1e-12 and abs(float(total.min() - floor)) < 1e-14

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.fill_between(way[:, 0], 0, floor, color="0.85", label="entropy H(p)")
left.fill_between(
    way[:, 0], floor, total, color="tab:orange", alpha=0.5, hatch="//", label="divergence D(p‖q)"
)
left.plot(way, total, "k-", label="cross-entropy H(p, q)")
left.set(xlabel="prediction: 0 uniform, 1 the truth, 2 too sure", ylabel="nats", ylim=(0, None))
left.set_title("Cross-entropy = entropy + divergence")
left.legend(loc="lower right", fontsize="small")
for i, (step, hatch) in enumerate(((0, ""), (100, "//"), (200, ".."))):
    right.bar(
        np.arange(4) + 0.27 * (i - 1),
        q[step].numpy(),
        0.25,
        hatch=hatch,
        edgecolor="white",
        label=f"at {step // 100}",
    )
right.set(xlabel="class", ylabel="probability", xticks=range(4), title="Three of the predictions")
right.legend()
for ax in (left, right):
    ax.grid(alpha=0.3)
plt.show()
