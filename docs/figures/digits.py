"""The error at the nodes on ever finer grids: the exact cycle, and elimination on the matrix."""

import matplotlib.pyplot as plt
import numpy as np
import scipy.linalg

import mgnet

counts = 2 ** np.arange(4, 19, 2)


def load(n):
    """Integrate π² sin πx against the hats, in closed form."""
    return 4 * n * np.sin(np.pi / (2 * n)) ** 2 * np.sin(np.pi * np.arange(1, n) / n)


def eliminated(n, dtype):
    """Solve as LAPACK does for a tridiagonal matrix."""
    bands = np.full((2, n - 1), -n, dtype)
    bands[1] = 2 * n
    return scipy.linalg.solveh_banded(bands, load(n).astype(dtype))


def cycled(n, dtype):
    """Solve by one cycle."""
    return mgnet.solve(b=load(n).astype(dtype), n=n).u[1:-1]


figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", sharey=True)
for ax, dtype in zip(axes, (np.float64, np.float32), strict=True):
    for name, solve, style in (("elimination (LAPACK)", eliminated, "s--"), ("one cycle", cycled, "o-")):
        errors = [abs(solve(n, dtype) - np.sin(np.pi * np.arange(1, n) / n)).max() for n in counts]
        ax.loglog(counts, errors, style, label=name)
    ax.axhline(np.finfo(dtype).eps, color="k", linewidth=0.7, linestyle=":", label="one rounding")
    ax.set(title=np.dtype(dtype).name, xlabel="cells n")
    ax.legend(fontsize="small")
axes[0].set_ylabel("largest nodal error")
