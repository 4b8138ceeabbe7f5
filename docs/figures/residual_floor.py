"""The relative residual of a solution that is exact to rounding, and its error, by the number of cells."""

import matplotlib.pyplot as plt
import numpy as np

import mgnet

cells = [2**k for k in range(4, 19)]
residuals, errors = [], []
for n in cells:
    sol = mgnet.solve(lambda x: np.pi**2 * np.sin(np.pi * x), n=n, tol=1e-6)
    residuals.append(sol.residuals[-1])
    errors.append(np.abs(sol.u - np.sin(np.pi * sol.x)).max())

figure, ax = plt.subplots(figsize=(8, 3.9), layout="constrained")
ax.loglog(cells, residuals, "C1s--", label="relative residual")
ax.loglog(cells, errors, "C0o-", label="largest error at a node")
ax.loglog(cells, 0.04 * 2.2e-16 * np.array(cells, dtype=float) ** 2, "k:", label="0.04 ε n²")
ax.axhline(1e-10, color="0.6", linewidth=1)
ax.text(cells[0], 1.3e-10, "10⁻¹⁰", color="0.3", va="bottom")
ax.set(xlabel="number of cells n", ylabel="relative size")
ax.set_title("A large residual beside an error of rounding: −u″ = π² sin πx, float64")
ax.grid(alpha=0.3)
ax.legend(loc="upper left")
plt.show()
