"""What two sweeps leave of an eigenvector, by its eigenvalue: formulas as lines, the package as dots."""

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet
from mgnet.operators.smoothers import Chebyshev, Jacobi

n = 32
A = mgnet.Stiffness(1 / n)
k = torch.arange(1, n, dtype=torch.float64)
waves = torch.sin(torch.pi * torch.outer(k, k) / n)[:, None]
eigenvalue = 1 - torch.cos(torch.pi * k / n)

chebyshev = np.polynomial.Chebyshev.basis(2)
kinds = {
    "Jacobi, ω = 1": (Jacobi(A.diagonal(n - 1), 1.0), lambda x: (1 - x) ** 2, ":", "^"),
    "Jacobi, ω = ⅔": (Jacobi(A.diagonal(n - 1)), lambda x: (1 - 2 / 3 * x) ** 2, "--", "o"),
    "Chebyshev": (
        Chebyshev(A.diagonal(n - 1)),
        lambda x: chebyshev((5 - 4 * x) / 3) / chebyshev(5 / 3),
        "-",
        "s",
    ),
}
figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
fine = np.linspace(0, 2, 400)
for name, (smoother, formula, line, marker) in kinds.items():
    after = smoother(A, waves, torch.zeros_like(waves), 2)
    factor = (after * waves).sum((1, 2)) / (waves * waves).sum((1, 2))
    (drawn,) = ax.plot(fine, formula(fine), line)
    ax.plot(eigenvalue, factor, marker, color=drawn.get_color(), markersize=4)
    ax.plot([], [], line, marker=marker, color=drawn.get_color(), markersize=4, label=name)
ax.axvspan(1, 2, color="0.9", zorder=0)
ax.text(1.03, 0.62, "rough: what the coarse\ngrid does not see", fontsize="small")
ax.axhline(0, color="k", linewidth=0.5)
ax.set(xlabel="eigenvalue λ of D⁻¹A", ylabel="factor of the error", xlim=(0, 2), ylim=(-0.25, 1.05))
ax.set_title("Two sweeps damp the rough half and leave the smooth end")
ax.legend(loc="upper center")
