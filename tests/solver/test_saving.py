"""Solutions in files and as labelled arrays."""

from __future__ import annotations

import os
import struct
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mgnet
from mgnet.cli.solve import OUT_ENDINGS
from mgnet.solver.saving import ENDINGS

NODES = {1: (5,), 2: (5, 4), 3: (5, 4, 3)}


def solution(dim: int, batch: tuple[int, ...] = (), dtype: Any = np.float64, torch_too: bool = False) -> Any:
    f: Any = np.random.default_rng(dim).normal(size=(*batch, *NODES[dim])).astype(dtype)
    n = tuple(k - 1 for k in NODES[dim])
    f = torch.tensor(f, requires_grad=True) if torch_too else f
    return mgnet.solve(f, n if dim > 1 else n[0], dim=dim, domain=(1.0, 3.0))


def axes(sol: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in (sol.x if sol.dim > 1 else (sol.x,))]


def read_vtr(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of VTK by what its format says: offsets into raw data, each behind its size."""
    head, _, raw = path.read_bytes().partition(b'<AppendedData encoding="raw">')
    raw = raw[raw.index(b"_") + 1 :]
    root = xml.etree.ElementTree.fromstring(head.decode() + "</VTKFile>")
    assert root.attrib["type"] == "RectilinearGrid"
    assert root.attrib["header_type"] == "UInt64"
    order = {"LittleEndian": "<", "BigEndian": ">"}[root.attrib["byte_order"]]
    found = {"extent": np.array(root[0].attrib["WholeExtent"].split(), int)}
    for array in root.iter("DataArray"):
        start = int(array.attrib["offset"])
        (size,) = struct.unpack_from(f"{order}Q", raw, start)
        kind = np.dtype(array.attrib["type"].lower()).newbyteorder(order)
        found[array.attrib["Name"]] = np.frombuffer(raw[start + 8 : start + 8 + size], kind)
    return found


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("batch", [(), (2,), (2, 1)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_saved_comes_back(tmp_path: Path, dim: int, batch: tuple[int, ...], dtype: Any) -> None:
    sol = solution(dim, batch, dtype)
    x, u, names = axes(sol), sol.u, "xyz"[:dim]
    sol.save(tmp_path / "u.npz")
    with np.load(tmp_path / "u.npz") as stored:
        assert sorted(stored) == ["u", *names]
        assert stored["u"].dtype == dtype
        for name, expected in zip(("u", *names), (u, *x), strict=True):
            assert (stored[name] == expected).all()
    sol.save(str(tmp_path / "u.CSV"))
    columns = {(): ["u"], (2,): ["u0", "u1"], (2, 1): ["u0_0", "u1_0"]}[batch]
    assert (tmp_path / "u.CSV").read_text().splitlines()[0] == ",".join([*names, *columns])
    table = np.loadtxt(tmp_path / "u.CSV", delimiter=",", skiprows=1).T
    nodes = [each.ravel() for each in np.meshgrid(*x, indexing="ij")]
    rows = u.reshape(-1, nodes[0].size)
    assert (table[:dim] == nodes).all()
    assert (table[dim:].astype(dtype) == rows).all()
    sol.save(tmp_path / "u.npy")
    expected = np.stack((*x, *rows), 1) if dim == 1 else u
    assert (np.load(tmp_path / "u.npy") == expected).all()
    assert sorted(os.listdir(tmp_path)) == ["u.CSV", "u.npy", "u.npz"]


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_files_of_vtk(tmp_path: Path, dim: int, batch: tuple[int, ...], dtype: Any) -> None:
    pytest.importorskip("pyevtk")
    sol = solution(dim, batch, dtype)
    sol.save(tmp_path / "u.vtr")
    assert os.listdir(tmp_path) == ["u.vtr"]
    stored = read_vtr(tmp_path / "u.vtr")
    cells = [k - 1 for k in (*NODES[dim], 1, 1)[:3]]
    assert stored["extent"].tolist() == [0, cells[0], 0, cells[1], 0, cells[2]]
    for name, x in zip("xyz", [*axes(sol), np.zeros(1), np.zeros(1)], strict=False):
        assert (stored[f"{name}_coordinates"] == x).all()
    for i, u in enumerate(sol.u.reshape(-1, *NODES[dim])):
        values = stored[f"u{i}" if batch else "u"]
        assert values.dtype == dtype
        assert (values == u.ravel(order="F")).all()  # x runs fastest


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("batch", [(), (2,), (2, 1)], ids=str)
def test_labelled_arrays(dim: int, batch: tuple[int, ...]) -> None:
    xarray = pytest.importorskip("xarray")
    sol = solution(dim, batch)
    array = sol.to_xarray()
    assert isinstance(array, xarray.DataArray)
    leading = {(): (), (2,): ("batch",), (2, 1): ("batch0", "batch1")}[batch]
    assert (array.name, array.dims) == ("u", (*leading, *"xyz"[:dim]))
    assert (array.to_numpy() == sol.u).all()
    for name, x in zip("xyz", axes(sol), strict=False):
        assert (array[name].to_numpy() == x).all()
    point = [1.7] * dim
    between = array.interp(dict(zip("xyz", point, strict=False)), method="linear")
    np.testing.assert_allclose(between, sol(*point), rtol=1e-12)
    again = mgnet.solve(array, NODES[dim][0] - 1) if dim == 1 else array
    assert np.shape(getattr(again, "u", again)) == sol.u.shape


def test_tensors_are_saved_without_their_graph(tmp_path: Path) -> None:
    sol = solution(2, torch_too=True)
    sol.save(tmp_path / "u.npz")
    with np.load(tmp_path / "u.npz") as stored:
        assert (stored["u"] == sol.u.detach().numpy()).all()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_is_replaced_whole_or_left(tmp_path: Path, ending: str) -> None:
    if ending == ".vtr":
        pytest.importorskip("pyevtk")
    path = tmp_path / f"u{ending}"
    solution(1).save(path)
    first = path.read_bytes()
    solution(2).save(path)
    assert path.read_bytes() != first
    second = path.read_bytes()
    with pytest.raises(OSError):
        solution(1).save(tmp_path / "none" / path.name)
    assert path.read_bytes() == second
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["u", "u.vtk", "u.txt", "u.csv.gz", ""])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        ValueError, match=r"path: got .*; accepted: a name that ends in \.csv, \.npy, \.npz, \.vtr"
    ):
        solution(1).save(os.path.join(tmp_path, name))
    assert os.listdir(tmp_path) == []


def test_the_command_takes_the_same_endings() -> None:
    assert OUT_ENDINGS == ENDINGS


@pytest.mark.parametrize("package", ["pyevtk", "xarray"])
def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    sol = solution(1)
    with pytest.raises(
        ImportError, match=rf"{package}: not installed; accepted: pip install .*\[files\]"
    ) as error:
        sol.to_xarray() if package == "xarray" else sol.save(tmp_path / "u.vtr")
    assert error.value.name == package
    assert os.listdir(tmp_path) == []
