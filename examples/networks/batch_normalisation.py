r"""
Batch normalisation
===================

Batch normalisation gives every channel mean β and standard deviation γ, two learned numbers, whatever came
in:

.. math:: y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta.

In training, μ and σ² are the mean and the variance of the batch, over its images and their pixels. In
evaluation an image must not depend on its neighbours in the batch, so they are fixed numbers: running means
of what the batches had.

:Lecture systems: C5
:Chapter: :doc:`/book/layers`

:class:`mgnet.layers.BatchNorm` is written out with a handful of tensor operations. It is held against
torch's, looked at in both modes, and put into the lecture's network for CIFAR-10.
"""

# %%
# Against torch
# -------------
# One class for features, rows and images, where torch has three. Outputs, gradients and running statistics
# agree in training and in evaluation, in float64 to rounding. The numbers have the same names, so that either
# can load what the other saved.

import matplotlib.pyplot as plt
import torch
from torch import nn

import mgnet
from mgnet.layers import BatchNorm

torch.manual_seed(0)
norms = {nn.BatchNorm1d: (16, 4), nn.BatchNorm2d: (16, 4, 8, 8), nn.BatchNorm3d: (16, 4, 5, 5, 5)}
for their_norm, shape in norms.items():
    ours, theirs = BatchNorm(4).double(), their_norm(4).double()
    nn.init.uniform_(theirs.weight)
    nn.init.uniform_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    worst = 0.0
    for mode in (True, True, False):
        x = (3 + 2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
        results = []
        for norm in (ours.train(mode), theirs.train(mode)):
            y = norm(x)
            gradients = torch.autograd.grad(y.sin().sum(), [x, norm.weight, norm.bias])
            results.append([y, *gradients, norm.running_mean, norm.running_var])
        for mine, their in zip(*results, strict=True):
            worst = max(worst, ((mine - their).abs().max() / their.abs().max()).item())
    print(f"{their_norm.__name__}, shape {shape}: largest relative difference {worst:.1e}")
    assert worst < 1e-12

# %%
# n or n − 1
# ----------
# There are two variances. The batch is divided by the root of the one with 1/n, :eq:`batch-norm`, so that the
# output, measured in the same way, has variance 1. The running variance follows the one with 1/(n − 1),
# :eq:`running-statistics`, since it is to estimate the variance of all images. With 4 numbers per channel the
# difference is a third.

x = torch.randn(4, 1, dtype=torch.float64)
norm = BatchNorm(1, eps=0.0, momentum=1.0).double()
y = norm(x)
print(f"variance of the output with 1/n {y.var(correction=0):.6f}, with 1/(n − 1) {y.var():.6f}")
assert abs(y.var(correction=0) - 1) < 1e-12
assert abs(norm.running_var - x.var()) < 1e-12
assert abs(norm.running_var / x.var(correction=0) - 4 / 3) < 1e-12

# %%
# Two modes
# ---------
# Batches of 32 images whose three channels have other means and other spreads. In training mode every channel
# leaves with mean 0 and standard deviation 1, from the first batch on. The running statistics start at 0 and
# 1 and take momentum m = 0.1 of each batch: what the start still weighs after t batches is :math:`0.9^t`.

means, stds = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([0.5, 2.0, 1.0])


def batch(images: int = 32) -> torch.Tensor:
    return means[:, None, None] + stds[:, None, None] * torch.randn(images, 3, 8, 8)


norm = BatchNorm(3)
running = [norm.running_mean.clone()]
followed = torch.zeros(3)
for _ in range(60):
    x = batch()
    y = norm(x)
    assert y.mean((0, 2, 3)).abs().max() < 1e-5 and (y.std((0, 2, 3)) - 1).abs().max() < 1e-3
    followed = 0.9 * followed + 0.1 * x.mean((0, 2, 3))
    running.append(norm.running_mean.clone())
assert torch.allclose(norm.running_mean, followed, atol=1e-5)
assert torch.allclose(norm.running_mean, means, atol=0.1)
assert torch.allclose(norm.running_var.sqrt(), stds, atol=0.1)

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.5), layout="constrained")
steps = torch.arange(61)
for channel, style in enumerate(("-", "--", "-.")):
    for ax, values in ((left, x), (middle, y)):
        numbers = values[:, channel].flatten().detach().numpy()
        ax.hist(numbers, 40, density=True, histtype="step", linestyle=style, label=f"channel {channel}")
    line = [r[channel].item() for r in running]
    right.plot(steps.numpy(), line, style, label=f"channel {channel}")
    label = "(1 − 0.9ᵗ) · mean" if channel == 2 else None
    right.plot(steps.numpy(), (means[channel] * (1 - 0.9**steps)).numpy(), "k:", linewidth=2, label=label)
left.set(title="a batch comes in", xlabel="number", ylabel="density")
middle.set(title="and leaves normalised", xlabel="number", ylabel="density", xlim=(-4, 4))
right.set(title="running means, and the formula", xlabel="batches t", ylabel="running mean")
left.legend(fontsize="small")
right.legend(fontsize="small", loc="upper right", bbox_to_anchor=(1, 0.47))
plt.show()

# %%
# One image in two batches: in training mode the answer depends on the company, in evaluation it does not. A
# batch of one image still has a variance over its pixels; one row of features has none, and is refused.

image = batch(1)
first, second = torch.cat([image, batch(7)]), torch.cat([image, 5 * batch(7)])
with torch.no_grad():
    training = (norm(first)[0] - norm(second)[0]).abs().max().item()
    norm.eval()
    evaluation = (norm(first)[0] - norm(second)[0]).abs().max().item()
print(f"one image among others: training {training:.1f}, evaluation {evaluation:.0f}")
assert training > 0.5 and evaluation == 0
try:
    BatchNorm(3)(torch.ones(1, 3))
    raise AssertionError("one row was accepted")
except ValueError as error:
    print(error)

# %%
# The Net with batch normalisation
# --------------------------------
# The lecture normalises the 6 channels behind the first pooling and the 84 features behind the second linear
# layer: two numbers for each, 180 parameters more, and as many statistics, which are not parameters.

network = mgnet.models.create("net", batch_norm=True, dropout=0.3)
print(network)
parameters = sum(parameter.numel() for parameter in network.parameters())
print(f"{parameters:,} parameters")
assert parameters == 62_006 + 2 * (6 + 84) == 62_186
statistics = [b for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
assert sum(b.numel() for b in statistics) == 2 * (6 + 84)

# %%
# Written out in torch it is the following. With the same numbers, and the same random numbers for dropout, it
# gives the same scores in both modes, also in evaluation after the statistics have moved.

lecture = nn.Sequential(
    *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(6)),
    *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    *(nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Dropout(0.3)),
    *(nn.Linear(120, 84), nn.ReLU(), nn.BatchNorm1d(84), nn.Linear(84, 10)),
)
numbers = zip(lecture.state_dict(), network.state_dict().values(), strict=True)
lecture.load_state_dict(dict(numbers))
images = torch.randn(8, 3, 32, 32)
for mode in (True, False):
    with torch.no_grad():
        torch.manual_seed(1)
        scores = network.train(mode)(images)
        torch.manual_seed(1)
        assert (lecture.train(mode)(images) - scores).abs().max() < 1e-5

# %%
# What it is for
# --------------
# The scale of what is normalised does not matter: kernels and biases ten times as large give the same
# features in training mode, up to the ε in the root. So the learning rate may be chosen from a wide range.

with torch.no_grad():
    pixels = batch()
    normalised = network.train().features[:4](pixels)
    network.features[0].weight *= 10
    network.features[0].bias *= 10
    change = (network.features[:4](pixels) - normalised).abs().max().item()
print(f"kernels and biases times 10 change the normalised features by {change:.1e}")
assert change < 0.01

# %%
# Three rates, a factor of a hundred apart, for a short training on 1,500 synthetic images: with batch
# normalisation all three learn, without it the smallest and the largest are still where guessing is, at a
# loss of ln 10.

data = mgnet.data.synthetic(train=1500, validation=0, test=500)
rates, losses = (0.002, 0.02, 0.2), {}
for batch_norm in (False, True):
    for rate in rates:
        torch.manual_seed(0)
        network = mgnet.models.create("net", batch_norm=batch_norm)
        recipe = {"recipe": "lecture", "batch_size": 25, "lr": rate, "channels_last": True}
        history = mgnet.fit(network, data, epochs=3, progress=False, **recipe)
        losses[batch_norm, rate] = history.rows[-1]["train_loss"]
        kind = "with norm" if batch_norm else "without"
        print(f"{kind:>9}, learning rate {rate}: loss {losses[batch_norm, rate]:.2f}")
assert all(losses[True, rate] < 2.0 for rate in rates)
assert all(losses[False, rate] > 2.15 for rate in (0.002, 0.2))

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for batch_norm, style in ((False, "s--"), (True, "o-")):
    label = "with batch normalisation" if batch_norm else "without"
    ax.semilogx(rates, [losses[batch_norm, rate] for rate in rates], style, label=label)
ax.axhline(torch.tensor(10.0).log().item(), color="0.5", linestyle=":", label="guessing, ln 10")
ax.set(xlabel="learning rate", ylabel="training loss of epoch 3", ylim=(0, 2.6))
ax.set_title("Batch normalisation forgives the learning rate")
ax.legend()
plt.show()
