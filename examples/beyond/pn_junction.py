r"""
A pn junction by Newton's method
================================

Where silicon with donors meets silicon with acceptors, the carriers diffuse across, leave charge behind, and
a voltage builds up. Its equation is not linear, but a step of Newton's method is one call. Lumped, it
converges in a few steps at any doping. Integrated, the same steps need not converge at all where the layer is
thinner than a cell.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/hat-functions`

In equilibrium the densities of electrons and holes are :math:`n_i e^{u}` and :math:`n_i e^{-u}`, with the
potential u in units of the thermal voltage. With the doping N, donors minus acceptors over 2 nᵢ, Poisson's
equation is

.. math:: -\Delta u + k^2 \sinh u = k^2 N,

where 1/k is the Debye length of the undoped crystal. Far from junctions there is no charge, sinh u = N.
"""

# %%
# A step of Newton's method
# -------------------------
# Linearised about a guess w, with new values u, the equation is :eq:`strong-form` with
#
# .. math:: -\Delta u + c u = f, \qquad c = k^2 \cosh w, \qquad f = c\,w + k^2 (N - \sinh w).
#
# c and f are nodal, so both are lumped, :eq:`mass-lumped` and :eq:`load-nodal`. A correction of more than 1
# is cut to 1 at each node: the exponential is good for no larger ones. All sides are insulated.

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

import mgnet


def newton(N: np.ndarray, k: float, w: np.ndarray, most: int = 40, **more: object) -> tuple[np.ndarray, list]:
    """Return the potential and the largest correction of each step."""
    sizes: list[float] = []
    while len(sizes) < most and (not sizes or sizes[-1] > 1e-9):
        c = k**2 * np.cosh(w)
        f = c * w + k**2 * (N - np.sinh(w))
        correction = mgnet.solve(f, dim=N.ndim, c=c, boundary=mgnet.Neumann(), **more).u - w
        sizes.append(np.abs(correction).max())
        w = w + np.clip(correction, -1, 1)
    return w, sizes


# %%
# The junction
# ------------
# Acceptors on the left, five times as many donors on the right, k² = 1000. At the junction itself the node
# has the mean. The first guess is neutral.

donors, acceptors, k = 50.0, 10.0, np.sqrt(1000)


def junction(n: int) -> np.ndarray:
    x = np.linspace(0, 1, n + 1)
    return np.where(x < 0.5, -acceptors, donors) + np.where(x == 0.5, -(donors + acceptors) / 2, 0)


n = 256
x, N = np.linspace(0, 1, n + 1), junction(n)
u, sizes = newton(N, k, np.arcsinh(N))
print("corrections " + ", ".join(f"{size:.0e}" for size in sizes))
assert len(sizes) < 12

# %%
# Against SciPy
# -------------
# The same equations without mgnet, for any number of dimensions: hats along each axis, and a weight for each
# node.


def by_hand(N: np.ndarray, k: float, h: float) -> np.ndarray:
    A, weights = sp.csr_array((1, 1)), np.ones(1)
    M = sp.csr_array(np.ones((1, 1)))
    for size in N.shape:
        ones, ends = np.ones(size - 1), np.pad(np.ones(size - 2), 1, constant_values=0.5)
        stiffness = sp.diags_array([-ones, 2 * ends, -ones], offsets=[-1, 0, 1]) / h
        mass = sp.diags_array([ones, 4 * ends, ones], offsets=[-1, 0, 1]) * h / 6
        A, M = sp.kron(A, mass) + sp.kron(M, stiffness), sp.kron(M, mass)
        weights = np.kron(weights, h * ends)
    u = np.arcsinh(N).ravel()
    for _ in range(40):
        residual = A @ u + k**2 * weights * (np.sinh(u) - N.ravel())
        correction = spsolve(sp.csc_array(A + sp.diags_array(k**2 * weights * np.cosh(u))), residual)
        u = u - np.clip(correction, -1, 1)
        if np.abs(correction).max() < 1e-12:
            return u.reshape(N.shape)
    raise AssertionError("no convergence")


difference = np.abs(u - by_hand(N, k, 1 / n)).max()
print(f"largest difference from SciPy {difference:.1e}")
assert difference < 1e-10

# %%
# Against formulas
# ----------------
# The built-in voltage is that between the neutral regions. The charge as a whole is zero. Multiplied by u′
# the equation can be integrated once, and if the junction is far from the ends, that gives the potential uⱼ
# at the junction and the field there, which by Gauss's law is also the charge of either side,
#
# .. math:: u_j = \frac{N_A u_p + N_D u_n + \cosh u_p - \cosh u_n}{N_A + N_D}, \qquad
#    \tfrac12 u'^2_j = k^2 \bigl( \cosh u_j - \cosh u_n + N_D (u_n - u_j) \bigr).

neutral = np.arcsinh([-acceptors, donors])
built_in = neutral[1] - neutral[0]
at_junction = acceptors * neutral[0] + donors * neutral[1] + np.cosh(neutral[0]) - np.cosh(neutral[1])
at_junction /= acceptors + donors
field = np.cosh(at_junction) - np.cosh(neutral[1]) + donors * (neutral[1] - at_junction)
field = k * np.sqrt(2 * field)
assert abs(u[-1] - u[0] - built_in) < 1e-8


def charge(N: np.ndarray, k: float, u: np.ndarray) -> np.ndarray:
    return k**2 * (N - np.sinh(u))


errors = []
for cells in (128, 256, 512, 1024):
    N_here = junction(cells)
    v, _ = newton(N_here, k, np.arcsinh(N_here))
    sums = charge(N_here, k, v) / cells
    sums[[0, -1]] /= 2
    right = sums[cells // 2 + 1 :].sum() + charge(donors, k, v[cells // 2]) / cells / 2
    errors.append((abs(v[cells // 2] - at_junction), abs(right - field)))
    print(
        f"{cells:>5} cells: potential {v[cells // 2]:.5f}, field {right:.4f}, whole charge {sums.sum():.0e}"
    )
    assert abs(sums.sum()) < 1e-8 * field
print(f"   formulas: potential {at_junction:.5f}, field {field:.4f}")
orders = np.log2(np.divide(errors[:-1], errors[1:]))
print("orders", orders.round(2).tolist())
assert np.abs(orders[-1] - 2).max() < 0.1

# %%
# The picture: carriers leave both sides of the junction, and what is left is the charge of the donors and
# acceptors. If the layer is assumed to be empty, its charges are two rectangles of the same area, and the
# potential two parabolas: the depletion approximation, dotted. At so little doping it is rough. Just left of
# the junction the charge is more than that of the acceptors, because electrons spill over.

width = np.sqrt(2 * built_in / k**2 * (1 / acceptors + 1 / donors))
left = 0.5 - width * donors / (donors + acceptors)
right = 0.5 + width * acceptors / (donors + acceptors)

fine = np.linspace(0, 1, len(v))
figure, panels = plt.subplots(3, 1, figsize=(7.5, 7), sharex=True, layout="constrained")
approximate = np.where(
    fine < 0.5,
    neutral[0] + k**2 * acceptors / 2 * np.clip(fine - left, 0, None) ** 2,
    neutral[1] - k**2 * donors / 2 * np.clip(right - fine, 0, None) ** 2,
)
panels[0].plot(fine, v)
panels[0].plot(fine, approximate, "k:", linewidth=1)
panels[0].plot(0.5, at_junction, "o", color="k", fillstyle="none", label="the formula")
for value in neutral:
    panels[0].axhline(value, color="0.6", linewidth=0.7)
panels[0].set(ylabel="potential u", title="A pn junction: potential, carriers, charge")
panels[0].legend(loc="upper left")
panels[1].semilogy(fine, np.exp(v), color="tab:blue", label="electrons")
panels[1].semilogy(fine, np.exp(-v), color="tab:red", label="holes")
panels[1].semilogy(fine, 2 * np.abs(N_here), color="k", linewidth=0.8, label="|doping|")
panels[1].set(ylabel="density / nᵢ")
panels[1].legend(loc="center right")
rho = charge(N_here, k, v) / k**2
panels[2].fill_between(fine, rho, where=fine <= 0.5, color="tab:red", alpha=0.6, linewidth=0)
panels[2].fill_between(fine, rho, where=fine >= 0.5, color="tab:blue", alpha=0.6, linewidth=0)
panels[2].plot(
    [left, left, 0.5, 0.5, right, right], [0, -acceptors, -acceptors, donors, donors, 0], "k:", lw=1
)
panels[2].set(ylabel="charge / (2 nᵢ)", xlabel="x", xlim=(0.4, 0.6))
for ax in panels:
    ax.axvspan(left, right, color="0.93", zorder=0)
plt.show()

# %%
# Why lumped
# ----------
# Integrated, c has entries beside the diagonal. From c h² = 6 on they are larger than those of the stiffness
# matrix and have the other sign: a positive load may have a negative answer. A correction that should go up
# goes down there, and the next guess is no better than the last. Lumped, the matrix is an M-matrix for any c,
# and the equations are those of the minimum of a convex function, which short steps of Newton's method find.
# Here with more and more doping on the same grid:

ways, times = {"lumped": "nodal", "integrated": "exact"}, (1, 10, 100, 1000)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
print("doping  largest c h²  " + "  ".join(ways))
N, steps = junction(n), {}
for many in times:
    for ax, (way, load) in zip(axes, ways.items(), strict=True):
        _, sizes = newton(many * N, k, np.arcsinh(many * N), load=load)
        steps[many, way] = len(sizes) if sizes[-1] < 1e-9 else np.inf
        ax.semilogy(1 + np.arange(len(sizes)), sizes, "o-", markersize=3, label=f"doping × {many}")
        ax.set(title=way, xlabel="step", xlim=(0, 41))
        ax.grid(alpha=0.3)
    stiff = k**2 * np.hypot(1, many * donors) / n**2
    print(f"× {many:<5} {stiff:>12.1f} {steps[many, 'lumped']:>7} {steps[many, 'integrated']:>11}")
axes[0].set_ylabel("largest correction")
axes[0].legend()
figure.suptitle("Corrections of Newton's method: lumped it needs a few steps at any doping")
plt.show()
assert max(steps[many, "lumped"] for many in times) < 15
assert steps[1, "integrated"] < 30 and steps[1000, "integrated"] == np.inf

# %%
# Where it converges integrated the corrections fall by a factor, and not faster and faster: f is the integral
# of the line between nodal values of c w, c u that of a product, so that one is not quite the derivative of
# the other. Lumped, it is. The first guess does not matter much either:

_, sizes = newton(1000 * N, k, 0 * N)
print(f"from zero in {len(sizes)} steps, corrections cut to 1")
assert len(sizes) < 30

# %%
# In silicon
# ----------
# A well with donors, 10¹⁷ in a cubic centimetre, in silicon with 10¹⁶ acceptors, in micrometres and volts.
# There are 10¹⁰ carriers in a cubic centimetre without doping, and their Debye length is 29 µm, very long;
# but doping is large.

thermal, intrinsic = 0.02585, 1e10  # V and 1/cm³
permittivity, elementary = 11.7 * 8.854e-14, 1.602e-19  # F/cm and C
k = 1e-4 / np.sqrt(permittivity * thermal / (2 * elementary * intrinsic))  # 1/µm
n, h = (160, 100), 2.0 / 160
x, y = (h * np.arange(size + 1) for size in n)
X, Y = np.meshgrid(x, y, indexing="ij")
outside = np.hypot(np.clip(np.abs(X - 1.0) - 0.35, 0, None), np.clip(0.85 - Y, 0, None))
N = (1e17 * np.exp(-((outside / 0.12) ** 2)) - 1e16) / (2 * intrinsic)

u, sizes = newton(N, k, np.arcsinh(N), domain=[(0.0, x[-1]), (0.0, y[-1])])
print(f"1/k = {1 / k:.1f} µm; corrections " + ", ".join(f"{size:.0e}" for size in sizes))
difference = np.abs(u - by_hand(N, k, h)).max()
voltage = thermal * (u.max() - u.min())
textbook = thermal * np.log(9e16 * 1e16 / intrinsic**2)
print(f"largest difference from SciPy {difference:.1e}")
print(f"built in {voltage:.4f} V, by the textbook {textbook:.4f} V")
assert difference < 1e-7
assert abs(voltage - textbook) < 1e-3

ends = [np.pad(np.ones(size - 1), 1, constant_values=0.5) for size in n]
rho = N - np.sinh(u)
weights = h**2 * np.outer(*ends)
neutrality = (weights * rho).sum() / (weights * np.abs(rho)).sum()
print(f"whole charge {neutrality:.0e} of what is there")
assert abs(neutrality) < 1e-8

# %%
# Between the dashed lines less than half of the carriers are there that the doping would give. This layer is
# wider where there is less doping, outside of the well. Its field, the arrows, keeps electrons in and holes
# out: a diode.

along_x, along_y = -thermal * np.array(np.gradient(u, h)) / 1e-4 / 1e3  # kV/cm
strength = np.hypot(along_x, along_y)
print(f"largest field {strength.max():.0f} kV/cm")
shown = np.zeros(u.shape, dtype=bool)
shown[5::6, 5::6] = strength[5::6, 5::6] > 0.1 * strength.max()

# sphinx_gallery_thumbnail_number = 3
figure, (ax, cut) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=(1.5, 1))
colours = ax.contourf(x, y, thermal * u.T, levels=30, cmap="RdBu")
ax.contour(x, y, N.T, levels=[0], colors="k", linewidths=1.2)
carriers = np.cosh(u) / (np.abs(N) + 1)
ax.contour(x, y, carriers.T, levels=[0.5], colors="white", linewidths=1.2, linestyles="dashed")
ax.quiver(X[shown], Y[shown], along_x[shown], along_y[shown], scale=1.2e3, width=0.003)
figure.colorbar(colours, ax=ax, label="potential (V)", format="%.2f")
ax.set(
    aspect="equal", xlabel="x (µm)", ylabel="y (µm)", title="A well with donors: junction and depleted layer"
)
middle = n[0] // 2
cut.semilogx(intrinsic * np.exp(u[middle]), y, color="tab:blue", label="electrons")
cut.semilogx(intrinsic * np.exp(-u[middle]), y, color="tab:red", label="holes")
cut.semilogx(2 * intrinsic * np.abs(N[middle]), y, "k:", linewidth=1, label="|doping|")
cut.set(xlabel="density (1/cm³)", ylim=(0, y[-1]), title="Along the middle, x = 1 µm")
cut.legend(loc="lower center")
plt.show()
