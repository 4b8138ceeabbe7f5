"""How efficient many processes are, on paper: a committed run of ``benchmarks/scaling.py``."""

import re

import matplotlib.pyplot as plt
from measured import measured

facts, sections = measured("several processes", "On paper")
COLOUR = {"1-D": "tab:blue", "2-D": "tab:orange", "3-D": "tab:green"}
rows = next(rows for heading, rows in sections.items() if heading.startswith("On paper"))

formula, simulated, last = {}, {}, None
for what, figure, *_ in rows:
    dim, found = what[:3], re.search(r"processes: (\d+), efficiency$", what)
    if found:
        last = dim, int(found[1])
        formula.setdefault(dim, {})[last[1]] = float(figure.split()[0])
    elif "simulated time" in what:
        dim, ranks = last
        simulated.setdefault(dim, {})[ranks] = formula[dim][ranks] / float(figure)

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for dim, colour in COLOUR.items():
    ax.semilogx(*zip(*formula[dim].items(), strict=True), "-", color=colour, base=2, label=dim)
    ax.semilogx(*zip(*simulated[dim].items(), strict=True), "x", color=colour, base=2)
ax.set(xlabel="processes", ylabel="efficiency, %", ylim=(0, 105))
ax.set_title(facts, fontsize=7)
ax.grid(alpha=0.3)
ax.legend()
plt.show()
