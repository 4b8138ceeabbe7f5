"""Estimate, error and residual of the iterates of V-cycles on an interval."""

import matplotlib.pyplot as plt
import numpy as np

import mgnet

n, most = 4096, 15


def f(x):
    """A load without symmetry."""
    return np.exp(x) * np.sin(9 * x)


exact = mgnet.solve(f, n=n).u
largest = np.abs(exact).max()
counts = range(1, most + 1)
runs = [mgnet.solve(f, n=n, method="vcycle", maxiter=k, tol=0.0, throw=False) for k in counts]

figure, ax = plt.subplots(figsize=(8, 3.9), layout="constrained")
ax.semilogy(counts, [run.residuals[-1] for run in runs], "C1s--", label="residual")
ax.semilogy(counts, [run.error_estimate / largest for run in runs], "C2^-.", label="estimate of the error")
ax.semilogy(counts, [np.abs(run.u - exact).max() / largest for run in runs], "C0o-", label="error")
ax.set(xlabel="V-cycles", ylabel="relative size", xticks=counts)
ax.set_title("4096 cells, a smooth load, float64")
ax.grid(alpha=0.3)
ax.legend()
plt.show()
