r"""
Dropout
=======

Dropout removes neurons at random while a network is trained: each number x of a layer becomes

.. math:: y = \frac{m}{1 - p}\, x, \qquad
    m = \begin{cases} 0 & \text{with probability } p, \\ 1 & \text{else,} \end{cases}

and in evaluation y = x. So every batch trains another, thinner network. Dividing by 1 − p keeps the mean, and
that is why evaluation has nothing to do.

:Lecture systems: C4
:Chapter: :doc:`/book/layers`

:class:`mgnet.layers.Dropout` is this formula, :eq:`dropout`, written out in a dozen lines. Below it is held
against the formulas and against torch's, against the sum over *all* thinner networks, and then it is put into
the lecture's network for CIFAR-10.
"""

# %%
# What it does to numbers
# -----------------------
# The share of zeros is p, the mean stays, and the variance, zero for equal numbers before, is :math:`x^2 p/(1
# - p)`. With a million numbers the sample comes within a percent of that.

import itertools

import matplotlib.pyplot as plt
import torch
from torch import nn

import mgnet
from mgnet.layers import Dropout

ones = torch.ones(1_000_000)
torch.manual_seed(0)
print("   p    zeros     mean   variance  p/(1 − p)")
for p in (0.1, 0.3, 0.5, 0.8):
    y = Dropout(p)(ones)
    zeros, mean, variance = (y == 0).float().mean(), y.mean(), y.var()
    print(f"{p:4.1f}   {zeros:.4f}   {mean:.4f}   {variance:8.4f}  {p / (1 - p):9.4f}")
    assert abs(zeros - p) < 0.003
    assert abs(mean - 1) < 0.01
    assert abs(variance / (p / (1 - p)) - 1) < 0.02

# %%
# In evaluation it returns what it is given, not even a copy. With the same random numbers it is torch's.

layer = Dropout(0.3)
assert layer.eval()(ones) is ones
assert Dropout(1.0)(ones).abs().max() == 0

x = torch.randn(50, 40, requires_grad=True)
results = []
for made in (Dropout(0.3), nn.Dropout(0.3)):
    torch.manual_seed(1)
    y = made(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    results.append((y.detach(), gradient))
(y, gradient), (theirs, their_gradient) = results
assert torch.equal(y, theirs)
assert torch.allclose(gradient, their_gradient)

# %%
# What is removed learns nothing: its gradient is zero.

assert torch.equal(gradient == 0, y == 0)
print(f"{(y == 0).float().mean():.1%} of the numbers, and of their gradients, are zero")

# %%
# All the thinner networks
# ------------------------
# A layer of n neurons has 2ⁿ thinner ones, the one with the mask m has probability
# :math:`(1 - p)^{|m|}\, p^{\,n - |m|}`. For n = 10 these are 1,024 networks, and the mean of all of them can
# be computed. If only a linear layer follows, it *is* the network in evaluation, to rounding. If a ReLU
# follows, the two differ: the mean of a ReLU is at least the ReLU of the mean. Evaluation is an approximation
# then.

p, n = 0.3, 10
torch.manual_seed(2)
hidden = torch.rand(n, dtype=torch.float64)
W, b = torch.randn(2000, n, dtype=torch.float64), torch.randn(2000, dtype=torch.float64)
masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)
probability = (1 - p) ** masks.sum(1) * p ** (n - masks.sum(1))
outputs = (masks * hidden / (1 - p)) @ W.T + b
evaluated = Dropout(p).eval()(hidden) @ W.T + b

linear = probability @ outputs - evaluated
bent = probability @ outputs.relu() - evaluated.relu()
print(f"mean of 1,024 networks minus evaluation: linear {linear.abs().max():.0e}, ReLU {bent.max():.2f}")
assert abs(probability.sum() - 1) < 1e-12
assert linear.abs().max() < 1e-13
assert bent.min() > -1e-13 and bent.max() > 0.1

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
some = outputs[:, 0].numpy()
left.hist(some, 40, weights=probability.numpy(), color="C0", alpha=0.5, label="thinner networks")
left.axvline(evaluated[0].item(), color="k", label="evaluation = mean")
left.set(xlabel="output", ylabel="probability", title="One neuron with 10 inputs, p = 0.3")
left.legend()
averages = (probability @ outputs.relu()).numpy()
right.plot(evaluated.numpy(), averages, ".", markersize=3, label="mean of ReLUs")
right.plot([-4, 0, 6], [0, 0, 6], "k--", label="ReLU of the mean")
right.set(xlabel="output in evaluation, before ReLU", ylabel="behind ReLU", xlim=(-4, 6), ylim=(-0.3, 6))
right.set_title("Behind a ReLU the mean is larger")
right.legend()
plt.show()

# %%
# The Net with dropout
# --------------------
# The lecture puts p = 0.3 behind the first linear layer. Dropout has no parameters: 62,006 before and after.
# In training mode the network gives another answer each time, in evaluation mode the same. A network must be
# told which: ``model.train()`` and ``model.eval()``; :func:`mgnet.fit` and :func:`mgnet.evaluate` do so.

torch.manual_seed(3)
network = mgnet.models.create("net", dropout=0.3)
plain = mgnet.models.create("net")
plain.load_state_dict(network.state_dict())
parameters = sum(parameter.numel() for parameter in network.parameters())
print(f"Net with dropout: {parameters:,} parameters")
assert parameters == mgnet.models.summary("net")[0] == 62_006

images = torch.randn(4, 3, 32, 32)
with torch.no_grad():
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    assert torch.equal(network(images), plain(images))

    # In training mode, by hand: dropout stands behind the ReLU of the first linear layer.
    first, last = network.classifier[:3], network.classifier[4:]
    torch.manual_seed(4)
    by_hand = last(Dropout(0.3)(first(network.features(images))))
    torch.manual_seed(4)
    assert torch.equal(network.train()(images), by_hand)

# %%
# The mean of the thinner networks
# --------------------------------
# After a short training on 1,000 synthetic images, the network in training mode is one thinner network at a
# time. Each alone has a larger loss than the whole. The mean of the scores of many approaches what the
# network says in evaluation mode in one pass, although several layers and a ReLU follow.

data = mgnet.data.synthetic(train=1000, validation=200, test=1000)
mgnet.fit(network, data, epochs=8, batch_size=32, channels_last=True, progress=False)

pixels, labels = next(iter(mgnet.data.Batches(data.test, 1000, shuffle=False)))
with torch.no_grad():
    features = network.eval().features(pixels)  # the same for all: dropout comes behind
    at_once = network.classifier(features)
    network.train()
    scores = torch.stack([network.classifier(features) for _ in range(100)])


def loss(scores: torch.Tensor) -> float:
    return nn.functional.cross_entropy(scores, labels).item()


sizes = [1, 2, 4, 8, 16, 32, 100]
whole = loss(at_once)
alone = [loss(s) for s in scores]
mean = sum(alone) / len(alone)
together = [loss(scores[:size].mean(0)) for size in sizes]
print(f"loss of a thinner network {mean:.3f}, mean of 100 {together[-1]:.3f}, evaluation {whole:.3f}")
print(f"test accuracy in evaluation mode {mgnet.evaluate(network, data.test):.1%}")
assert min(alone) > 1.05 * whole
assert abs(together[-1] - whole) < 0.3 * (mean - whole)

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot([1] * 100, alone, ".", color="0.6", label="each thinner network alone")
ax.semilogx(sizes, together, "o-", label="mean of so many")
ax.axhline(whole, color="k", linestyle="--", label="evaluation mode")
ax.set(xlabel="thinner networks", ylabel="loss on test images", xticks=sizes, xticklabels=sizes)
ax.minorticks_off()
ax.set_title("The whole network stands for the mean of the thinner ones")
ax.legend()
plt.show()
