r"""
From solver to classifier and back
==================================

MgNet's convolutions have names: A takes features to data, B makes a correction of a residual, R restricts
it to a coarser grid. So a classifier can *start* as a multigrid method, with the kernels of −Δ in every
channel, and after training its A, B and R can be put back into a multigrid cycle. Two numbers say what
training made of them: the factor by which a cycle shrinks an error, and the Galerkin defect

.. math:: \frac{\| R A P - A_H \|}{\| A_H \|}, \qquad P = R^{\mathsf T},

which is zero where the operator :math:`A_H` of the coarse grid is what the fine one looks like from there.

:Lecture systems: M6, and beyond the lectures
:Chapter: :doc:`/book/mgnet`
"""

# %%
# The start
# ---------
# The images are the synthetic ones, ten shapes and textures. Two networks, with eight channels on three
# grids, start from the kernels of −Δ. One may learn all of them; the other may not change them, and only
# its first convolution, its norms and its classifier learn.

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.bridge import convergence_factor, galerkin_defects, levels_of
from mgnet.multigrid import Level, cycle

data = mgnet.data.synthetic(train=2000, validation=0, test=600)

LEARNED = {"learned": "ABRP", "fixed": ""}


def network(**options: object) -> mgnet.models.MgNet:
    torch.manual_seed(0)
    return mgnet.models.create("mgnet", channels=8, nu=(1, 1, 1), **options)


# %%
# There
# -----
# Three epochs each. Even where the kernels of −Δ stay what they are, their differences and averages are
# features that tell most shapes apart.

start = network(kernels="poisson")
trained, accuracy = {}, {}
for name, letters in LEARNED.items():
    trained[name] = network(kernels="poisson", learned=letters)
    recipe = {"epochs": 3, "lr": 0.1, "batch_size": 25, "bfloat16": False}
    accuracy[name] = mgnet.fit(trained[name], data, progress=False, **recipe).test_accuracy

# %%
# And back
# --------
# ``levels_of`` takes A, B and R out of a network, on images of 16 × 16 here, and leaves norms and activations
# out. Then they are a cycle as the solver knows it, :eq:`mgnet-cycle`. Two sweeps before and two after the
# coarse correction.


def levels(model: mgnet.models.MgNet) -> list[Level]:
    return levels_of(model, image_size=16)


methods = {"start": levels(start), **{name: levels(model) for name, model in trained.items()}}
factors = {name: convergence_factor(method) for name, method in methods.items()}
defects = {name: galerkin_defects(method) for name, method in methods.items()}

print("kernels   test accuracy   factor of a cycle   Galerkin defects")
for name, (first, second) in defects.items():
    correct = f"{accuracy[name]:.1%}" if name in accuracy else ""
    print(f"{name:<9} {correct:>13}   {factors[name]:>17.2g}   {first:.2f} {second:.2f}")

# %%
# A classifier is no solver: nothing asks its A and B to shrink an error, and the norms between them take any
# scale. What stays fixed stays a solver. The defect of −Δ is not zero here, since an image has its coarse
# pixels 0, 2, 4, … and the first one's hat is cut off; with the interior nodes of a grid it is zero,
# :eq:`galerkin`.

assert accuracy["learned"] > accuracy["fixed"] > 0.5
assert accuracy["learned"] > 0.75
assert factors["start"] < 0.5 < 1 < factors["learned"]
assert abs(factors["fixed"] - factors["start"]) < 1e-4
assert max(defects["start"]) < 0.2 < min(defects["learned"])

solver = mgnet.models.mgnet(kernels="poisson", linear=True, dim=2, in_channels=1, image_size=15, nu=[2, 2, 1])
assert max(galerkin_defects(levels_of(solver, image_size=15))) < 1e-14

# %%
# Something of the start remains. B helps against a part of an error if the eigenvalue of B A there has a
# positive real part. For −Δ and damped Jacobi that is all of them, for random kernels it is half.


def helped(model: mgnet.models.MgNet, size: int = 8) -> float:
    """Return the share of eigenvalues of B A with a positive real part, on the finest grid."""
    A, B = (operator.to_dense((size, size)) for operator in (model.levels[0].A, model.levels[0].B[0]))
    return float((torch.linalg.eigvals((B @ A).detach()).real > 0).float().mean())


shares = {"−Δ": helped(start), "learned": helped(trained["learned"]), "random": helped(network())}
print("B helps against: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
assert shares["−Δ"] == 1
assert shares["learned"] > shares["random"] + 0.1

# %%
# The kernels of A
# ----------------
# On the finest grid, one square of 3 × 3 numbers from each channel to each. Before training there is −Δ in
# every channel and nothing between them.


def mosaic(model: mgnet.models.MgNet) -> np.ndarray:
    """Return the 8 × 8 kernels of A as one image, with a blank line between them."""
    kernels = model.levels[0].A.weight.detach().numpy()
    framed = np.pad(kernels, ((0, 0), (0, 0), (1, 0), (1, 0)), constant_values=np.nan)
    return framed.transpose(0, 2, 1, 3).reshape(8 * 4, 8 * 4)[1:, 1:]


figure, axes = plt.subplots(1, 2, figsize=(9, 5.4), layout="constrained")
titles = {"at the start": start, "of the trained classifier": trained["learned"]}
for ax, (title, model) in zip(axes, titles.items(), strict=True):
    image = mosaic(model)
    largest = float(np.nanmax(np.abs(image)))
    ax.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest)
    ax.set(title=title, xlabel="from channel", ylabel="to channel")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(np.arange(1, 32, 4), [str(i) for i in range(8)])
    ax.tick_params(length=0)
figure.suptitle("The kernels of A: −Δ in every channel, and couplings between channels after training")
plt.show()

# %%
# An error under the two cycles
# -----------------------------
# Eight cycles of A, B and R, from a random error.


def errors(method: list[Level], cycles: int = 8) -> list[float]:
    error = torch.randn((1, 8, 16, 16), generator=torch.Generator().manual_seed(0))
    sizes = [1.0]
    start = error.double().norm()
    with torch.no_grad():
        for _ in range(cycles):
            error = cycle(method, torch.zeros_like(error), error)
            sizes.append(float(error.double().norm() / start))
    return sizes


figure, (falls, bars) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
labels = {"start": "start, and kept fixed", "learned": "trained"}
for (name, label), style in zip(labels.items(), ("o-", "s--"), strict=True):
    falls.semilogy(errors(methods[name]), style, label=f"{label}: factor {factors[name]:.2g}")
falls.set(title="An error under the cycles", xlabel="cycles", ylabel="relative error")
falls.set_ylim(1e-7, 1e55)
falls.legend(loc="upper left")
falls.grid(alpha=0.3)
places = np.arange(2)
for shift, hatch, (name, label) in zip((-0.2, 0.2), ("", "//"), labels.items(), strict=True):
    bars.bar(places + shift, defects[name], 0.38, label=label, hatch=hatch, edgecolor="white")
bars.set(title="Galerkin defect", xlabel="grids", ylabel="relative size")
bars.set_xticks(places, ["16 × 16 to 8 × 8", "8 × 8 to 4 × 4"])
bars.legend()
shown = [f"{accuracy[name]:.0%} with kernels {name}" for name in LEARNED]
figure.suptitle("What is fixed stays a solver. Test accuracy: " + ", ".join(shown))
plt.show()
