"""f and c through the same integrals, and through different ones."""

import matplotlib.pyplot as plt
import numpy as np

import mgnet

NAMES = ("f and c lumped", "f and c integrated", "f lumped, c integrated")
STYLES = ("o-", "s--", "^:")
free = {"left": mgnet.Neumann(0), "right": mgnet.Neumann(0)}


def lumped(f):
    """Return nodal values times the integrals of their hats: the load of all nodes."""
    h = np.full(len(f), 1 / (len(f) - 1))
    h[[0, -1]] /= 2
    return f * h


def three(f, c, ends):
    """Solve in three ways, the last by a ready load, beside which c is integrated."""
    n, inner = len(f) - 1, slice(None) if ends else slice(1, -1)
    yield mgnet.solve(f, n=n, c=c, **ends)
    yield mgnet.solve(f, n=n, c=c, load="exact", **ends)
    yield mgnet.solve(b=lumped(f)[inner], n=n, c=c, **ends)


figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
peak = np.zeros(9)
peak[4] = 100
for sol, name, style in zip(three(peak, peak, free), NAMES, STYLES, strict=True):
    left.plot(sol.x, sol.u, style, label=name, mfc="none")
left.set(xlabel="x", ylabel="u", title="−u″ + c (u − 1) = 0")
left.set_ylim(0.7, 1.1)
left.legend(fontsize="small", loc="lower center")

n, steps = 100, np.geomspace(3e-6, 1e-2, 40)
start = np.sin(np.pi * np.linspace(0, 1, n + 1))
rates = [[(start[n // 2] / sol.u[n // 2] - 1) / dt for sol in three(start / dt, 1 / dt, {})] for dt in steps]
for rate, name, style in zip(np.transpose(rates), NAMES, STYLES, strict=True):
    right.semilogx(steps, rate, style[1:], label=name)
right.axhline(np.pi**2, color="0.7", lw=0.8, zorder=0)
right.set(xlabel="step of time dt", ylabel="rate of decay", title="A step of $u_t = u_{xx}$", ylim=(-12, 13))
right.annotate("π²", (steps[0], np.pi**2), xytext=(0, 4), textcoords="offset points", color="0.5")
plt.show()
