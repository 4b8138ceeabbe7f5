"""Nodal values in files, for NumPy, for tables and for ParaView, and as an array of xarray."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from ..core.checks import shown
from ..core.extras import require
from ..core.files import replacing

__all__ = ["ENDINGS", "data_array", "write"]

# Beside the values of one right-hand side, which are u, those of many have a number each: u0, u1 or u0_1.
Columns = dict[str, np.ndarray]


def write(path: str | os.PathLike[str], x: np.ndarray | Sequence[np.ndarray], u: np.ndarray) -> None:
    """Write nodes and nodal values, shape ``(..., *nodes)``; see :meth:`mgnet.Solution.save`."""
    axes = x if isinstance(x, list | tuple) else (x,)
    ending = os.path.splitext(path)[1].lower()
    if ending not in WRITERS:
        raise ValueError(
            f"path: got {shown(os.fspath(path))}; accepted: a name that ends in {', '.join(ENDINGS)}"
        )
    if ending == ".vtr":
        require("pyevtk", "files")
    with replacing(path) as file:
        WRITERS[ending](file, axes, u)


def data_array(axes: Sequence[np.ndarray], u: np.ndarray) -> Any:
    """Return an ``xarray.DataArray``; see :meth:`mgnet.Solution.to_xarray`."""
    require("xarray", "files")
    import xarray

    names, leading = "xyz"[: len(axes)], u.ndim - len(axes)
    batch = ["batch"] if leading == 1 else [f"batch{i}" for i in range(leading)]
    return xarray.DataArray(u, dict(zip(names, axes, strict=True)), [*batch, *names], name="u")


def _columns(axes: Sequence[np.ndarray], u: np.ndarray) -> Columns:
    """Give the values of each right-hand side a name."""
    rows = np.ndindex(u.shape[: u.ndim - len(axes)])
    return {f"u{'_'.join(map(str, row))}": u[row] for row in rows}


def _write_text(file: IO[bytes], axes: Sequence[np.ndarray], u: np.ndarray) -> None:
    """Write one row for each node with all digits, the last coordinate running fastest."""
    columns = _columns(axes, u)
    digits = (9 if column.dtype == np.float32 else 17 for column in (*axes, *columns.values()))
    form = ",".join(f"%.{number}g" for number in digits) + "\n"
    file.write(f"{','.join((*'xyz'[: len(axes)], *columns))}\n".encode("ascii"))
    first, *others = axes
    step = max(1, 65536 // math.prod(map(len, others)))
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        nodes = np.broadcast_arrays(*np.ix_(first[part], *others))
        values = (column[part] for column in columns.values())
        rows = zip(*(column.ravel().tolist() for column in (*nodes, *values)), strict=True)
        file.write("".join(form % row for row in rows).encode("ascii"))


def _write_array(file: IO[bytes], axes: Sequence[np.ndarray], u: np.ndarray) -> None:
    """Write an array: the columns of a table in one dimension, else u alone."""
    whole = u if len(axes) > 1 else np.stack((*axes, *_columns(axes, u).values()), axis=1)
    whole = np.ascontiguousarray(whole)
    # np.save would not say why it cannot, as that the disk is full.
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
    file.write(whole.data.cast("B"))


def _write_arrays(file: IO[bytes], axes: Sequence[np.ndarray], u: np.ndarray) -> None:
    """Write an archive of the coordinates and u."""
    np.savez(file, u=u, **dict(zip("xyz", axes, strict=False)))  # type: ignore[arg-type]


def _write_vtk(file: IO[bytes], axes: Sequence[np.ndarray], u: np.ndarray) -> None:
    """Write VTK's rectilinear grid, which has three axes, those that are missing of one node."""
    from pyevtk.hl import gridToVTK

    missing = [np.zeros(1)] * (3 - len(axes))
    columns = _columns(axes, u).items()
    fields = {
        name: np.ascontiguousarray(each).reshape(*each.shape, *[1] * len(missing)) for name, each in columns
    }
    with tempfile.TemporaryDirectory() as folder:  # it opens files by their names
        path = gridToVTK(os.path.join(folder, "u"), *axes, *missing, pointData=fields)
        with open(path, "rb") as written:
            shutil.copyfileobj(written, file)


WRITERS = {".csv": _write_text, ".npy": _write_array, ".npz": _write_arrays, ".vtr": _write_vtk}
ENDINGS = tuple(WRITERS)
