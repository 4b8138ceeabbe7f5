"""Cycles and steps that it takes where a coefficient jumps, by two kinds of interpolation."""

from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.operators import entries
from mgnet.operators.cells import CellStiffness
from mgnet.operators.interpolation import NodeProlongation

N, JUMPS, MOST = 64, (1, 10, 100, 1e3), 50


def islands(jump):
    """A coefficient of 1 with 12 rectangles of up to 6 x 6 cells where it is something else."""
    rng, a = np.random.default_rng(0), np.ones((N, N))
    for _ in range(12):
        (i, j), (p, q) = rng.integers(0, N - 6, 2), rng.integers(1, 7, 2)
        a[i : i + p, j : j + q] = jump
    return a


def hats(A, chosen):
    """Interpolate as the operator with a = 1 dictates, which is linearly."""
    ones = torch.ones(A.box.cells, dtype=torch.float64)
    return NodeProlongation(CellStiffness(A.box, ones), chosen)


def steps(jump, method):
    """Count what is needed for a random load; MOST where that is not enough."""
    problem = mgnet.Poisson(dim=2, n=N, a=islands(jump))
    load = np.random.default_rng(1).standard_normal(problem.shape)
    sol = mgnet.Hierarchy(problem, method=method).solve(load, throw=False, maxiter=MOST)
    return sol.iterations if sol.status is mgnet.Status.CONVERGED else MOST


found = {}
for method in ("vcycle", "pcg"):
    found["equilibrium", method] = [steps(jump, method) for jump in JUMPS]
    with mock.patch.object(entries, "NodeProlongation", hats):
        found["hats", method] = [steps(jump, method) for jump in JUMPS]

figure, ax = plt.subplots(figsize=(8, 4.4), layout="constrained")
names = {"vcycle": "cycles", "pcg": "conjugate gradients"}
styles = {
    ("hats", "vcycle"): "C1s--",
    ("hats", "pcg"): "C1^:",
    ("equilibrium", "vcycle"): "C0o-",
    ("equilibrium", "pcg"): "C0D-.",
}
for (kind, method), style in styles.items():
    ax.semilogx(JUMPS, found[kind, method], style, label=f"interpolation by {kind}, {names[method]}")
ax.axhline(MOST, color="0.6", linewidth=1)
ax.text(JUMPS[0], MOST, "stopped here, not converged", va="bottom", color="0.3")
ax.set(xlabel="conductivity of the islands", ylabel="steps to the default tolerance", ylim=(0, MOST + 4))
ax.set_title("What islands of another conductivity cost, 64 × 64 cells")
figure.legend(loc="outside lower center", ncols=2)
ax.grid(alpha=0.3)
plt.show()
