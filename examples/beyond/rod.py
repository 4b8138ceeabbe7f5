"""The layered rod: the two files that ``make demo`` solves, from a script, with a picture of what is in it.

::

    python examples/rod.py [PICTURE]

Heat is made in the steel and in the ceramic, and a channel in the aluminium takes some away. The left end
is held at 20 °C, the right end gives heat off to air of 20 °C. Where the conductivity jumps, so does the
slope of the temperature; the heat flow does not, and what leaves at the ends is what is made.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import mgnet

DATA = Path(__file__).parent / "data"
LAYERS = {"copper": "#f3d9c6", "stainless steel": "#dfe3e8", "ceramic": "#fbeecb", "aluminium": "#d9e7f3"}
TRANSFER, AIR = 10.0, 20.0  # W/(m² K) and °C


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    return np.loadtxt(DATA / name, delimiter=",", skiprows=3, unpack=True)


def draw(sol: mgnet.Solution, f: np.ndarray, a: np.ndarray) -> Figure:
    x = sol.x
    interfaces = x[np.flatnonzero(np.diff(a)) + 1]
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    sol.plot(ax=above)
    below.plot(x, f / 1e6, color="tab:red")
    edges = np.concatenate((x[:1], interfaces, x[-1:]))
    for (name, colour), left, right in zip(LAYERS.items(), edges[:-1], edges[1:], strict=True):
        conductivity = a[np.searchsorted(x, (left + right) / 2) - 1]
        for ax in (above, below):
            ax.axvspan(left, right, color=colour, zorder=0)
        above.text((left + right) / 2, 11, f"{name}\n{conductivity:g} W/(m K)", ha="center", va="bottom")
    above.set(title="Temperature of a layered rod", xlabel="", ylabel="temperature (°C)", ylim=(10, 60))
    below.set(xlabel="x (m)", ylabel="source (W/cm³)")
    return figure


def main(picture: str = "rod.png") -> None:
    x, f = read("rod_sources.csv")
    _, a = read("rod_conductivity.csv")
    sol = mgnet.solve(
        f, nodes=x, a=a, left=mgnet.Dirichlet(20.0), right=mgnet.Robin(TRANSFER, TRANSFER * AIR)
    )
    print(sol)
    made = float((f[1:] + f[:-1]) @ np.diff(x) / 2)
    left, right = float(a[0] * sol.derivative(x[0])), float(TRANSFER * (sol(x[-1]) - AIR))
    print(f"heat in W/m²: {made:.6g} made, {left:.6g} leave at the left and {right:.6g} at the right")
    draw(sol, f, a).savefig(picture, dpi=150)


if __name__ == "__main__":
    main(*sys.argv[1:2])
