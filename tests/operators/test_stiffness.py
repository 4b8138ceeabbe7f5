"""The stiffness operator of equal cells in the plane and in space, against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F  # noqa: N812
from operator_list import ENDS, product
from random_boxes import as_matrix, random_boxes

import mgnet
from mgnet.operators.axes import Axis
from mgnet.operators.boxes import Box
from mgnet.operators.smoothers import Jacobi
from mgnet.operators.stiffness import Stiffness, _with_kinds

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_kernel_of_the_plane() -> None:
    kernel = Stiffness(0.1, dim=2).weight  # eq: nine-point
    torch.testing.assert_close(
        3 * kernel[0, 0], torch.tensor([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype=torch.float64)
    )
    # In space the neighbours across a face have weight zero.
    assert Stiffness(1.0, dim=3).weight[0, 0, 0, 1, 1] == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(("c", "lumped"), [(0.0, False), (0.6, False), (0.6, True)])
def test_sweeps_and_loads_of_all_nodes(c: float, lumped: bool, dim: int) -> None:
    for box in random_boxes(7, dim, 9 - 2 * dim):
        A, expected = Stiffness.of(box, 1.7, c, lumped=lumped), product(box.axes, 1.7, c, lumped)
        x, b = torch.randn(2, 2, 1, *box.shape, dtype=torch.float64)
        r = (b.flatten(1).numpy() - x.flatten(1).numpy() @ expected).reshape(b.shape)
        swept = Jacobi(A.diagonal(), 0.7)(A, x, b, 1)
        y = x.numpy() + 0.7 / A.diagonal().numpy() * r
        np.testing.assert_allclose(swept, y, rtol=0, atol=1e-12 * np.abs(r).max())
        # At all nodes, nothing held and nothing joined.
        free = Box([Axis(axis.cells, axis.h, ENDS["free"], axis.robin, axis.last) for axis in box.axes])
        whole, scale = as_matrix(A.at_nodes, free.shape), 1e-13 * np.abs(expected).max()
        np.testing.assert_allclose(whole, product(free.axes, 1.7, c, lumped), rtol=0, atol=scale)


@pytest.mark.parametrize("dim", [2, 3])
def test_robin_sides_count_in_the_bound(dim: int) -> None:
    """Beside a large alpha theirs is the largest eigenvalue, 3/2 for each axis of a side."""
    box = Box([Axis(4, 1.0, ENDS["free"], (1e4, 0.0))] + [Axis(4, 1.0, ENDS["free"])] * (dim - 1))
    D = product(box.axes, 1.0, 0.0)
    largest = scipy.linalg.eigvalsh(D, np.diag(np.diag(D))).max()
    assert largest == pytest.approx(1.5 ** (dim - 1), rel=0.05)
    assert largest <= Stiffness.of(box, 1.0, 0.0).largest
    equal = Stiffness.of(Box([Axis(16, 1 / 16)] * 2), 1.0, 0.0)
    assert equal.largest == pytest.approx(1.5)


def test_a_factor_of_the_kernel_may_vanish() -> None:
    """With c h² = 6 a there are no entries to the neighbours along an axis."""
    for dim in (2, 3):
        A = Stiffness(1.0, 1.0, 6.0, dim=dim)
        x = torch.randn(1, 1, *[9] * dim, dtype=torch.float64)
        convolved = (F.conv2d if dim == 2 else F.conv3d)(x, A.weight, padding=1)
        torch.testing.assert_close(A(x), convolved, rtol=0, atol=1e-13)
    sol = mgnet.solve(1.0, 8, dim=2, domain=(0, 8), c=6.0)
    expected = mgnet.solve(1.0, 8, dim=2, domain=(0, 8), c=6.0, method="direct")
    np.testing.assert_allclose(sol.u, expected.u, rtol=0, atol=1e-13)


def test_a_fine_grid_keeps_its_digits() -> None:
    """In float32 no more is lost than the rounding of values costs, less than a convolution loses."""
    n = 1024
    x = np.linspace(0, 1, n + 1)[1:-1]
    u = np.sin(np.pi * x)[:, None] * np.sin(2 * np.pi * x)
    A = Stiffness(1 / n, dim=2, dtype=torch.float32)
    single = torch.from_numpy(u)[None, None].float()
    exact = Stiffness(1 / n, dim=2)(single.double())  # of the rounded values
    assert (A(single) - exact).abs().max() < 2 * torch.finfo(torch.float32).eps
    convolved = F.conv2d(single, A.weight, padding=1)
    assert (convolved - exact).norm() > 1.2 * (A(single) - exact).norm()


def test_a_box_stiffness_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match=r"h: got \(0.1, 0.1, 0.1\); accepted: a number, or 2 of them"):
        Stiffness((0.1, 0.1, 0.1), dim=2)
    with pytest.raises(ValueError, match="dim: got 4"):
        Stiffness(dim=4)


def test_the_coarse_operator_of_equal_cells() -> None:
    A = Stiffness((0.1, 0.2), 2.0, 3.0, dim=2, dtype=torch.float32).coarse()
    assert (A.h, A.a, A.c, A.weight.dtype) == ((0.2, 0.4), 2.0, 3.0, torch.float32)
    B = Stiffness(0.1, 2.0, 3.0, ("natural", "dirichlet"), robin=(0.5, 0.0)).coarse()
    assert (B.h, B.a, B.c, B.robin, B.boundary) == (0.2, 2.0, 3.0, (0.5, 0.0), ("natural", "dirichlet"))


def test_more_kinds_of_unknowns_than_a_precision_counts() -> None:
    """Then none are taken for alike, instead of some that are not."""
    widths = np.linspace(1, 2, 2001)
    few, many = (_with_kinds(np.tile(widths, (4, 1)).astype(dtype))[4] for dtype in (np.float32, np.float16))
    assert (np.diff(few[:-1]) == 1).all()
    assert np.isnan(many).all()
