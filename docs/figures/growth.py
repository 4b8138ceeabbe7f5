"""How time and memory grow with the number of unknowns: a committed run of ``benchmarks/growth.py``."""

import matplotlib.pyplot as plt
import numpy as np
from measured import measured

facts, sections = measured("how cost grows")
COLOUR = {
    "exact, reused": "tab:blue",
    "exact, set up and solved": "tab:cyan",
    "multigrid, reused": "tab:blue",
    "multigrid, set up and solved": "tab:cyan",
    "LAPACK dptsv": "0.4",
    "sine transform": "tab:orange",
    "SciPy's sparse LU": "tab:red",
    "PyAMG Ruge-Stüben": "tab:green",
}
LINE = {"1-D": "o:", "2-D": "s-", "3-D": "^--"}


def curves(rows):
    """Give the name of each method with its exponent, and its unknowns and figures."""
    found, pairs = {}, []
    for what, figure, *_ in rows:
        if what.startswith("    "):
            pairs.append((int(what.split()[0]), float(figure.split()[0])))
        else:
            pairs = []
            found[what.removesuffix(", its exponent")] = figure, pairs
    return found


def margin(ax, ends):
    """Write the exponents to the right of the lines' ends, from high to low, and apart from each other."""
    low, high = np.log(ax.get_ylim())
    last = 2.0
    for y, text, colour in sorted(ends, reverse=True):
        last = min((np.log(y) - low) / (high - low), last - 0.035)
        ax.text(1.02, last, text, color=colour, transform=ax.transAxes, fontsize=7, va="center")


figure, axes = plt.subplots(1, 2, figsize=(9, 5.6), layout="constrained", sharex=True)
panels = ("How time grows", "time, ms"), ("How memory grows", "memory, MiB")
for ax, (title, unit) in zip(axes, panels, strict=True):
    ends = []
    for name, (exponent, pairs) in curves(sections[title]).items():
        dim, _, method = name.partition(", ")
        x, y = zip(*pairs, strict=True)
        ax.loglog(x, y, LINE[dim], color=COLOUR[method], markersize=3.5, linewidth=1)
        if not exponent.startswith("unmeasured"):
            ends.append((y[-1], f"{dim}: {exponent}", COLOUR[method]))
    ax.set(xlabel="unknowns", ylabel=unit)
    ax.grid(alpha=0.3)
    margin(ax, ends)
handles = [
    plt.Line2D([], [], color="k", linestyle=LINE[dim][1:], marker=LINE[dim][0], markersize=3.5)
    for dim in LINE
]
labels = list(LINE)
for method, colour in COLOUR.items():
    if not method.startswith("multigrid"):
        handles.append(plt.Line2D([], [], color=colour, linewidth=3))
        labels.append(method.replace("exact", "mgnet"))
figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="small")
figure.suptitle(facts, fontsize="small", color="0.3")
plt.show()
