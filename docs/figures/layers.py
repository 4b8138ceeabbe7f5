"""The layers of the package as boxes, from the table that ``tests/test_layers.py`` checks."""

import ast
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt

TABLE = Path(__file__).parents[2] / "tests" / "test_layers.py" if "__file__" in globals() else None
TABLE = TABLE or Path("../../tests/test_layers.py")


def tables(text):
    """Read the lists of layers without running the tests; the package itself stands there by a name."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and node.targets[0].id.isupper():
            try:
                value = ast.literal_eval(ast.unparse(node.value).replace("ROOT", "'__init__'"))
            except ValueError:  # no list of names
                continue
            if isinstance(value, list):
                found[node.targets[0].id] = value
    return found


layers = tables(TABLE.read_text(encoding="utf-8"))
WIDTH = {"SOLVER": 3.2, "NETWORK": 3.2}  # of the columns
LINE, GAP = 0.3, 0.14
ROLE = {
    "CROWN": ("above the branches", "#e8e8e8"),
    "SOLVER": ("the solver", "#d6e6f4"),
    "NETWORK": ("the networks", "#fde3c8"),
    "TRUNK": ("the trunk", "#d9edd6"),
}
figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")


def stack(part, left, width, bottom):
    """Draw one part from its lowest layer up; give where its top is."""
    name, colour = ROLE[part]
    for layer in layers[part]:
        names = textwrap.wrap("   ".join(sorted(layer)), int(width * 9.5))
        height = LINE * len(names) + GAP
        ax.add_patch(plt.Rectangle((left, bottom), width, height, facecolor=colour, edgecolor="black"))
        ax.text(left + width / 2, bottom + height / 2, "\n".join(names), ha="center", va="center", fontsize=9)
        bottom += height + GAP
    ax.text(left, bottom, name, va="bottom", fontsize=10, fontweight="bold")
    return bottom + LINE + GAP


total = sum(WIDTH.values()) + GAP
bottom = stack("TRUNK", 0, total, 0)
tops = [
    stack("SOLVER", 0, WIDTH["SOLVER"], bottom),
    stack("NETWORK", WIDTH["SOLVER"] + GAP, WIDTH["NETWORK"], bottom),
]
top = stack("CROWN", 0, total, max(tops))
ax.set(xlim=(-GAP, total + GAP), ylim=(-GAP, top))
ax.set_axis_off()
ax.set_title("An import goes down, and never from one column to the other")
plt.show()
