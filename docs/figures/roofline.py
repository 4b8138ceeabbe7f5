"""The cycle under its roofline, from the committed run of ``benchmarks/growth.py``."""

import re

import matplotlib.pyplot as plt
import numpy as np
from measured import measured

facts, sections = measured("how cost grows")
rows = {what.strip(): float(figure.split()[0]) for what, figure, *_ in sections["Roofline of a cycle"]}

# Operations for an unknown, and numbers of four bytes that are read and written: the chapter counts them.
OPERATIONS, APART, FUSED = 92.25, 17.5, 5.5

figure, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
intensity = np.logspace(-1, 2.3, 200)
for threads, style in (("one thread", "-"), ("two threads", "--")):
    memory = rows[f"memory, {threads}, read and written by a copy"]
    arithmetic = rows[f"arithmetic, {threads}, product of matrices"]
    ax.loglog(intensity, np.minimum(intensity * memory, arithmetic), f"k{style}", linewidth=1, label=threads)
for way, numbers, colour in (("torch", APART, "tab:red"), ("compiled", FUSED, "tab:blue")):
    x = OPERATIONS / (4 * numbers)
    ax.axvline(x, color=colour, alpha=0.25, linewidth=1)
    for count, marker in ((1, "o"), (2, "s")):
        found = []
        for what, milliseconds in rows.items():
            parts = re.match(rf"V\(2,2\) cycle, n = (\d+), {way}, {count} thread", what)
            if parts:
                n = int(parts[1])
                found.append((n, 4 / 3 * OPERATIONS * (n - 1) ** 2 / milliseconds * 1e-6))
        place = [x * (0.93 if count == 1 else 1.07)] * len(found)
        name = f"{way}, {count} thread{'s' * (count > 1)}"
        ax.plot(place, [rate for _, rate in found], marker, color=colour, markersize=4, label=name)
        for n, rate in (found[0], found[-1]):
            ax.annotate(
                f"{n}²",
                (place[0], rate),
                xytext=(-6 if count == 1 else 6, 0),
                textcoords="offset points",
                ha="right" if count == 1 else "left",
                va="center",
                fontsize=7,
            )
ax.set(xlabel="operations per byte that is read or written", ylabel="10⁹ operations per second")
ax.grid(alpha=0.3)
ax.legend(fontsize="small", loc="lower right")
figure.suptitle(facts, fontsize="small", color="0.3")
plt.show()
