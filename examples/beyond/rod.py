r"""
A layered rod
=============

A rod of copper, stainless steel, ceramic and aluminium, with heat sources, from two files with a few hundred
lines: nodes that are finer at the interfaces, the sources at the nodes, and one conductivity for each cell.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/hat-functions`

Heat is made in the steel and in the ceramic, and a channel in the aluminium takes some away. The left end is
held at 20 °C, the right end gives heat off to air of 20 °C. The temperature solves :eq:`strong-form` with c =
0,

.. math:: -(a u')' = f, \qquad u(0) = 20, \qquad a u' + \alpha u = 20\,\alpha \text{ at the right end},

and where the conductivity a jumps, so does the slope of the temperature. The heat flow a u′ does not, and
what leaves at the ends is what is made. The figures are made up, not measured.
"""

# %%
# The two files
# -------------
# One has the nodes and the sources, in W/m³, the other the middles of the cells and the conductivities, in
# W/(m K).

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import mgnet

here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
data = here.parent / "data"


def read(name):
    return np.loadtxt(data / name, delimiter=",", skiprows=3, unpack=True)


x, f = read("rod_sources.csv")
middles, a = read("rod_conductivity.csv")
assert np.allclose(middles, (x[:-1] + x[1:]) / 2, atol=1e-7)
widths = np.diff(x)
print(f"{len(a)} cells, {widths.min() * 1e6:.0f} to {widths.max() * 1e6:.0f} micrometres wide")

# %%
# One call
# --------
# ``nodes`` are the coordinates, nodal values of f are lumped, :eq:`load-nodal`, and a has one value per cell,
# as :eq:`conductance` needs it. In one dimension the solver needs one cycle, whatever a and the nodes are.

transfer, air = 10.0, 20.0  # W/(m² K) and °C
sol = mgnet.solve(f, nodes=x, a=a, left=mgnet.Dirichlet(20.0), right=mgnet.Robin(transfer, transfer * air))
print(sol)

# %%
# Where the heat goes
# -------------------
# Heat is conserved. What is made, the integral of f, leaves at the two ends: at the left by conduction into
# whatever holds the end at 20 °C, at the right into the air. Lumping keeps the integral of f, so the balance
# holds to rounding; only the half cell next to the left end, whose equation the given value replaces, has to
# be counted by hand.

made = float(f @ np.append(widths, 0) + f @ np.append(0, widths)) / 2
left = float(a[0] * sol.derivative(x[0]))
right = float(transfer * (sol(x[-1]) - air))
print(f"heat in W/m²: {made:.6g} made, {left:.6g} leave at the left and {right:.6g} at the right")
assert abs(made - f[0] * widths[0] / 2 - left - right) < 1e-9 * made

# %%
# Against an integral
# -------------------
# Without a solver: the flow a u′ at a point is the flow at the right end plus what is made in between, and
# the temperature is the integral of the flow over a. With the unknown flow at the left end as the one free
# number, the condition at the right end fixes it.

lumped = f * (np.append(widths, 0) + np.append(0, widths)) / 2
sources = np.append(0, np.cumsum(lumped[1:-1]))  # made between the left end and each cell
resistance = np.cumsum(widths / a)  # from the left end to each node
drop = np.cumsum(sources * widths / a)
# At the right end: (q0 - all sources) + transfer (20 + q0 resistance - drop - air) = 0.
total = sources[-1] + lumped[-1]
q0 = (total + transfer * drop[-1]) / (1 + transfer * resistance[-1])
by_hand = 20 + np.append(0, q0 * resistance - drop)
error = np.abs(sol.u - by_hand).max()
print(f"largest difference from the integral: {error:.1e} degrees")
assert error < 1e-10

# %%
# The picture
# -----------
# At each interface the temperature has a kink. The flow passes it without a jump: the slopes differ by the
# ratio of the conductivities.

layers = {"copper": "#f3d9c6", "stainless steel": "#dfe3e8", "ceramic": "#fbeecb", "aluminium": "#d9e7f3"}
interfaces = x[np.flatnonzero(np.diff(a)) + 1]
edges = np.concatenate((x[:1], interfaces, x[-1:]))
figure, (above, middle, below) = plt.subplots(
    3, sharex=True, figsize=(8, 6.5), height_ratios=(3, 1, 1), layout="constrained"
)
above.plot(x, sol.u)
middle.plot(middles, -a * np.diff(sol.u) / widths / 1e3, color="tab:purple")
below.plot(x, f / 1e6, color="tab:red")
for (name, colour), start, end in zip(layers.items(), edges[:-1], edges[1:], strict=True):
    conductivity = a[np.searchsorted(x, (start + end) / 2) - 1]
    for ax in (above, middle, below):
        ax.axvspan(start, end, color=colour, zorder=0)
    above.text((start + end) / 2, 11, f"{name}\n{conductivity:g} W/(m K)", ha="center", va="bottom")
above.set(
    ylabel="temperature (°C)", ylim=(10, 60), title="Temperature of a layered rod: a kink at each interface"
)
middle.set(ylabel="flow to the\nright (kW/m²)")
below.set(xlabel="x (m)", ylabel="source\n(W/cm³)")
for ax in (middle, below):
    ax.axhline(0, color="0.4", linewidth=0.8)
above.margins(x=0)
plt.show()

# %%
# The flow on both sides of an interface agrees, apart from the source in the two half cells there:
# :eq:`varying` without row sums.

for place in interfaces:
    i = int(np.searchsorted(x, place))
    flow = a[i - 1 : i + 1] * np.diff(sol.u[i - 1 : i + 2]) / widths[i - 1 : i + 1]
    slopes = flow / a[i - 1 : i + 1]
    print(f"x = {place:.2f} m: slopes {slopes[0]:7.1f} and {slopes[1]:7.1f} K/m, flows", flow.round(2))
    assert abs(flow[0] - flow[1] - lumped[i]) < 1e-6 * np.abs(flow).max()
