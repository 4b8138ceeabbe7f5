"""Cycles in domains made of cells, by the number of cells: a committed run of ``benchmarks/domains.py``."""

import matplotlib.pyplot as plt
from measured import measured

facts, sections = measured("cycles for what people bring")
STYLE = {
    "disc": "o-C0",
    "L": "s-C1",
    "holes, 10 % of the cells": "^-C2",
    "comb, teeth of 7 cells": "D-C3",
    "comb, teeth of 1 cell": "v-C4",
}
HELD = ("sides held", "border held", "one node held", "nothing held")


def curves(rows):
    """Give the cells along an axis and the cycles of each domain, by how it is held."""
    found, now = {}, []
    for what, figure, *_ in rows:
        if what.startswith("    "):
            now.append((int(what.split()[0]), float(figure)))
        else:
            now = found.setdefault(what.removesuffix(": most cycles"), [])
    return found


found = curves(sections["Domains made of cells"])
figure, axes = plt.subplots(1, 4, figsize=(9, 3.4), layout="constrained", sharey=True)
for ax, how in zip(axes, HELD, strict=True):
    for name, style in STYLE.items():
        ax.loglog(*zip(*found[f"{name}, {how}"], strict=True), style, markersize=4, linewidth=1, label=name)
    ax.axhline(20, color="0.6", linewidth=1, linestyle="--")
    sizes = [n for n, _ in found[f"disc, {how}"]]
    ax.set_xticks(sizes, sizes, fontsize="x-small")
    ax.minorticks_off()
    ax.set_yticks((5, 10, 20, 50), (5, 10, 20, 50))
    ax.set(title=how, xlabel="cells along an axis", ylim=(3, 70))
    ax.grid(alpha=0.3)
axes[0].set_ylabel("cycles to $10^{-10}$")
handles, names = axes[0].get_legend_handles_labels()
figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize="small")
figure.suptitle(facts, fontsize="small", color="0.3")
plt.show()
