r"""
A loaded string
===============

How far does a taut string sag under its own weight, under a weight that hangs from one point, and on a bed of
springs? All three have solutions in closed form, so each deflection is checked. A weight at a point is the
clearest case of a load that is not a function but a functional.

:Lecture systems: M1 and M3, and beyond the lectures
:Chapter: :doc:`/book/hat-functions`

A string of length L under the tension T, pulled down by the force f per length, is deflected by a small u
with

.. math:: -T u'' = f, \qquad u(0) = u(L) = 0 .

Deflections count downwards.
"""

# %%
# Its own weight
# --------------
# A constant load gives a parabola, u = f x (L − x)/(2T). The solution with hats is exact at the nodes,
# already with eight cells.

import matplotlib.pyplot as plt
import numpy as np

import mgnet

length, tension, weight = 2.0, 80.0, 6.0  # m, N, N/m
string = {"domain": (0.0, length), "a": tension}


def parabola(x: np.ndarray) -> np.ndarray:
    return weight * x * (length - x) / (2 * tension)


own = mgnet.solve(weight, n=8, **string)
print(f"in the middle {own(length / 2) * 1e3:.3f} mm, by the formula {parabola(length / 2) * 1e3:.3f} mm")
assert np.abs(own.u - parabola(own.x)).max() < 1e-15

# %%
# A weight at a point
# -------------------
# A force F at the point s does the work F v(s) for a deflection v. That is a functional of v, evaluation at s
# times F, and takes the place of the right side of :eq:`weak-form`. Its entries are its values on the hats,
# :math:`b_i = F v_i(s)`. No function f has this load. If s is not a node, the two nodes beside it share the
# force, so that its moment is right too. The string takes the form of a tent,
#
# .. math:: u(x) = \frac{F}{T L} \min(x, s)\,\bigl(L - \max(x, s)\bigr) .


def hats_at(s: float, nodes: np.ndarray) -> np.ndarray:
    """Return the values of all inner hats at a point."""
    return np.array([np.interp(s, nodes, unit) for unit in np.eye(len(nodes))[1:-1]])


def tent(x: np.ndarray, s: float, force: float) -> np.ndarray:
    return force / (tension * length) * np.minimum(x, s) * (length - np.maximum(x, s))


force, place = 9.0, 0.7
nodes = np.linspace(0, length, 9)
point = mgnet.solve(b=force * hats_at(place, nodes), n=8, **string)
print(f"the force {force:g} N becomes {(force * hats_at(place, nodes)).round(3)}")
loaded = mgnet.load(mgnet.Poisson(n=8, **string), points=[(place, force)])  # the package's own way
assert np.abs(loaded - force * hats_at(place, nodes)).max() < 1e-14
error = np.abs(point.u - tent(point.x, place, force)).max()
print(f"largest error at the nodes {error:.1e} m")
assert error < 1e-15

with_node = np.union1d(nodes, place)
finer = mgnet.solve(b=force * hats_at(place, with_node), nodes=with_node, **string)
x = np.linspace(0, length, 401)
assert np.abs(finer(x) - tent(x, place, force)).max() < 1e-15

# %%
# At the nodes the tent is exact in any case. Its tip is cut off, unless s is a node: then it is exact
# everywhere. Both loads together give the sum of both deflections, because the equation is linear.

both = mgnet.solve(weight, n=8, **string).u + point.u
assert np.abs(both - parabola(nodes) - tent(nodes, place, force)).max() < 1e-15

figure, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
for label, sol, exact, style in (
    ("own weight", own, parabola(x), "o"),
    ("9 N at 0.7 m", point, tent(x, place, force), "s"),
    ("9 N at 0.7 m, which is a node", finer, None, "^"),
):
    line = ax.plot(sol.x, 1e3 * sol.u, f"{style}--", fillstyle="none", label=label)
    if exact is not None:
        ax.plot(x, 1e3 * exact, color=line[0].get_color(), linewidth=1)
ax.set(title="Deflection of a string: hats (dashed) are exact at the nodes", xlabel="x (m)", ylabel="u (mm)")
ax.invert_yaxis()
ax.legend()
plt.show()

# %%
# A weight that moves
# -------------------
# One solve for all places: each is a right-hand side. Where it hangs, the weight sinks by F s (L − s)/(T L).
# So its path is a parabola, the deflection under twice the force when that is spread over the whole string.

places = np.linspace(0.1, 1.9, 19)
grid = np.linspace(0, length, 201)
moving = mgnet.solve(b=force * np.stack([hats_at(s, grid) for s in places]), n=200, **string)
path = np.array([moving(s)[i] for i, s in enumerate(places)])
formula = force * places * (length - places) / (tension * length)
print(f"the weight sinks by up to {path.max() * 1e3:.2f} mm, by the formula {formula.max() * 1e3:.2f} mm")
assert np.abs(path - formula).max() < 1e-14
spread = mgnet.solve(2 * force / length, n=200, **string)
assert np.abs(path - spread(places)).max() < 1e-14

# %%
# Maxwell's law: a force at s moves the point x as much as the same force at x moves the point s. The matrix
# of all pairs is symmetric, as A and its inverse are.

influence = moving(places)
assert np.abs(influence - influence.T).max() < 1e-15

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", width_ratios=(1.7, 1))
for i in range(0, len(places), 3):
    left.plot(grid, 1e3 * moving.u[i], color="0.6", linewidth=1)
left.plot(places, 1e3 * path, "o-", label="path of the weight")
left.set(title="A weight of 9 N wanders along the string", xlabel="x (m)", ylabel="u (mm)")
left.set_ylim(72, -3)
left.legend(loc="lower center")
image = right.pcolormesh(places, places, 1e3 * influence, cmap="viridis", shading="gouraud")
figure.colorbar(image, ax=right, label="u (mm)")
right.set(title="Deflection at x, weight at s", xlabel="x (m)", ylabel="s (m)", aspect="equal")
plt.show()

# %%
# What the ends carry
# -------------------
# The forces on the two ends are T u′ there, and together they carry all that hangs. By the law of the lever
# the left end carries the share (L − s)/L of the weight.

at_left, at_right = tension * point.derivative(0.0), -tension * point.derivative(length)
print(f"the ends carry {at_left:.3f} N and {at_right:.3f} N of {force:g} N")
assert np.isclose(at_left, force * (length - place) / length, rtol=1e-13)
assert np.isclose(at_left + at_right, force, rtol=1e-13)

# %%
# On a bed of springs
# -------------------
# Springs all along the string, of the stiffness κ per length, push back with κ u: the term with c in
# :eq:`strong-form`. Under a single force the string is bent only near it, over a length :math:`\ell =
# \sqrt{T/\kappa}`,
#
# .. math:: u(x) = \frac{F \ell}{T}\, \frac{\sinh(x_</\ell)\, \sinh((L - x_>)/\ell)}{\sinh(L/\ell)},
#
# where :math:`x_<` is the smaller and :math:`x_>` the larger of x and s. Now the hats are no longer exact at
# the nodes, and the error falls like h².


def on_springs(x: np.ndarray, s: float, stiffness: float) -> np.ndarray:
    reach = np.sqrt(tension / stiffness)
    low, high = np.minimum(x, s) / reach, (length - np.maximum(x, s)) / reach
    return force * reach / tension * np.sinh(low) * np.sinh(high) / np.sinh(length / reach)


def spring_error(n: int, stiffness: float) -> float:
    grid = np.linspace(0, length, n + 1)
    sol = mgnet.solve(b=force * hats_at(place, grid), n=n, c=stiffness, **string)
    return float(np.abs(sol.u - on_springs(grid, place, stiffness)).max())


stiffnesses = (20.0, 200.0, 2000.0)  # N/m²
for stiffness in stiffnesses:
    errors = [spring_error(n, stiffness) for n in (100, 200, 400)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    listed = ", ".join(f"{error:.1e}" for error in errors)
    print(f"{stiffness:>5.0f} N/m²: errors {listed} m; orders {orders.round(3)}")
    assert np.abs(orders - 2).max() < 0.02

figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.plot(x, 1e3 * tent(x, place, force), color="0.5", label="no springs")
for stiffness, style in zip(stiffnesses, ("-", "--", "-."), strict=True):
    sol = mgnet.solve(b=force * hats_at(place, grid), n=200, c=stiffness, **string)
    ax.plot(sol.x, 1e3 * sol.u, style, label=f"{stiffness:.0f} N/m²")
ax.set(title="The stiffer the bed, the narrower and the flatter the dent", xlabel="x (m)", ylabel="u (mm)")
ax.invert_yaxis()
ax.legend(loc="lower right", title="springs")
plt.show()
