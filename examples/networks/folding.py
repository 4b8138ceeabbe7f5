r"""
Folding batch normalisation
===========================

In evaluation, batch normalisation is a scale and a shift of each channel. If a convolution or a linear layer
stands right before it, both can be taken into that layer's kernel and bias,

.. math:: w' = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}\, w, \qquad
    b' = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}\, (b - \mu) + \beta,

and the norm is gone. The network computes the same, with fewer operations.

:Lecture systems: C11
:Chapter: :doc:`/book/layers`

:func:`mgnet.layers.fold_batchnorm` does it to any network. Here it is compared with the formula written out,
on the small network of the lecture, which is trained first so that its norms have something to say; then it
is applied to the networks of the package.
"""

# %%
# The network
# -----------
# Two convolutions and a linear layer, each with its norm, and a last linear layer. The lecture's has 1024
# neurons behind the convolutions, this one 64, to be trained quickly.

import copy

import matplotlib.pyplot as plt
import torch
from torch import nn

import mgnet
from mgnet.layers import fold_batchnorm, foldable

torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
    nn.Flatten(),
    *(nn.Linear(16 * 32 * 32, 64), nn.BatchNorm1d(64), nn.ReLU()),
    *(nn.Linear(64, 10), nn.ReLU()),
)
data = mgnet.data.synthetic(train=600, validation=0, test=500)
recipe = {"epochs": 2, "batch_size": 50, "lr": 0.05, "bfloat16": False}
history = mgnet.fit(model, data, progress=False, **recipe)
print(f"test accuracy after two epochs: {history.test_accuracy:.1%}")

# %%
# Folding
# -------
# The formula, :eq:`folding`, channel by channel, for each of the three pairs. The package finds the pairs
# itself, by following a forward pass, and refuses a network in training mode: there the norm depends on the
# batch.

try:
    fold_batchnorm(model.train())
    raise AssertionError("training mode was accepted")
except ValueError as error:
    print(error)

model.eval().double()
by_hand = copy.deepcopy(model)
with torch.no_grad():
    for layer, norm in [(0, 1), (3, 4), (7, 8)]:
        w, n = by_hand[layer], by_hand[norm]
        scale = n.weight / (n.running_var + n.eps).sqrt()
        w.weight *= scale.view(-1, *[1] * (w.weight.ndim - 1))
        w.bias.copy_(scale * (w.bias - n.running_mean) + n.bias)
        by_hand[norm] = nn.Identity()

folded = fold_batchnorm(model)
print(f"pairs of layer and norm: {foldable(model)}")
assert foldable(model) == [("0", "1"), ("3", "4"), ("7", "8")]
assert not any(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in folded.modules())
for mine, theirs in zip(folded.parameters(), by_hand.parameters(), strict=True):
    assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-14)

# %%
# The difference
# --------------
# The lecture asks that the squared norm of the difference, over a batch of 100 images, be below 10⁻⁸. It is
# for every batch of the test set, in float32 as in float64; in float32 what is left is rounding, and it
# depends on how large the numbers on the way are.

differences, outputs = {}, {}
for dtype in (torch.float32, torch.float64):
    before = copy.deepcopy(model).to(dtype)
    after = fold_batchnorm(before)
    batches = mgnet.data.Batches(data.test, 100, shuffle=False)
    with torch.no_grad():
        pairs = [(before(x.to(dtype)), after(x.to(dtype))) for x, _ in batches]
    squared = max((a - b).square().sum().item() for a, b in pairs)
    differences[dtype] = torch.cat([a - b for a, b in pairs])
    outputs[dtype] = torch.cat([a for a, _ in pairs])
    print(f"{dtype}: largest squared norm over 100 images {squared:.1e}")
    assert squared < 1e-8
assert differences[torch.float64].abs().max() < 1e-12

scale = (model[1].weight / (model[1].running_var + model[1].eps).sqrt()).detach()
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.7), layout="constrained")
left.bar(range(16), scale.numpy(), color="0.6")
left.set(xlabel="channel of the first convolution", ylabel="γ / √(σ² + ε)")
left.set_title("Each kernel is multiplied by its own number")
for (dtype, difference), marker in zip(differences.items(), "ox", strict=True):
    some = difference.abs() > 0
    x, y = outputs[dtype][some].numpy(), difference[some].abs().numpy()
    right.loglog(x, y, marker, markersize=3, alpha=0.5, label=str(dtype).removeprefix("torch."))
right.set(xlabel="output before folding", ylabel="difference after folding", ylim=(1e-18, 1e-4))
right.set_title("Folding changes outputs by rounding only")
right.legend()
plt.show()

# %%
# Where it can be done
# --------------------
# Not every norm stands right behind a layer. The lecture's ``net`` has ReLU and pooling in between. In a
# residual network with the norms first, :eq:`pre-activation`, half of them stand where a skip branches off.
# In MgNet the norm of f − A u stands behind a difference, and a kernel B that several iterations share feeds
# several norms. Those stay, and the network is the same function all the same.

torch.manual_seed(1)
images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
found = {}
print("network        norms  foldable  difference")
for name in ("resnet20", "preact18", "mgnet-32", "net"):
    options = {"batch_norm": True} if name == "net" else {}
    network = mgnet.models.create(name, **options).double()
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:  # as if it had been trained: no two channels alike
        nn.init.normal_(norm.running_mean, std=0.1)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    network.eval()
    found[name] = (len(norms), len(foldable(network)))
    with torch.no_grad():
        scores = network(images)
        difference = (fold_batchnorm(network)(images) - scores).abs().max() / scores.abs().max()
    print(f"{name:<14} {found[name][0]:>5} {found[name][1]:>9} {difference:>11.1e}")
    assert difference < 1e-12
assert found["resnet20"] == (19, 19) and found["mgnet-32"] == (23, 7)
assert found["preact18"] == (16, 8) and found["net"] == (2, 0)
