"""How the error shrinks with the cells, in three measures."""

import matplotlib.pyplot as plt
import numpy as np

import mgnet

counts = [4, 8, 16, 32, 64, 128, 256]
ends = {"right": mgnet.Dirichlet(np.sin(3) + 0.5)}
t, w = np.polynomial.legendre.leggauss(6)


def u(x):
    """Evaluate the solution."""
    return np.sin(3 * x) + x**2 / 2


def norm(n, values):
    """Integrate the square over cells, by six points on each; the root of it."""
    return float(np.sqrt((values**2 @ w).sum() / (2 * n)))


rows = []
for n in counts:
    sol = mgnet.solve(lambda x: 9 * np.sin(3 * x) - 1, n=n, **ends)
    lumped = mgnet.solve(lambda x: 9 * np.sin(3 * x) - 1, n=n, load="nodal", **ends)
    x = sol.x[:-1, None] + (t + 1) / (2 * n)
    slope = norm(n, sol.derivative(x) - 3 * np.cos(3 * x) - x)
    rows.append((slope, norm(n, sol(x) - u(x)), abs(lumped.u - u(sol.x)).max()))

slope, mean, nodes = np.array(rows).T
figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
ax.loglog(counts, slope, "o-", label="slope, in the mean (H¹): order 1")
ax.loglog(counts, mean, "s--", label="value, in the mean (L²): order 2")
ax.loglog(counts, nodes, "^:", label="nodal values, lumped load: order 2")
ax.set(
    xlabel="cells n",
    ylabel="error",
    title="Half the cell width: half the error of u′, a quarter of that of u",
)
ax.set_xticks(counts, map(str, counts), minor=False)
ax.minorticks_off()
ax.legend()
