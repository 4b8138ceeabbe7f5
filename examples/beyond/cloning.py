r"""
Seamless cloning
================

Cut a balloon out of one picture and paste it into another: the rectangle around it shows, because the two
skies differ. Poisson image editing [1]_ pastes the *differences* between neighbouring pixels instead of the
colours. Inside the patch Ω the new colours u are those whose gradient is as close as possible to that of the
source s, while on the edge of the patch they agree with the target t,

.. math:: \min_u \int_\Omega |\nabla u - \nabla s|^2, \qquad u = t \text{ on } \partial\Omega,

and the minimiser solves Poisson's equation −Δu = −Δs. Pixels are the nodes of the grid, the three colours are
three right-hand sides of one solve.

:Lecture systems: beyond the lectures
:Chapter: :doc:`/book/boxes`

.. [1] P. Pérez, M. Gangnet, A. Blake, Poisson image editing, ACM Transactions on Graphics 22 (2003), 313-318.
"""

# %%
# Two pictures
# ------------
# Both are generated here, so that the example needs no files: a landscape at dusk, and a balloon before a sky
# of another colour. A picture is an array of shape (3, rows, columns) with values from 0 to 1. To take your
# own, read them with ``np.moveaxis(plt.imread("photo.png")[..., :3], -1, 0)``.

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_fill_holes, gaussian_filter

import mgnet

random = np.random.default_rng(5)


def noise(shape: tuple[int, int], *widths: float) -> np.ndarray:
    """Smooth noise between -1 and 1; a width for each axis."""
    smooth = gaussian_filter(random.normal(size=shape), widths, mode="wrap")
    return smooth / np.abs(smooth).max()


def rgb(*values: float) -> np.ndarray:
    return np.reshape(values, (3, 1, 1))


def blend(below: np.ndarray, above: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Lay a colour or a picture over another where ``cover`` is 1."""
    return below + np.clip(cover, 0, 1) * (above - below)


# %%
# The landscape has a sky, a sun, clouds and three ridges of hills. Which pixels show the two ridges in front
# is kept for later.


def landscape(rows: int = 360, columns: int = 540) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:rows, :columns] / rows
    heights = [0.0, 0.35, 0.6, 0.78]
    colours = [(0.16, 0.20, 0.42), (0.47, 0.36, 0.56), (0.93, 0.56, 0.45), (1.0, 0.80, 0.50)]
    picture = np.stack([np.interp(y, heights, channel) for channel in zip(*colours, strict=True)])
    sun = np.hypot(x - 0.45, y - 0.66)
    picture = blend(picture, rgb(1.0, 0.86, 0.60), 0.9 * np.exp(-((sun / 0.16) ** 2)))
    picture = blend(picture, rgb(1.0, 0.97, 0.86), (0.045 - sun) * rows)
    clouds = noise((rows, columns), 7, 60) + 0.5 * noise((rows, columns), 3, 25)
    picture = blend(picture, rgb(1.0, 0.72, 0.62), 0.5 * np.clip(clouds, 0, 1))
    covers = []
    for base, rough, colour in [
        (0.70, 0.10, (0.55, 0.37, 0.47)),
        (0.80, 0.13, (0.33, 0.25, 0.38)),
        (0.92, 0.09, (0.13, 0.13, 0.22)),
    ]:
        line = np.cumsum(gaussian_filter(random.normal(size=columns), 6))
        line -= np.linspace(line[0], line[-1], columns)
        crest = base - rough * line / np.abs(line).max()
        forest = 0.012 * noise((rows, columns), 1, 1)
        cover = (y - crest + forest) * rows / 2
        picture = blend(picture, rgb(*colour), cover)
        covers.append(cover)
    return np.clip(picture + 0.012 * noise((rows, columns), 0.6, 0.6), 0, 1), np.maximum(*covers[1:]) > 0


# %%
# The balloon is a sphere that tapers towards its mouth, with stripes, ropes and a basket.


def balloon(rows: int = 200, columns: int = 170) -> np.ndarray:
    y, x = (np.mgrid[:rows, :columns] - np.reshape([rows * 0.41, columns / 2], (2, 1, 1))) / (0.33 * rows)
    grain = noise((rows, columns), 8, 8) + noise((rows, columns), 0.6, 0.6)
    picture = rgb(0.50, 0.62, 0.67) + 0.05 * y + 0.02 * grain
    # Half the width of the envelope at each height.
    t = (y - 0.3) / 0.9
    width = np.where(t < 0, np.sqrt(np.clip(1 - y**2, 0, 1)), 0.954 - 0.283 * t - 0.961 * t**2 + 0.57 * t**3)
    width = np.where((y > -1) & (t < 1), width, 0)
    across = np.clip(x / np.maximum(width, 1e-3), -1, 1)
    stripes = 4 * np.sin(6.5 * np.arcsin(across))
    envelope = blend(rgb(0.76, 0.27, 0.23), rgb(0.93, 0.84, 0.60), 0.5 + stripes)
    light = 1.06 - 0.4 * np.clip(0.35 + 0.7 * across + 0.3 * y, 0, 2) ** 2
    slope = 0.33 * rows * np.gradient(width, axis=0)
    distance = 0.33 * rows * (width - np.abs(x)) / np.hypot(1, slope)  # in pixels
    picture = blend(picture, envelope * light, distance)
    ropes = (np.abs(np.abs(x) - (0.24 - 0.16 * (y - 1.2))) < 0.014) & (y > 1.15) & (y < 1.5)
    picture = blend(picture, rgb(0.25, 0.20, 0.18), 0.8 * ropes)
    basket = (np.abs(x) < 0.2) & (y > 1.45) & (y < 1.68)
    weave = 0.5 + 0.12 * np.sin(60 * x) * np.sin(60 * y)
    return np.clip(blend(picture, np.stack([weave, 0.7 * weave, 0.4 * weave]), basket * 1.0), 0, 1)


(target, hills), source = landscape(), balloon()

# %%
# The balloon's sky is grey, that of the landscape is not.


def show(pictures: dict[str, np.ndarray], title: str) -> None:
    size = {"figsize": (9, 2.7), "width_ratios": [picture.shape[2] for picture in pictures.values()]}
    figure, axes = plt.subplots(1, len(pictures), layout="constrained", **size)
    for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
        ax.imshow(np.moveaxis(np.clip(picture, 0, 1), 0, -1))
        ax.set(title=name, xticks=[], yticks=[])
    figure.suptitle(title)
    plt.show()


show({"target": target, "source": source}, "A landscape at dusk, and a balloon before another sky")

# %%
# Cloning
# -------
# ``Stiffness`` with natural ends says which load belongs to each pixel of a picture, the left side of
# :eq:`weak-form-box` for its hat. Pixels that get new colours are to have the load of the source. All others
# are held: ``fixed`` takes a mask of them, and their colours, those of the target.

A = mgnet.Stiffness(dim=2, boundary="natural")


def load_of(picture: np.ndarray) -> np.ndarray:
    return A(torch.from_numpy(picture)[:, None])[:, 0].numpy()


def clone(load: np.ndarray, patch: np.ndarray, new: np.ndarray, **more: object) -> np.ndarray:
    """Return the patch with other colours where ``new`` is True; the load has one entry for each pixel."""
    sides = [size - 1 for size in new.shape]
    grid = {"dim": 2, "n": sides, "domain": [(0, side) for side in sides], "boundary": mgnet.Neumann()}
    return mgnet.solve(b=load, fixed=(~new, patch), **grid, **more).u


top, left = 14, 300
bottom, right = top + source.shape[1], left + source.shape[2]
rows, columns = slice(top, bottom), slice(left, right)


def put(patch: np.ndarray) -> np.ndarray:
    """Return the target with another patch."""
    picture = target.copy()
    picture[:, rows, columns] = patch
    return picture


patch = target[:, rows, columns]
inner = np.zeros(patch.shape[1:], dtype=bool)
inner[1:-1, 1:-1] = True
cloned = clone(load_of(source), patch, inner)

# %%
# Three things can be said without looking. The target's own patch, cloned into its place, comes back. The
# edge has the colours of the target. And u − s is harmonic, so it is nowhere larger or smaller than on the
# edge. The seam can be measured: the mean step from one pixel outside the patch to one pixel inside it.

assert np.abs(clone(load_of(patch), patch, inner) - patch).max() < 1e-8
assert np.array_equal(cloned[:, ~inner], patch[:, ~inner])
for channel in cloned - source:
    edge = channel[~inner]
    assert edge.min() - 1e-8 <= channel.min() <= channel.max() <= edge.max() + 1e-8


def seam(picture: np.ndarray) -> float:
    down = picture[:, [top - 1, bottom], columns] - picture[:, [top + 1, bottom - 2], columns]
    across = picture[:, rows, [left - 1, right]] - picture[:, rows, [left + 1, right - 2]]
    return float(np.abs(np.concatenate([down.ravel(), across.ravel()])).mean())


pictures = {"target": target, "paste": put(source), "clone": put(cloned)}
steps = {name: seam(picture) for name, picture in pictures.items()}
print("mean step across the seam: " + ", ".join(f"{name} {step:.4f}" for name, step in steps.items()))
assert steps["clone"] < 2 * steps["target"] < 0.2 * steps["paste"]

# %%
# In the cloned rectangle the sky around the balloon is that of the source in other colours.

# sphinx_gallery_thumbnail_number = 2
show(
    {
        f"pasted: a step of {steps['paste']:.2f}": put(source),
        f"cloned: a step of {steps['clone']:.3f}": put(cloned),
    },
    "The rectangle around the pasted balloon shows; around the cloned one hardly",
)

# %%
# Mixed gradients
# ---------------
# The clouds behind the balloon are gone, because the source has none. They stay if each cell takes the
# stronger of the two gradients. Then the differences are those of no picture any more, so the load is put
# together cell by cell: the matrix E of one cell turns the values at its corners into their loads. Where the
# source is flat, nothing changes.

E = mgnet.stencils.element((1.0, 1.0))


def corners(picture: np.ndarray) -> np.ndarray:
    """Return the values at the corners of each cell, shape (3, rows, columns, 4)."""
    above, below = picture[:, :-1], picture[:, 1:]
    return np.stack([above[..., :-1], above[..., 1:], below[..., :-1], below[..., 1:]], axis=-1)


def gathered(loads: np.ndarray) -> np.ndarray:
    """Return the load of each pixel, from the cells around it."""
    around = np.pad(loads, ((0, 0), (1, 1), (1, 1), (0, 0)))
    above, below = around[:, :-1], around[:, 1:]
    return above[:, :, :-1, 3] + above[:, :, 1:, 2] + below[:, :, :-1, 1] + below[:, :, 1:, 0]


def mixed_load(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    u, v = corners(one), corners(other)
    stronger = np.sum(u * (u @ E), axis=(0, -1)) > np.sum(v * (v @ E), axis=(0, -1))
    return gathered(np.where(stronger[:, :, None], u @ E, v @ E))


mixed = clone(mixed_load(source, patch), patch, inner)

assert np.abs(gathered(corners(source) @ E) - load_of(source)).max() < 1e-12
assert np.abs(clone(mixed_load(0 * source, patch), patch, inner) - patch).max() < 1e-8

# %%
# A patch of any shape
# --------------------
# A patch need not be a rectangle: what is new may be any set of pixels, and ``fixed`` holds the others. Here
# it is the balloon, and six pixels of sky around it.

different = np.abs(source - source[:, :, :1]).max(axis=0) > 0.13  # from the sky in the same row
mask = binary_dilation(binary_fill_holes(different), iterations=6) & inner
masked = clone(load_of(source), patch, mask)

assert np.array_equal(masked[:, ~mask], patch[:, ~mask])
smaller = np.s_[:, 30:-20, 10:-40]
box = np.zeros_like(mask)
box[31:-21, 11:-41] = True
box_cloned = clone(load_of(source[smaller]), patch[smaller], box[smaller[1:]])
assert np.abs(clone(load_of(source), patch, box)[smaller] - box_cloned).max() < 1e-8

# %%
# With mixed gradients the clouds go on through the rectangle, and faintly through the balloon. The mask
# leaves all of the sky as it was.

show(
    {"mixed gradients": put(mixed), "with a mask": put(masked)},
    "Two ways to keep the clouds behind the balloon",
)

# %%
# Behind the hills
# ----------------
# Now the balloon goes down behind the two ridges in front, which keep their colours. If they are held like
# the sky, their colours get into the balloon, as far as it reaches. So the cells that touch a ridge are left
# out of the domain: ``cells`` are the others, loads are gathered from these alone, and along the crest
# nothing is given. The natural condition there is the right one: across the border u changes as the source
# does.

top, left = 108, 190
bottom, right = top + source.shape[1], left + source.shape[2]
rows, columns = slice(top, bottom), slice(left, right)
patch, ridges = target[:, rows, columns], hills[rows, columns]
visible = mask & ~ridges
cells = ~corners(ridges[None])[0].any(axis=-1)


def clone_behind(source: np.ndarray) -> np.ndarray:
    load = gathered(np.where(cells[:, :, None], corners(source) @ E, 0))
    return clone(load, patch, visible, cells=cells)


behind, held = clone_behind(source), clone(load_of(source), patch, visible)

# %%
# Pixels without a cell are NaN; those are the ridges', and they keep the target's. As before the target
# itself comes back, and u − s is nowhere larger or smaller than where it is held, which now is in the sky
# alone.

there = ~np.isnan(behind[0])
assert not (there & ridges).any()
assert np.abs(clone_behind(patch) - patch)[:, there].max() < 1e-8
for channel in behind - source:
    sky = channel[there & ~visible]
    new = channel[there & visible]
    assert sky.min() - 1e-8 <= new.min() <= new.max() <= sky.max() + 1e-8

spreads = [np.ptp((u - source)[:, there & visible], axis=1).max() for u in (held, behind)]
print("the shift of a colour varies by {:.2f} if the ridges are held, else by {:.2f}".format(*spreads))
assert spreads[1] < 0.6 * spreads[0]

behind = np.where(there, behind, patch)
near = np.s_[:, 90:330, 130:430]
show(
    {"held at the hills": put(held)[near], "free at the hills": put(behind)[near]},
    "A balloon behind a ridge takes its colour, if pixels of the ridge are held",
)
