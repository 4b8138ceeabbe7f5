r"""
The abstract algorithm: subspace correction
===========================================

Jacobi, Gauss-Seidel, domain decomposition and multigrid are one algorithm. To solve A u = b in V, pick a
subspace W of V. Restrict the residual equation A v = b − A u to W, solve it there, and add the solution to u.
Then take the next subspace. The methods differ in the subspaces only.

:Lecture systems: M2
:Chapter: :doc:`/book/dual-spaces`

Let the columns of P be a basis of W, so P : W → V, and its transpose restricts functionals,
:math:`V' \to W'`. One step is

.. math:: u \leftarrow u + P\, (P^{\mathsf T} A P)^{-1} P^{\mathsf T} (b - A u).

This page runs four choices of subspaces on the same problem, and checks at each step what theory promises:
the error decreases, and by how much.
"""

# %%
# The problem and the error
# -------------------------
# The problem is −u″ = f with 32 cells. Its exact discrete solution comes from SciPy's banded solver, so each
# error is known. It is measured in energy, :math:`\lVert e \rVert_A^2 = e^{\mathsf T} A\, e`, which for hats
# is the integral of the squared slope.

import matplotlib.pyplot as plt
import numpy as np
import torch

import mgnet

n = 32
A = mgnet.Stiffness(1 / n).to_dense(n - 1).numpy()
x = np.arange(1, n) / n
b = (20 * np.exp(-(((x - 0.7) / 0.1) ** 2)) + np.sin(2 * np.pi * x)) / n
solution = mgnet.solve(b=b, n=n, method="direct").u[1:-1]


def energy(e: np.ndarray) -> float:
    return float(np.sqrt(e @ A @ e))


# %%
# One step
# --------
# After a step the residual vanishes on W: nothing is left there to be done. That makes the correction
# orthogonal to the new error in energy, and Pythagoras gives what the step is worth,
#
# .. math:: \lVert e_{\text{new}} \rVert_A^2 = \lVert e \rVert_A^2 - \lVert \delta \rVert_A^2 .
#
# The error never grows, whatever the subspace, and falls unless the residual is zero on W already. All three
# are asserted in every step of this page.


def correct(u: np.ndarray, P: np.ndarray) -> np.ndarray:
    r = b - A @ u
    coarse_matrix, coarse_load = P.T @ A @ P, P.T @ r
    step = P @ np.linalg.solve(coarse_matrix, coarse_load)
    new = u + step
    assert np.abs(P.T @ (b - A @ new)).max() < 1e-12
    before, after = energy(solution - u), energy(solution - new)
    rounding = 1e-14 * energy(solution)
    assert abs(after**2 - (before**2 - energy(step) ** 2)) < rounding * (before + rounding)
    assert after <= before + rounding
    return new


def run(subspaces: list[np.ndarray], steps: int) -> tuple[list[np.ndarray], list[float]]:
    """Go through the subspaces in turn; return all u, and the errors relative to the first."""
    u = [np.zeros(n - 1)]
    for i in range(steps):
        u.append(correct(u[-1], subspaces[i % len(subspaces)]))
    return u, [energy(solution - v) / energy(solution) for v in u]


# %%
# Four choices
# ------------
# One hat after the other is Gauss-Seidel's method. Overlapping intervals of 8 nodes are the method of
# Schwarz. Intervals and, as one more subspace, the hats that are four cells wide to each side,
# :eq:`wide-hat`, are its method with two levels. The last choice is multigrid: on each level, the hats at the
# nodes that the next coarser level does not have.

identity = np.eye(n - 1)
hats = [identity[:, [i]] for i in range(n - 1)]
intervals = [identity[:, max(0, i - 2) : i + 6] for i in range(0, n - 1, 4)]


def level_hats() -> list[np.ndarray]:
    """Return the hats of each level, finest first, as columns of nodal values on the finest grid."""
    found, cells = [identity], n
    while cells > 2:
        P = mgnet.Prolongation().to_dense(cells // 2 - 1).numpy()
        found.append(found[-1] @ P)
        cells //= 2
    return found


levels = level_hats()
new_hats = [P[:, ::2] for P in levels]

# %%
# The steps for the new hats are cheap: in one dimension the new hats of a level do not overlap, so their
# matrix is diagonal.

for P in new_hats:
    small = P.T @ A @ P
    assert np.abs(small - np.diag(np.diag(small))).max() < 1e-12

subspaces = {
    "hats one by one (Gauss-Seidel)": hats,
    "overlapping intervals (Schwarz)": intervals,
    "intervals and wide hats": [*intervals, levels[2]],
    "new hats of each level": new_hats,
}
passes = dict(zip(subspaces, (20, 20, 12, 1), strict=True))
methods = {name: run(spaces, passes[name] * len(spaces)) for name, spaces in subspaces.items()}
print("relative error in energy after one pass, and after the last")
for name, (_, errors) in methods.items():
    first, last = errors[len(subspaces[name])], errors[-1]
    print(f"{name:<32} {first:.1e}, after {passes[name]:>2} {last:.1e}")

# %%
# The new hats of all levels are orthogonal to each other in energy, :eq:`splitting`. Therefore no step
# disturbs another, and after one pass nothing is left. With any other order of the same subspaces the answer
# is the same, and in exact arithmetic it is the solution.

one_pass = methods["new hats of each level"][0][-1]
any_order = run([new_hats[i] for i in (3, 0, 1, 4, 2)], 5)[0][-1]
print(f"one pass over the new hats: difference {np.abs(one_pass - solution).max():.1e}")
print(f"the same in another order:  difference {np.abs(any_order - solution).max():.1e}")
assert np.abs(one_pass - solution).max() < 1e-13
assert np.abs(any_order - solution).max() < 1e-13

# %%
# The package's steps
# -------------------
# A sweep of the red-black smoother of the package is two of these steps, one for every second hat, one for
# the others. Hats of one colour do not overlap, so each step divides by a diagonal, as by the D of
# :eq:`red-black`. And a two-grid cycle adds a step on the coarse hats between such sweeps, :eq:`two-grid`.

two_grids = mgnet.Hierarchy(mgnet.Poisson(n=n), method="vcycle", smoother="red-black", levels=2)
smoother, operator = two_grids.levels[0].smoother, two_grids.levels[0].A
load = torch.from_numpy(b)[None, None]

red, black, coarse = levels[0][:, 1::2], levels[0][:, ::2], levels[1]
by_steps = correct(correct(np.zeros(n - 1), red), black)
by_sweep = smoother(operator, None, load, 1)[0, 0].numpy()
print(f"a sweep and two steps differ by   {np.abs(by_steps - by_sweep).max():.1e}")
assert np.abs(by_steps - by_sweep).max() < 1e-14

for P in (coarse, black, red):
    by_steps = correct(by_steps, P)
by_cycle = mgnet.Hierarchy(
    mgnet.Poisson(n=n), method="vcycle", smoother="red-black", levels=2, sweeps=(1, 1)
).cycle(load)
print(f"a cycle and five steps differ by  {np.abs(by_steps - by_cycle[0, 0].numpy()).max():.1e}")
assert np.abs(by_steps - by_cycle[0, 0].numpy()).max() < 1e-13

# %%
# The pictures
# ------------
# Hats and intervals are slow where the error is smooth, since no small subspace contains a long wave. With
# the wide hats the long wave is found in the first pass. The new hats of each level begin with small
# corrections, and the last of them brings the large one.

figure, axes = plt.subplots(1, 4, figsize=(9.5, 3.4), sharey=True, layout="constrained")
nodes = np.r_[0, x, 1]
shown = dict.fromkeys(methods, (1, 5, 20)) | {"intervals and wide hats": (1, 2, 3)}
for ax, (name, (found, _)) in zip(axes, methods.items(), strict=True):
    ax.plot(nodes, np.r_[0, solution, 0], color="k", linewidth=4, alpha=0.25, label="solution")
    size, unit = len(subspaces[name]), "pass"
    if passes[name] == 1:
        size, unit, shown[name] = 1, "step", (3, 4, 5)
    for count, style in zip(shown[name], ("-", "--", ":"), strict=True):
        ax.plot(nodes, np.r_[0, found[count * size], 0], style, label=f"{unit} {count}")
    ax.set_title(name.replace(" (", "\n(").replace(" and ", "\nand ").replace(" of", "\nof"), fontsize=10)
    ax.set(xlabel="x", ylim=(-0.05, 0.9))
    ax.legend(fontsize="small", loc="upper left", ncols=2)
axes[0].set_ylabel("u")
figure.suptitle("What has been found on the way, for four choices of subspaces")
plt.show()

# %%
# The error against the work, the sum of the sizes of the subspaces that were used, divided by the number of
# unknowns.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for (name, (_, errors)), style in zip(methods.items(), ("-", "--", "-.", "o-"), strict=True):
    sizes = [P.shape[1] for P in subspaces[name]] * passes[name]
    work = np.r_[0, np.cumsum(sizes)] / (n - 1)
    ax.semilogy(work, errors, style, label=name)
ax.set(
    title="The error falls in each step; how fast is a matter of the subspaces",
    xlabel="unknowns visited / unknowns",
    ylabel="error in energy, relative",
)
ax.legend(loc="center right")
ax.grid(alpha=0.3)
plt.show()
