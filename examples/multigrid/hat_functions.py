r"""
Hat functions: matrix, load and solution
========================================

From the differential equation −u″ = f with u(0) = u(1) = 0 to a system of linear equations and to a function
that solves it as well as hats can. Matrix and load vector are compared with integrals that SciPy computes
without knowing the formulas, and the errors fall at the rates that theory gives: order 2 in the mean square,
order 1 for the slope.

:Lecture systems: M3
:Chapter: :doc:`/book/hat-functions`

On a grid of n cells of width h = 1/n the hats :math:`v_1, \dots, v_{n-1}` are a basis of V. Multiply the
equation by each of them and integrate by parts. For the coefficients of :math:`u = \sum_j u_j v_j` that gives
:eq:`system`,

.. math:: \sum_j \Bigl( \int_0^1 v_i' v_j' \,\mathrm{d}x \Bigr) u_j = \int_0^1 f v_i \,\mathrm{d}x .
"""

# %%
# The hats
# --------
# A hat is linear on each cell, 1 at its own node and 0 at the others, :eq:`hat`. Here is a function of V as
# the sum of its hats, each as high as the nodal value.

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.integrate import quad

import mgnet

n = 8
h = 1 / n
nodes = np.linspace(0, 1, n + 1)


def hat(i: int, x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1 - np.abs(x - i * h) / h)


def slope(i: int, x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x - i * h) < h, -np.sign(x - i * h) / h, 0.0)


values = np.sin(3 * nodes) * np.exp(nodes)
values[0] = values[-1] = 0
fine = np.linspace(0, 1, 801)
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
for i in range(1, n):
    ax.plot(fine, values[i] * hat(i, fine), "--", color="0.55", linewidth=1)
ax.plot(fine, sum(values[i] * hat(i, fine) for i in range(1, n)), label="the sum of the hats")
ax.plot(nodes, values, "ko", label="nodal values")
ax.plot([], [], "--", color="0.55", label="hats, as high as the nodal values")
ax.set(title="A function of V is the sum of its hats", xlabel="x", ylabel="value", xticks=nodes)
ax.set_ylim(-0.1, 2.5)
ax.legend(loc="upper center", ncols=3)
plt.show()

# %%
# The stiffness matrix
# --------------------
# The slope of a hat is 1/h on the cell to its left and −1/h on the cell to its right. Two neighbours share
# one cell, so the entries are 2/h on the diagonal and −1/h beside it, :eq:`stiffness`. The two ends are given
# and leave n − 1 unknowns. In the package the matrix is a convolution with the kernel [−1, 2, −1]/h. Each
# entry is compared with the integral.

A = mgnet.Stiffness(h)
matrix = A.to_dense(n - 1).numpy()


def entry(i: int, j: int) -> float:
    return quad(lambda x: slope(i, x) * slope(j, x), 0, 1, points=nodes[1:-1])[0]


by_quadrature = np.array([[entry(i, j) for j in range(1, n)] for i in range(1, n)])
print(matrix)
assert np.allclose(matrix, by_quadrature, rtol=0, atol=1e-10)
assert np.array_equal(A.weight.flatten().numpy(), np.array([-1.0, 2.0, -1.0]) / h)

u = torch.from_numpy(values[1:-1])
convolved = torch.conv1d(u[None, None], A.weight, padding=1)[0, 0]
assert np.allclose(convolved, matrix @ values[1:-1], rtol=1e-13)

# %%
# The load vector
# ---------------
# The right-hand side are the values of the functional :math:`v \mapsto \int f v` on the hats, :eq:`load`. The
# package integrates with five points of Gauss on each cell. Lumping, :eq:`load-nodal`, takes h f(xᵢ) instead.
# It is exact for a function that is linear, and of second order for others. The load of the package is read
# off its solution u, as A u.


def f(x: np.ndarray) -> np.ndarray:
    return np.exp(2 * x) * (np.pi**2 - 4) * np.sin(np.pi * x) - 4 * np.pi * np.exp(2 * x) * np.cos(np.pi * x)


def exact(x: np.ndarray) -> np.ndarray:
    return np.exp(2 * x) * np.sin(np.pi * x)


def exact_slope(x: np.ndarray) -> np.ndarray:
    return np.exp(2 * x) * (2 * np.sin(np.pi * x) + np.pi * np.cos(np.pi * x))


def load_vector(rule: str) -> np.ndarray:
    return matrix @ mgnet.solve(f, n=n, load=rule).u[1:-1]


integrals = [
    quad(lambda x, i=i: f(x) * hat(i, x), (i - 1) * h, (i + 1) * h, points=[i * h], epsabs=1e-13)[0]
    for i in range(1, n)
]
gauss, lumped = load_vector("exact"), load_vector("nodal")
print(f"load by Gauss:  largest difference from the integral {np.abs(gauss - integrals).max():.1e}")
print(f"lumped load:    largest difference from the integral {np.abs(lumped - integrals).max():.1e}")
assert np.abs(gauss - integrals).max() < 1e-11
assert np.allclose(lumped, h * f(nodes[1:-1]))

# %%
# The solution
# ------------
# The function f was chosen so that the solution is :math:`e^{2x} \sin \pi x`. One call finds the
# coefficients; they are the same as those of the matrix and the integrals above.

sol = mgnet.solve(f, n=n)
assert np.allclose(sol.u[1:-1], np.linalg.solve(matrix, integrals), rtol=1e-10)

error_at_nodes, error_between = (np.abs(sol(x) - exact(x)).max() for x in (nodes, fine))
print(f"largest error at the nodes {error_at_nodes:.1e}, between them {error_between:.1e}")
assert error_at_nodes < 1e-11

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(fine, exact(fine), "--", label="exact")
left.plot(nodes, sol.u, "o-", markersize=4, label="hats, n = 8")
left.set(title="Exact at the nodes, straight between them", xlabel="x", ylabel="u")
right.plot(fine, exact_slope(fine), "--", label="exact")
right.plot(fine, sol.derivative(fine), label="hats, n = 8")
right.set(title="The slope is one number for each cell", xlabel="x", ylabel="u′")
for ax in (left, right):
    ax.legend()
plt.show()

# %%
# At the nodes the error is that of rounding and of the quadrature. This happens in one dimension, with exact
# loads: Green's function of a node is itself a function of V, so no error is left there.
#
# Orders
# ------
# Halve the cells again and again. The error in the mean square (L²) falls by 4 each time, that of the slope
# (the seminorm of H¹) by 2. Both are integrated by Gauss sums on each cell.

points, weights = np.polynomial.legendre.leggauss(5)
sizes = 2 ** np.arange(3, 12)
mean_square, of_slope = [], []
for cells in sizes:
    sol = mgnet.solve(f, n=int(cells))
    x = (np.arange(cells)[:, None] + (points + 1) / 2) / cells
    w = weights / 2 / cells
    mean_square.append(np.sqrt(np.sum(w * (sol(x) - exact(x)) ** 2)))
    of_slope.append(np.sqrt(np.sum(w * (sol.derivative(x) - exact_slope(x)) ** 2)))

orders = {
    "L2": np.log2(np.divide(mean_square[:-1], mean_square[1:])),
    "H1": np.log2(np.divide(of_slope[:-1], of_slope[1:])),
}
print("cells   error in L2   order   error in H1   order")
for i, cells in enumerate(sizes):
    order = [f"{orders[norm][i - 1]:.3f}" if i else "" for norm in ("L2", "H1")]
    print(f"{cells:>5}   {mean_square[i]:11.3e}   {order[0]:>5}   {of_slope[i]:11.3e}   {order[1]:>5}")
assert np.abs(orders["L2"][2:] - 2).max() < 0.01
assert np.abs(orders["H1"][2:] - 1).max() < 0.01

# %%
# The constants can be checked too. On a small cell u is a parabola, and the best line through its two ends
# misses it by :math:`h^2 |u''| / \sqrt{120}` in the mean square, and its slope by
# :math:`h |u''| / \sqrt{12}`.

second = np.sqrt(quad(lambda x: f(x) ** 2, 0, 1)[0])
assert np.isclose(mean_square[-1] * sizes[-1] ** 2 / second, 1 / np.sqrt(120), rtol=1e-4)
assert np.isclose(of_slope[-1] * sizes[-1] / second, 1 / np.sqrt(12), rtol=1e-4)

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.loglog(sizes, of_slope, "s-", label="slope (H¹): order 1")
ax.loglog(sizes, mean_square, "o-", label="mean square (L²): order 2")
ax.loglog(sizes, second / np.sqrt(12) / sizes, "k:", label=r"$h\,\|u''\|/\sqrt{12}$")
ax.loglog(sizes, second / np.sqrt(120) / sizes**2, "k--", label=r"$h^2\,\|u''\|/\sqrt{120}$")
ax.set(title="Half as wide cells: one error is halved, the other quartered", xlabel="cells", ylabel="error")
ax.set_xticks(sizes[::2], sizes[::2])
ax.minorticks_off()
ax.grid(alpha=0.3)
ax.legend()
plt.show()
