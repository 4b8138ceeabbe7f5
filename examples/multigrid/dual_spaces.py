r"""
Dual spaces and dual bases
==========================

A linear map from a space V to the numbers is a functional, and all of them together are the dual space V′.
Loads and residuals are functionals: they are known by what they do to each test function. This page shows
what a basis of V′ is, why both kinds of arrays have the same length and yet behave differently, and how a map
between spaces acts on their functionals in the opposite direction.

:Lecture systems: M1
:Chapter: :doc:`/book/dual-spaces`

To a basis :math:`v_1, \dots, v_n` of V belongs one basis of V′, the dual basis, by

.. math:: \varphi_i(v_j) = \delta_{ij}.

Here :math:`\varphi_i` reads off the i-th coefficient: if :math:`v = \sum_j u_j v_j`, then
:math:`\varphi_i(v) = u_i`.
"""

# %%
# A small space
# -------------
# Let V be the polynomials of degree at most 3, with the basis 1, x, x², x³. A functional is stored as its
# values on this basis: a row. Applied to a polynomial, a column of coefficients, it is a product of row and
# column. Here are four functionals.

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet

powers = np.arange(4)
at_half = 0.5**powers
slope_at_zero = np.array([0.0, 1.0, 0.0, 0.0])
integral = 1 / (powers + 1)
mean_of_ends = (0.0**powers + 1.0**powers) / 2
functionals = np.stack([at_half, slope_at_zero, integral, mean_of_ends])

v = np.polynomial.Polynomial([1.0, -2.0, 0.5, 3.0])
by_calculus = [v(0.5), v.deriv()(0.0), v.integ()(1.0) - v.integ()(0.0), (v(0.0) + v(1.0)) / 2]
assert np.allclose(functionals @ v.coef, by_calculus)
print("value at 1/2, slope at 0, integral, mean of the ends:", functionals @ v.coef)

# %%
# The dual basis of another basis
# -------------------------------
# Write another basis of V in powers of x, one column for each element: a matrix B. A functional with the row
# φ takes the values φB on it. So the rows of B⁻¹ are the dual basis, because B⁻¹B is the identity. For the
# polynomials of Bernstein,
#
# .. math:: v_j(x) = \binom{3}{j} x^j (1 - x)^{3 - j},
#
# the dual basis reads off the control points of a Bézier curve.

x = np.polynomial.Polynomial([0.0, 1.0])
bernstein = [p * x**j * (1 - x) ** (3 - j) for j, p in enumerate((1, 3, 3, 1))]
B = np.stack([np.pad(p.coef, (0, 4 - len(p.coef))) for p in bernstein], axis=1)
dual = np.linalg.inv(B)
print((dual @ B).round(12) + 0.0)
assert np.allclose(dual @ B, np.eye(4), atol=1e-14)

# %%
# They are a basis: every functional is a combination of them, and its coefficients are its values on the
# :math:`v_j`, since :math:`\sum_i \varphi(v_i)\, \varphi_i` and :math:`\varphi` agree on each :math:`v_j`.
# Change the basis of V, and coefficients of functions and values of functionals change in opposite ways, by
# B⁻¹ and by B. Their product, a number, does not change.

for functional in functionals:
    values = functional @ B
    assert np.allclose(values @ dual, functional)
    assert np.isclose(values @ (dual @ v.coef), functional @ v.coef)

# %%
# Hats and nodal values
# ---------------------
# Now let V be the functions that are linear on each of n cells and zero at both ends. Its basis are the hats,
# :eq:`hat`, and the dual basis are the evaluations at the nodes, :math:`\varphi_i(v) = v(x_i)`. A solution
# that the package returns is an element of V that can be evaluated anywhere. To get the hats themselves from
# it, ask for the functions whose loads are the columns of the stiffness matrix A. They are one batch of
# right-hand sides.

n = 8
A = mgnet.Stiffness(1 / n).to_dense(n - 1).numpy()
hats = mgnet.solve(b=A, n=n)
nodes = hats.x[1:-1]
kronecker = hats(nodes).T  # row i: evaluation at node i, of each hat
print(kronecker.round(12) + 0.0)
assert np.abs(kronecker - np.eye(n - 1)).max() < 1e-14

# %%
# Two arrays of the same length
# -----------------------------
# The function u = sin πx is stored by its nodal values, the functional :math:`b(v) = \int f v` by its values
# on the hats. Halve the cells. The nodal values stay what they are; each value of the load is halved, because
# each hat has half the area. A residual is a load, so it must not be treated like a function.


def middle(n: int) -> tuple[float, float]:
    """Return nodal value and load at x = 1/2."""
    A = mgnet.Stiffness(1 / n)
    u = np.sin(np.pi * np.arange(1, n) / n)
    load = A(torch.from_numpy(u)[None, None])[0, 0]
    return float(u[n // 2 - 1]), float(load[n // 2 - 1])


print("cells   u at 1/2   load at 1/2   ratio to the line above")
before = np.nan
for cells in (8, 16, 32, 64, 128):
    value, load = middle(cells)
    print(f"{cells:>5}   {value:8.6f}   {load:11.6f}   {load / before:.4f}")
    before = load
assert value == 1.0
assert abs(load * cells / np.pi**2 - 1) < 1e-3

# %%
# A map gives a map back
# ----------------------
# A linear map P : W → V takes functions of W to functions of V. Followed by a functional of V it is a
# functional of W. So P gives a map V′ → W′ in the opposite direction, and its matrix is the transpose. With
# W, the functions linear on twice as wide cells, a part of V, P only says how a function of W looks on the
# fine grid, and the map back restricts a functional to W. These are prolongation, :eq:`prolongation`, and
# restriction, :eq:`restriction`.

R = mgnet.Restriction()
P = R.T
rng = np.random.default_rng(0)
b = torch.from_numpy(rng.normal(size=(1, 1, n - 1)))  # a functional on V
w = torch.from_numpy(rng.normal(size=(1, 1, n // 2 - 1)))  # a function of W
there, back = float((b * P(w)).sum()), float((R(b) * w).sum())
print(f"b(P w) = {there:.15f} and (R b)(w) = {back:.15f}")
assert abs(there - back) < 1e-14

coarse = mgnet.solve(b=np.zeros(n // 2 - 1), n=n // 2).x[1:-1]
at_nodes = P(w)[0, 0].numpy()
by_interpolation = np.interp(nodes, np.r_[0, coarse, 1], np.r_[0, w[0, 0], 0])
assert np.abs(at_nodes - by_interpolation).max() < 1e-15

# %%
# From functionals to functions
# -----------------------------
# V and V′ have the same dimension, and each invertible map between them makes functions of functionals. The
# stiffness operator A : V → V′ is one. The function that belongs to an evaluation :math:`\varphi_i` is
# :math:`g_i = A^{-1} \varphi_i`, which has :math:`a(g_i, v) = v(x_i)` for all v in V: Green's function, the
# shape of a string that is pulled at one point. In one dimension it is exact,
#
# .. math:: g_i(x) = \min(x, x_i)\,\bigl(1 - \max(x, x_i)\bigr).

green = mgnet.solve(b=np.eye(n - 1), n=n)
exact = np.minimum.outer(nodes, green.x) * (1 - np.maximum.outer(nodes, green.x))
print(f"largest difference from Green's function: {np.abs(green.u - exact).max():.1e}")
assert np.abs(green.u - exact).max() < 1e-15

# %%
# The mass matrix M, :eq:`mass`, with the entries :math:`\int v_i v_j`, gives another such map. The function
# of V that integrates to the value at a node, :math:`\int r_i v = v(x_i)`, is neither the hat nor Green's
# function: it has both signs. Which function belongs to a functional is a matter of choice; the functional is
# not.

M = mgnet.Stencil(mgnet.stencils.mass(1 / n)).to_dense(n - 1).numpy()
representer = mgnet.solve(b=A @ np.linalg.inv(M), n=n)
assert np.allclose(representer.u[:, 1:-1] @ M, np.eye(n - 1))

fine = np.linspace(0, 1, 801)
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
shown = {1: "-", 3: "--", 6: ":"}  # index of a node, and a line style for it
families = {
    "basis of V: hats": hats,
    "as energy: Green's functions": green,
    "as an integral: $M^{-1}$": representer,
}
for ax, (title, functions) in zip(axes, families.items(), strict=True):
    values = functions(fine)
    for index, style in shown.items():
        ax.plot(fine, values[index], style, label=f"i = {index + 1}")
        ax.plot(nodes[index], functions.u[index, index + 1], "ko", markersize=4)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(title=title, xlabel="x", xticks=np.arange(0, 1.1, 0.25))
axes[0].set_ylabel("value")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
figure.suptitle("Three families of functions that belong to the evaluations at nodes 2, 4 and 7")
plt.show()

# %%
# Last, the tables of :math:`\varphi_i(v_j)`. Values at four points determine a cubic polynomial, so these
# four functionals are a basis of V′ too. But it is dual to another basis, the polynomials of Lagrange.

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
tables = {
    "dual of Bernstein,\non Bernstein": dual @ B,
    "values at 0, ⅓, ⅔, 1,\non Bernstein": np.vander(np.arange(4) / 3, increasing=True) @ B,
    "values at the nodes,\non hats": kronecker,
}
for ax, (title, table) in zip(axes, tables.items(), strict=True):
    image = ax.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set(title=title, xlabel="basis element j", ylabel="functional i")
    ticks = range(len(table))
    ax.set(xticks=ticks, xticklabels=[i + 1 for i in ticks], yticks=ticks, yticklabels=[i + 1 for i in ticks])
figure.colorbar(image, ax=axes, label="value", shrink=0.8)
figure.suptitle("Functionals on a basis: the first and the last table are the identity")
plt.show()

assert not np.allclose(tables["values at 0, ⅓, ⅔, 1,\non Bernstein"], np.eye(4))
