"""What a copy costs for a number, by their number: a committed run of ``benchmarks/growth.py``."""

import re

import matplotlib.pyplot as plt
from measured import measured

facts, sections = measured("how cost grows")
pairs = []
for what, figure, *_ in sections["Passes over memory"]:
    base, _, power = re.search(r"copy of (\d+)(\^?)(\d*)", what).groups()
    pairs.append((int(base) ** int(power or 1), float(figure.split()[0])))

figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.loglog([4 * count for count, _ in pairs], [each for _, each in pairs], "C0o-")
ax.set(xlabel="bytes of the array", ylabel="ns for a number of four bytes")
ax.set_xscale("log", base=2)
ax.grid(alpha=0.3)
figure.suptitle(facts, fontsize="small", color="0.3")
plt.show()
