r"""
Heat, step by step
==================

How does a hot pattern on a cold plate fade? A step of time is one problem with a large c, the same for all
steps, so its grids are set up once. Two schemes are compared with the solution that is exact in time, and
their orders are measured. In the end all heat starts from one point, and the answer is Green's function.

:Lecture systems: M1 and M3, and beyond the lectures
:Chapter: :doc:`/book/hat-functions`

The temperature of a square plate whose sides are held at 0 obeys

.. math:: \frac{\partial u}{\partial t} = \Delta u, \qquad M \dot u + A u = 0

with hats in space: A is the stiffness matrix, M the mass matrix.
"""

# %%
# Implicit Euler
# --------------
# The difference quotient, with the new temperature in A, is a system like :eq:`system` with c = 1/dt,
#
# .. math:: \Bigl(A + \frac1{\mathrm{dt}} M\Bigr) u = \frac1{\mathrm{dt}} M u_{\text{old}} .
#
# ``Hierarchy`` holds its grids, ``mass`` is M. Both integrate: had the problem lumped, M would be lumped too.

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
from scipy.fft import dstn, idstn

import mgnet

n = 128
x = np.linspace(0, 1, n + 1)
X, Y = np.meshgrid(x, x, indexing="ij")


def euler(u: np.ndarray, dt: float) -> Iterator[np.ndarray]:
    problem = mgnet.Poisson(dim=2, n=n, c=1 / dt)
    M, step = mgnet.mass(problem), mgnet.Hierarchy(problem)
    while True:
        u = step.solve(M(u) / dt).u
        yield u


def after(steps: Iterator[np.ndarray], count: int) -> np.ndarray:
    """Return what is there after so many steps."""
    return [next(steps) for _ in range(count)][-1]


# %%
# The pattern is a ring and a bar.

ring = np.abs(np.hypot(X - 0.35, Y - 0.55) - 0.16) < 0.05
bar = (np.abs(X - 0.72) < 0.05) & (np.abs(Y - 0.5) < 0.3)
pattern = (ring | bar).astype(float)

dt, shots = 2e-4, [1, 5, 25, 125]
steps, film = euler(pattern, dt), [pattern]
film += [after(steps, count) for count in np.diff([0, *shots])]

figure, axes = plt.subplots(1, 5, figsize=(11, 2.6), layout="constrained", sharey=True)
for ax, shot, u in zip(axes, [0, *shots], film, strict=True):
    ax.imshow(u.T, origin="lower", extent=(0, 1, 0, 1), cmap="inferno", vmin=0)
    ax.set(title=f"t = {shot * dt:g}", xticks=[], yticks=[], xlabel=f"up to {u.max():.2f}")
figure.suptitle("A hot ring and a hot bar fade; each picture has its own scale")
plt.show()

# %%
# No step makes anything hotter than it was, and nothing colder than the sides.

for before, u in zip(film[:-1], film[1:], strict=True):
    assert u.min() > -1e-9
    assert u.max() < before.max() + 1e-9

# %%
# What is exact in time
# ---------------------
# On equal cells products of sines are eigenvectors of both matrices. With them the system of ordinary
# differential equations has a solution in closed form; SciPy's sine transform evaluates it. It has the grid's
# error in space, and none in time.

wave = np.pi * np.arange(1, n) / n
rates = 6 * n**2 * (1 - np.cos(wave)) / (2 + np.cos(wave))


def exact(u: np.ndarray, t: float) -> np.ndarray:
    inner = idstn(np.exp(-t * (rates[:, None] + rates)) * dstn(u[1:-1, 1:-1], type=1), type=1)
    return np.pad(inner, 1)


for shot, u in zip(shots[1:], film[2:], strict=True):
    error = np.abs(u - exact(pattern, shot * dt)).max() / u.max()
    print(f"after {shot:3} steps of Euler the error is {error:.1%}")
    assert error < 0.1

# %%
# Crank-Nicolson
# --------------
# With the mean of the old and the new temperature in A the order is 2. The temperature in the middle of the
# step is that after half a step of Euler, c = 2/dt, and the new one lies as far beyond it again:
#
# .. math::
#
#    \Bigl(A + \frac2{\mathrm{dt}} M\Bigr) u_{1/2} = \frac2{\mathrm{dt}} M u_{\text{old}}, \qquad
#    u = 2 u_{1/2} - u_{\text{old}} .


def crank_nicolson(u: np.ndarray, dt: float) -> Iterator[np.ndarray]:
    problem = mgnet.Poisson(dim=2, n=n, c=2 / dt)
    M, half_step = mgnet.mass(problem), mgnet.Hierarchy(problem)
    while True:
        u = 2 * half_step.solve(2 / dt * M(u)).u - u
        yield u


# %%
# Two smooth hills, up to the time 0.02 by more and more steps: half the step is half the error, or a quarter.

hills = sum(np.exp(-((X - p) ** 2 + (Y - q) ** 2) / 0.01) for p, q in ((0.4, 0.4), (0.6, 0.65)))
end, counts = 0.02, np.array([8, 16, 32])
errors = {
    name: [np.abs(after(scheme(hills, end / count), count) - exact(hills, end)).max() for count in counts]
    for name, scheme in (("implicit Euler", euler), ("Crank-Nicolson", crank_nicolson))
}
for (name, found), order in zip(errors.items(), (1, 2), strict=True):
    orders = np.log2(np.divide(found[:-1], found[1:]))
    print(f"{name}: orders {orders.round(2)}")
    assert np.abs(orders - order).max() < 0.15

# %%
# The higher order has a price. A mode that decays much faster than a step is long is multiplied by almost 0
# in a step of Euler, but by almost −1 in one of Crank and Nicolson. So the edges of the pattern ring for
# long.

few, long = 5, 5e-3
rough = {"Euler": euler(pattern, long), "Crank-Nicolson": crank_nicolson(pattern, long)}
sections = {name: after(scheme, few)[:, n // 2] for name, scheme in rough.items()}
smooth = exact(pattern, few * long)[:, n // 2]
assert sections["Euler"].min() > -1e-9
assert np.abs(sections["Euler"] - smooth).max() < 0.1 * smooth.max()
assert np.abs(sections["Crank-Nicolson"] - smooth).max() > smooth.max()

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for (name, found), order in zip(errors.items(), (1, 2), strict=True):
    line = left.loglog(end / counts, found, "o-", label=name)
    guide = found[-1] * (counts[-1] / counts) ** order
    left.loglog(end / counts, guide, ":", color=line[0].get_color(), label=f"order {order}")
left.set(title="Two smooth hills", xlabel="dt", ylabel="largest error")
left.set_xticks(end / counts, [f"1/{count / end:g}" for count in counts])
left.minorticks_off()
left.legend()
for name, section in sections.items():
    right.plot(x, section, label=name, linewidth=1)
right.plot(x, smooth, "k--", label="exact in time")
right.set(title="The pattern after five long steps, at y = 1/2", xlabel="x", ylabel="u", ylim=(-0.35, 1))
right.legend(ncols=3, loc="upper center")
plt.show()

# %%
# Heat from one point
# -------------------
# Let the plate be cold but for one point, which gets the heat 1. No nodal values are that, but a load is,
# :eq:`point-load`: it takes the place of M u. Nothing could be rougher, so the first two steps are four half
# steps of Euler, for which the grids are the same; they damp what would ring. While the sides are far away
# the solution is Green's function of the whole plane,
#
# .. math:: u(x, t) = \frac{1}{4 \pi t}\, e^{-|x - s|^2 / 4 t} .

point, dt, count = (0.4, 0.45), 1.25e-4, 40  # the point is no node
problem = mgnet.Poisson(dim=2, n=n, c=2 / dt)
M, half_step = mgnet.mass(problem), mgnet.Hierarchy(problem)

heat = mgnet.load(problem, points=[(point, 1.0)])
for _ in range(4):
    u = half_step.solve(2 / dt * heat).u
    heat = M(u)
u = after(crank_nicolson(u, dt), count - 2)

t = count * dt
green = np.exp(-((X - point[0]) ** 2 + (Y - point[1]) ** 2) / (4 * t)) / (4 * np.pi * t)
error = np.abs(u - green).max() / green.max()
heat = M(u).sum()
print(f"after {count} steps {heat:.6f} of the heat is there, and u is right to {error:.2%}")
assert abs(heat - 1) < 1e-3
assert error < 0.005
