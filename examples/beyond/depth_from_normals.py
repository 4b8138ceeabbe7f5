r"""
Depth from normals
==================

Three pictures of a relief, each under another lamp, tell how every spot of it leans, but not how high it is.
The heights follow from the slopes by one solve: two theatre masks, cut out with holes for eyes and mouths,
from pictures with noise and with paint on the masks.

The brightness of a matt surface gives, under three lamps, three equations for the normal of each pixel [1]_.
Of its slopes g = (p, q) a depth u is to be found whose gradient they are. Because of the noise there is none,
so the one that comes closest is taken,

.. math:: \min_u \int_\Omega |\nabla u - g|^2, \qquad \text{hence} \quad \int_\Omega \nabla u \cdot \nabla v
   = \int_\Omega g \cdot \nabla v \quad \text{for all } v,

where Ω are the pixels that show a mask. Nothing is known of u at their border, and nothing has to be said
there: ∂u/∂ν = g·ν is the natural condition. So each mask floats; its depth is determined up to a constant of
its own.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/boxes`

.. [1] R. J. Woodham, Photometric method for determining surface orientation from multiple images, Optical
   Engineering 19 (1980), 139-144.
"""

# %%
# Two masks
# ---------
# Comedy and tragedy are generated here, bumps on a dome. Depth is a function of the place, so that the answer
# is known.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LightSource
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order

import mgnet

# Height, place and widths: forehead, cheeks, nose, nostrils, brows, chin. On x > 0 and x < 0 alike.
BUMPS = [
    (0.20, 0.0, 0.50, 0.40, 0.20),
    (0.15, 0.32, -0.12, 0.18, 0.18),
    (0.18, 0.0, -0.02, 0.10, 0.18),
    (0.08, 0.0, -0.16, 0.15, 0.08),
    (0.08, 0.30, 0.38, 0.18, 0.07),
    (0.12, 0.0, -0.74, 0.20, 0.11),
]


def face(x: np.ndarray, y: np.ndarray, mood: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the height of a mask, and where it is; the mood is 1 or -1."""
    tilt = 0.3 * mood * (np.abs(x) - 0.3)  # of brows and eyes
    height = 0.5 - 0.3 * x**2 - 0.2 * y**2
    for size, place, level, wide, high in BUMPS:
        up = (y - level - tilt * (level == 0.38)) / high
        for side in {place, -place}:
            height = height + size * np.exp(-(((x - side) / wide) ** 2) - up**2)
    oval = (x / (0.80 + 0.1 * y)) ** 2 + np.abs(y / 0.98) ** 2.4 < 1
    eyes = ((np.abs(x) - 0.33) / 0.17) ** 2 + ((y - 0.20 - tilt) / 0.085) ** 2 < 1
    lips = y + 0.46 + 0.03 * mood - 0.75 * mood * (x**2 - 0.06)
    mouth = (lips / 0.085) ** 2 + (x / 0.42) ** 4 < 1
    return height, oval & ~eyes & ~mouth


def masks(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the depth of comedy, where x < 0, and of tragedy, and where they are."""
    c, s = np.cos(0.16), np.sin(0.16)
    comedy, tragedy = (
        face(c * (x - x0) + turn * s * (y - y0), -turn * s * (x - x0) + c * (y - y0), mood)
        for x0, y0, turn, mood in ((-0.86, 0.08, 1, 1), (0.86, -0.08, -1, -1))
    )
    return tuple(np.where(x < 0, *pair) for pair in zip(comedy, tragedy, strict=True))


# %%
# A pixel is a cell. A picture of nx × ny pixels has (nx + 1) × (ny + 1) corners, the nodes.


class Camera:
    """Where pixels and their corners are, h apart."""

    def __init__(self, ny: int) -> None:
        self.n, self.h = (3 * ny // 2, ny), 2.4 / ny
        ends = (1.8, 1.2)
        self.corners = [np.linspace(-end, end, n + 1) for end, n in zip(ends, self.n, strict=True)]
        self.pixels = np.ix_(*((x[1:] + x[:-1]) / 2 for x in self.corners))
        self.depth = masks(*np.ix_(*self.corners))[0]
        self.cells = masks(*self.pixels)[1]

    def slopes(self) -> np.ndarray:
        """Return the slopes in the middle of each pixel, along x and along y, shape (2, nx, ny)."""
        x, y = self.pixels
        step = 1e-5
        ahead = masks(x + step, y)[0], masks(x, y + step)[0]
        behind = masks(x - step, y)[0], masks(x, y - step)[0]
        return np.subtract(ahead, behind) / (2 * step)


# %%
# Three pictures
# --------------
# The brightness is the paint's times the cosine of the angle between the normal and the lamp, and each
# picture has noise. The paint is in lozenges, of which the depth must show nothing.

camera = Camera(240)
x, y = camera.pixels
random = np.random.default_rng(2)

paint = np.where(np.sin(9 * x + 6 * y) * np.sin(9 * x - 6 * y) > 0, 0.9, 0.55)
lamps = np.array([(0.0, 0.42, 0.9), (0.36, -0.21, 0.9), (-0.36, -0.21, 0.9)])
lamps /= np.linalg.norm(lamps, axis=1, keepdims=True)


def normals_of(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.stack([-p, -q, np.ones_like(p)]) / np.sqrt(1 + p**2 + q**2)


true_slopes = camera.slopes()
bright = paint * np.einsum("ki,i...->k...", lamps, normals_of(*true_slopes))
assert bright[:, camera.cells].min() > 0  # no spot is in its own shadow
pictures = bright + 0.01 * random.normal(size=bright.shape)

figure, axes = plt.subplots(1, 3, figsize=(10, 2.7), layout="constrained")
for ax, picture, where in zip(axes, pictures, ("above", "below right", "below left"), strict=True):
    ax.imshow(np.where(camera.cells, picture, 0.1).T, origin="lower", cmap="gray", vmin=0, vmax=1)
    ax.set(title=f"lamp {where}", xticks=[], yticks=[])
figure.suptitle("What is known: three pictures, with noise and paint")
plt.show()

# %%
# In each pixel three brightnesses are a matrix of three lamps times one vector. Its length is the paint, its
# direction the normal.

vectors = np.einsum("ik,k...->i...", np.linalg.inv(lamps), pictures)
found_paint = np.linalg.norm(vectors, axis=0)
slopes = -vectors[:2] / vectors[2]
assert np.abs(found_paint - paint)[camera.cells].mean() < 0.02

# %%
# The load
# --------
# Slopes are constant in a pixel, and the mean slope of a corner's hat there is half of the height 1 over h.
# So g·∇v becomes a sum with signs over the four pixels of a corner: the divergence of the slopes, with a
# minus. Each pixel adds as much as it takes away, so the load of a piece sums to zero, as :eq:`compatibility`
# asks.


def load_of(p: np.ndarray, q: np.ndarray, cells: np.ndarray, h: float) -> np.ndarray:
    """Return the load of each corner, shape (nx + 1, ny + 1)."""
    p, q = (np.pad(np.where(cells, slope, 0), 1) * h / 2 for slope in (p, q))
    sums = p[:, :-1] + p[:, 1:], q[:-1] + q[1:]
    return sums[0][:-1] - sums[0][1:] + sums[1][:, :-1] - sums[1][:, 1:]


def depth_of(slopes: np.ndarray, camera: Camera) -> mgnet.Solution:
    b = load_of(*slopes, camera.cells, camera.h)
    domain = [(x[0], x[-1]) for x in camera.corners]
    return mgnet.solve(b=b, dim=2, n=camera.n, domain=domain, cells=camera.cells, boundary=mgnet.Neumann())


sol = depth_of(slopes, camera)
print(sol)

# %%
# Corners without a pixel have no depth, NaN. Each mask has the mean zero, :eq:`zero-mean`; the mean of four
# corners is that of a pixel.


def of_pixels(u: np.ndarray) -> np.ndarray:
    return (u[1:, 1:] + u[1:, :-1] + u[:-1, 1:] + u[:-1, :-1]) / 4


def centred(v: np.ndarray, camera: Camera) -> np.ndarray:
    """Return values of pixels less their means, that of comedy and that of tragedy."""
    halves = np.split(np.where(camera.cells, v, np.nan), 2)
    return np.concatenate([half - np.nanmean(half) for half in halves])


found = of_pixels(sol.u)
assert np.abs(found - centred(found, camera))[camera.cells].max() < 1e-9
assert np.isnan(sol.u[:, 0]).all()

# %%
# Is it what was asked for?
# -------------------------
# The minimum, without multigrid: on a small picture, the squares are summed by two Gauss points along each
# axis, which are exact, and NumPy's least squares find the depth. Its equations are the slopes at those
# points.


def least_squares(slopes: np.ndarray, camera: Camera) -> np.ndarray:
    number = np.arange(camera.depth.size).reshape(camera.depth.shape)
    corners = [number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]]
    corners = np.stack([corner[camera.cells] for corner in corners], axis=-1)
    rows, right = [], []
    for t in (0.5 - np.sqrt(1 / 12), 0.5 + np.sqrt(1 / 12)):
        for slope, hats in zip(slopes, ([t - 1, 1 - t, -t, t], [t - 1, -t, 1 - t, t]), strict=True):
            equations = np.zeros((len(corners), number.size))
            np.put_along_axis(equations, corners, np.array(hats) / camera.h, axis=1)
            rows, right = [*rows, equations], [*right, slope[camera.cells]]
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(right))[0].reshape(number.shape)


small = Camera(24)
rough = small.slopes() + 0.1 * random.normal(size=(2, *small.n))
by_numpy = centred(of_pixels(least_squares(rough, small)), small)
difference = np.nanmax(np.abs(of_pixels(depth_of(rough, small).u) - by_numpy))
print(f"largest difference from NumPy's least squares: {difference:.1e}")
assert difference < 1e-8

# %%
# Without noise the depth is that of the masks, with an error of order 2, although their border is a staircase
# of pixels: a natural condition with the right slopes holds on any border.


def error(u: np.ndarray, camera: Camera) -> np.ndarray:
    return centred(of_pixels(u), camera) - centred(of_pixels(camera.depth), camera)


sizes = np.array([60, 120, 240])
errors = [np.nanmax(np.abs(error(depth_of(c.slopes(), c).u, c))) for c in map(Camera, sizes)]
orders = np.log2(np.divide(errors[:-1], errors[1:]))
print(f"without noise: errors {', '.join(f'{e:.1e}' for e in errors)}, orders {orders.round(2)}")
assert orders.min() > 1.6
assert abs(orders[-1] - 2) < 0.15

# %%
# The way matters, or it does not
# -------------------------------
# Without an equation one would add slopes up along paths. Here they go out from one pixel of each mask, from
# neighbour to neighbour, over a tree that reaches every pixel in the fewest steps. The noise of a path is in
# all that comes after it, and where two paths have gone around an eye or a mouth, what they bring does not
# fit.


def by_paths(slopes: np.ndarray, camera: Camera) -> np.ndarray:
    number = np.arange(camera.cells.size).reshape(camera.n)
    along_x = (camera.cells[1:] & camera.cells[:-1]).nonzero()
    along_y = (camera.cells[:, 1:] & camera.cells[:, :-1]).nonzero()
    start = np.concatenate([number[:-1][along_x], number[:, :-1][along_y]])
    end = np.concatenate([number[1:][along_x], number[:, 1:][along_y]])
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(number.size,) * 2).tocsr()
    x, y = np.broadcast_arrays(*camera.pixels)
    p, q, x, y = (values.ravel() for values in (*slopes, x, y))
    depth = np.zeros(number.size)
    for half, there in zip(np.split(number, 2), np.split(camera.cells, 2), strict=True):
        order, before = breadth_first_order(graph, half[there][0], directed=False)
        for i, j in zip(order[1:], before[order[1:]], strict=True):
            depth[i] = depth[j] + (p[i] + p[j]) / 2 * (x[i] - x[j]) + (q[i] + q[j]) / 2 * (y[i] - y[j])
    return depth.reshape(camera.n)


depths = {"added up along paths": by_paths(slopes, camera), "by one solve": found}
truth = centred(of_pixels(camera.depth), camera)
misses = {name: centred(depth, camera) - truth for name, depth in depths.items()}
means = {name: float(np.sqrt(np.nanmean(miss**2))) for name, miss in misses.items()}
print("mean error: " + ", ".join(f"{name} {mean:.1e}" for name, mean in means.items()))
assert means["by one solve"] < 2e-3 * np.ptp(camera.depth)
assert means["by one solve"] < 0.2 * means["added up along paths"]

# %%
# Each solution, lit from the side, where no lamp has been.

light = LightSource(azdeg=300, altdeg=35)


def shaded(depth: np.ndarray) -> np.ndarray:
    """Return a picture, shape (ny, nx, 4), clear where nothing is."""
    p, q = np.gradient(np.where(camera.cells, depth, np.nan), camera.h)
    grey = light.shade_normals(np.moveaxis(normals_of(p, q), 0, -1))
    picture = plt.get_cmap("copper")(0.15 + 0.85 * np.nan_to_num(grey))
    picture[..., 3] = np.isfinite(grey)
    return np.swapaxes(picture, 0, 1)


ends = (-1.8, 1.8, -1.2, 1.2)
figure, axes = plt.subplots(2, 2, figsize=(10, 6.8), layout="constrained")
colours = np.moveaxis(normals_of(*slopes) / 2 + 0.5, 0, -1)
colours = np.where(camera.cells[..., None], colours, 1.0)
axes[0, 0].imshow(np.swapaxes(colours, 0, 1), origin="lower", extent=ends)
axes[0, 0].set(title="normals (red: x, green: y, blue: to the viewer)")
depth = np.where(camera.cells, found, np.nan).T
image = axes[1, 0].imshow(depth, origin="lower", extent=ends, cmap="viridis")
lines = {
    "levels": np.linspace(*image.get_clim(), 20),
    "colors": "white",
    "linewidths": 0.5,
    "linestyles": "solid",
}
axes[1, 0].contour(*(np.ravel(x) for x in camera.pixels), depth, **lines)
axes[1, 0].set(title="depth, by one solve")
figure.colorbar(image, ax=axes[1, 0], orientation="horizontal", shrink=0.6, aspect=40, pad=0.02)
for ax, (name, depth) in zip(axes[:, 1], depths.items(), strict=True):
    ax.imshow(shaded(depth), origin="lower", extent=ends)
    ax.set(title=f"{name}: mean error {means[name]:.4f}")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
figure.suptitle("Normals from three pictures, and the masks that have them, in the light of a fourth lamp")
# sphinx_gallery_thumbnail_number = 2
plt.show()
