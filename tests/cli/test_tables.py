"""Tables: what is written comes back to the last bit, what is damaged is named, nothing stays half-done."""

from __future__ import annotations

import io
import os
import pickle
import stat
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mgnet.cli import tables
from mgnet.cli.tables import TableError, is_file_name, is_uniform, read, require_writable
from mgnet.core.files import replacing
from mgnet.solver.saving import write

FLOATS = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20)
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def text_file(folder: Path, text: str | bytes, name: str = "t.csv") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


# Reading


@pytest.mark.parametrize(
    "text",
    [
        "x,f\n0,1\n0.5,-2e-3\n1,3\n",
        "0,1\n0.5,-2e-3\n1,3",
        "0;1\n0.5;-2e-3\n1;3\n",
        "x f\n0 1\n0.5  -2e-3\n1\t3\n",
        " 0 , 1 \r\n 0.5,-.002\r\n1.,3 \r\n",
        "# generated\n\n# x_1, f\nx (m),f (W/m^3)\n0,1\n\n0.5,-2e-3\n  # end of the first layer\n1,3\n\n",
        '\ufeff"x","f"\n0,1\n0.5,-2e-3\n1,3\n',
        "\ufeff0,1\n0.5,-2e-3\n1,3\n",
        b"x,f [W/m\xb3]\n0,1\n0.5,-2e-3\n1,3\n",
    ],
    ids=[
        "header",
        "bare",
        "semicolons",
        "blanks",
        "CRLF",
        "comments",
        "BOM and quotes",
        "BOM and no header",
        "Latin-1 header",
    ],
)
def test_dialects(tmp_path: Path, text: str | bytes) -> None:
    table = read(text_file(tmp_path, text))
    assert table.x is not None
    assert table.x.tolist() == [0.0, 0.5, 1.0]
    assert table.values.tolist() == [1.0, -2e-3, 3.0]


NAMES = [
    "x",
    "f(1/m)",
    "info",
    "nano",
    "nullity",
    "\u03b1",
    "_1",
    "(1)",
    "\u0394T",
    "x1",
    "infinite",
    '"f, g"',
    ",f",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_a_name_stays_one(tmp_path: Path, name: str) -> None:
    row = "0,1" if name == ",f" else "1"
    assert read(text_file(tmp_path, f"{name}\n{row}\n{row}\n")).values.tolist() == [1.0, 1.0]


def test_one_column(tmp_path: Path) -> None:
    table = read(text_file(tmp_path, "a\n1\n2\n"))
    assert table.x is None
    assert table.values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no numbers"),
        ("# only a comment\n\n", "no numbers"),
        ("x,f\n", "no numbers"),
        ("x,f\n0,1\n0.5\n1,3\n", "line 3: columns: 1; accepted: 2"),
        ("x,f\n0,1\n0.5,2,9\n", "line 3: columns: 3; accepted: 2"),
        ("x,f,g\n0,1,2\n", "line 1: columns: 3; accepted: 1 or 2"),
        ("x,f\n0,1,2\n", "line 2: columns: 3; accepted: 2"),
        ("x,f\n0,1\n0.5,\n", "line 3: '' is not a number"),
        ("# c\nx,f\n0,1\n\n0.5,abc\n", "line 5: 'abc' is not a number"),
        ("0,one\n1,2\n", "line 1: 'one' is not a number"),
        ("1.O\n2\n3\n", "line 1: '1.O' is not a number"),
        ("# c\n\n1.O,x\n2,3\n", "line 3: '1.O' is not a number"),
        ("x,O.1\nl,2\n", "line 2: 'l' is not a number"),
        ("x,-O\n1,2\n", "line 1: 'x' is not a number"),
        ("+x\n1\n", "line 1: '+x' is not a number"),
        (".x\n1\n", "line 1: '.x' is not a number"),
        ("0,5;1,5\n1;2\n", "line 1: '0,5' is not a number"),
        ("1e,2e\n1,2\n", "line 1: '1e' is not a number"),
        ("nan(ind)\n1\n", "line 1: 'nan(ind)' is not a number"),
        ("-nan,-1.#IND\n1,2\n", "line 1: '-1.#IND' is not a number"),
        ("NaN\n1\n", "line 1: nan: not a finite number"),
        ("Infinity,inf\n1,2\n", "line 1: inf, inf: not a finite number"),
        ("NA,N/A\n1,2\n", "line 1: 'NA' is not a number"),
        (",\n1,2\n", "line 1: '' is not a number"),
        ("\u0661\n2\n", "line 1: '\\u0661' is not a number"),
        ("x\n\u0661\n", "line 2: '\\u0661' is not a number"),
        ("0,1\n1,\uff12\n", "line 2: '\\uff12' is not a number"),
        ("\u22121\n2\n", "line 1: '\\u22121' is not a number"),
        ("1\u00a0000\n2\n", "line 1: '1\\xa0000' is not a number"),
        ("x,f\n0,1\nx,f\n", "line 3: 'x' is not a number"),
        ("0,1_0\n", "line 1: '1_0' is not a number"),
        ("0;1\n0,5;2\n", "line 2: '0,5' is not a number"),
        ("0,1\n1,0x10\n", "line 2: '0x10' is not a number"),
        ("x,f\n0,1\n\n0.5,nan\n", "line 4: 0.5, nan: not a finite number"),
        ("0,1\n0.5,-inf\n", "line 2: 0.5, -inf: not a finite number"),
        ("0,1\n1,1e999\n", "line 2: 1, inf: not a finite number"),
        (b"0,1\n1,2\xff\n", "line 2: '2\\ufffd' is not a number"),
        (b"\x00\x01\x02" * 50, "no numbers"),
        (b"0,1\n\x00\x00\x00\n", "line 2: columns: 1; accepted: 2"),
    ],
)
def test_a_damaged_text_file_is_named_with_the_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = text_file(tmp_path, text)
    with pytest.raises(TableError) as caught:
        read(path)
    assert str(caught.value).startswith(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_can_be_demanded(tmp_path: Path) -> None:
    path = text_file(tmp_path, "1\n2\n")
    with pytest.raises(TableError, match="line 1: columns: 1; accepted: 2"):
        read(path, columns=(2,))


@pytest.mark.parametrize("name", ["none.csv", "none.npy", "folder.csv"])
def test_what_cannot_be_opened_is_the_system_s_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OSError, match=name):
        read(str(tmp_path / name))


@pytest.mark.parametrize("dtype", ["f8", ">f8", "f4", ">i2", "u1", "f2"])
def test_npy_of_any_real_dtype_and_layout(tmp_path: Path, dtype: str) -> None:
    path = str(tmp_path / "t.npy")
    for array in (np.arange(6).astype(dtype), np.arange(12).astype(dtype)[::2]):
        np.save(path, array)
        assert read(path).values.tolist() == array.tolist()
        assert read(path).x is None
    pairs = np.asfortranarray(np.arange(8).reshape(4, 2).astype(dtype))
    np.save(path, pairs)
    table = read(path)
    assert table.x is not None
    assert np.stack((table.x, table.values), axis=1).tolist() == pairs.tolist()
    assert table.values.dtype == np.float64


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_array(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.npy")
    with pytest.raises(TableError, match=r"t.npy: got a pipe; accepted: a file"):
        read(str(tmp_path / "t.npy"))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, f=np.arange(3.0))
    return stream.getvalue()


GOOD = npy(np.arange(10.0))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a readable .npy file"),
        (b"PK\x03\x04" + GOOD[4:], "not a readable .npy file"),
        (GOOD[:5], "not a readable .npy file"),
        (GOOD[:60], "not a readable .npy file"),
        (GOOD[:-8], "not a readable .npy file"),
        (b"x,f\n0,1\n", "not a readable .npy file"),
        (pickle.dumps([1.0, 2.0]), "not a readable .npy file"),
        (npy(np.array([1.0, None], dtype=object)), "not a readable .npy file"),
        (archive(), "an archive of arrays"),
        (npy(np.array([1j])), "an array of complex128"),
        (npy(np.array([True])), "an array of bool"),
        (npy(np.array(["1"])), "an array of <U1"),
        (npy(np.array(1.0)), "an array of shape ()"),
        (npy(np.zeros((2, 2, 2))), "an array of shape (2, 2, 2)"),
        (npy(np.zeros((4, 3))), "columns: 3; accepted: 1 or 2"),
        (npy(np.array([])), "file"),
        (npy(np.array([0.0, np.nan])), "row 1: nan: not a finite number"),
        (npy(np.array([[0.0, 1.0], [1.0, np.inf]])), "row 1: 1, inf: not a finite number"),
        (npy(np.array([np.finfo(np.longdouble).max])), "not a finite number"),
    ],
)
def test_a_damaged_npy_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = text_file(tmp_path, content, "t.npy")
    with pytest.raises(TableError) as caught:
        read(path)
    assert str(caught.value).startswith(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    content = GOOD.replace(b"(10,), }" + b" " * 7, b"(134217728,), }")  # a gigabyte, in a file of 208 bytes
    assert len(content) == len(GOOD)
    assert content != GOOD
    tracemalloc.start()
    try:
        with pytest.raises(TableError):
            read(text_file(tmp_path, content, "t.npy"))
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@settings(ONE_FOLDER, max_examples=200)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8), st.booleans())
def test_no_damage_to_an_npy_file_raises_anything_else(
    tmp_path: Path, place: int, junk: bytes, cut: bool
) -> None:
    content = GOOD[:place] + junk + (b"" if cut else GOOD[place + len(junk) :])
    try:
        assert np.isfinite(read(text_file(tmp_path, content, "t.npy")).columns).all()
    except TableError as error:
        assert "\n" not in str(error)


@ONE_FOLDER
@given(st.one_of(st.binary(max_size=200), st.text(alphabet="0123456789.,;-e \n#xnaif", max_size=200)))
def test_no_text_raises_anything_else(tmp_path: Path, content: str | bytes) -> None:
    try:
        table = read(text_file(tmp_path, content))
    except TableError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(table.columns).all()
        assert len(table.columns) in (1, 2)


# Grids


def test_nodes_increase(tmp_path: Path) -> None:
    assert read(text_file(tmp_path, "0,1\n0.5,1\n2,1\n")).nodes().tolist() == [0.0, 0.5, 2.0]
    with pytest.raises(TableError, match=r"line 4: x = 0.5 does not increase: before it stands 0.5"):
        read(text_file(tmp_path, "x,f\n0,1\n0.5,1\n0.5,1\n")).nodes()
    with pytest.raises(TableError, match="at least two"):
        read(text_file(tmp_path, "0,1\n")).nodes()


def test_nodes_agree_with_a_grid(tmp_path: Path) -> None:
    grid = np.linspace(0, 1, 4)
    read(text_file(tmp_path, "0,1\n0.333,1\n0.667,1\n1,1\n")).require_nodes(grid)
    read(text_file(tmp_path, "1\n1\n1\n1\n")).require_nodes(grid)
    with pytest.raises(TableError, match=r"line 3: x = 0.7 is not the grid's node 0.666666667"):
        read(text_file(tmp_path, "0,1\n0.333,1\n0.7,1\n1,1\n")).require_nodes(grid)


def test_midpoints_lie_in_their_cells(tmp_path: Path) -> None:
    grid = np.array([0.0, 1.0, 3.0])
    read(text_file(tmp_path, "0.5,1\n2,1\n")).require_cells(grid)
    read(text_file(tmp_path, "1\n1\n")).require_cells(grid)
    with pytest.raises(TableError, match=r"line 2: x = 3.5 is not in the grid's cell \(1, 3\)"):
        read(text_file(tmp_path, "0.5,1\n3.5,1\n")).require_cells(grid)
    with pytest.raises(TableError, match="line 2: x = 0.9 is not"):
        read(text_file(tmp_path, "0.5,1\n0.9,1\n")).require_cells(grid)


@given(st.floats(-1e3, 1e3), st.floats(1, 1e6), st.integers(1, 200))
def test_equal_spacing_is_recognised_and_only_that(start: float, length: float, n: int) -> None:
    for x in (np.linspace(start, start + length, n + 1), start + np.arange(n + 1) * (length / n)):
        assert is_uniform(x)
    if n > 1:
        x[1] += 1e-4 * length / n
        assert not is_uniform(x)


@pytest.mark.parametrize(
    ("name", "expected"), [("a.csv", 1), ("A.NPY", 1), ("a.txt", 1), ("x", 0), ("1.5", 0)]
)
def test_file_names(name: str, expected: int) -> None:
    assert is_file_name(name) == expected


# Writing


@ONE_FOLDER
@pytest.mark.parametrize("ending", [".csv", ".npy"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@example(values=[0.1, 1 / 3, 5e-324, -1.7976931348623157e308, -0.0])
@given(values=FLOATS)
def test_what_is_written_comes_back_to_the_last_bit(
    tmp_path: Path, ending: str, dtype: type[np.floating], values: list[float]
) -> None:
    with np.errstate(over="ignore", under="ignore"):
        u = np.nan_to_num(np.array(values).astype(dtype))
    x = np.arange(u.size, dtype=np.float64)
    path = str(tmp_path / f"u{ending}")
    write(path, x, u)
    table = read(path)
    assert table.x is not None
    assert table.x.tobytes() == x.tobytes()
    assert table.values.astype(dtype).tobytes() == u.tobytes()


def test_the_text_has_all_digits_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "u.csv"
    third = np.array([1 / 3])
    write(str(path), third, third)
    assert path.read_text() == "x,u\n0.33333333333333331,0.33333333333333331\n"
    write(str(path), third, third.astype(np.float32))
    assert path.read_text() == "x,u\n0.33333333333333331,0.333333343\n"


def test_long_tables_are_whole(tmp_path: Path) -> None:
    x = np.linspace(0, 1, 150_001)
    path = str(tmp_path / "u.csv")
    write(path, x, x**2)
    table = read(path)
    assert table.x is not None
    assert np.array_equal(table.x, x)
    assert np.array_equal(table.values, x**2)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "u.csv"
    path.write_text("before")
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        write(str(path), np.arange(3.0), np.arange(2.0))
    with pytest.raises(KeyboardInterrupt), replacing(str(path)) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["u.csv"]


@pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX")
def test_others_may_read_it_and_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "u.csv", tmp_path / "folder" / "real.csv"
    link.symlink_to(target)
    before = os.umask(0o022)
    try:
        write(str(link), np.arange(2.0), np.arange(2.0))
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert target.read_text().startswith("x,u\n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_a_place_to_write_is_tried_without_a_trace(tmp_path: Path) -> None:
    require_writable(str(tmp_path / "u.CSV"), (".csv", ".npy"))
    (tmp_path / "old.csv").write_text("before")
    require_writable(str(tmp_path / "old.csv"), (".csv",))
    assert os.listdir(tmp_path) == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "before"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"must end in \.csv or \.npy"):
        require_writable(str(tmp_path / "u.txt"), (".csv", ".npy"))
    with pytest.raises(ValueError, match="is not a file"):
        require_writable(str(tmp_path / "folder.csv"), (".csv",))
    for path in (tmp_path / "no" / "u.csv", tmp_path / "file" / "u.csv", tmp_path / ("u" * 300 + ".csv")):
        with pytest.raises(OSError):
            require_writable(str(path), (".csv",))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_permissions_are_respected(tmp_path: Path) -> None:
    (tmp_path / "u.csv").touch(mode=0o444)
    with pytest.raises(PermissionError):
        require_writable(str(tmp_path / "u.csv"), (".csv",))
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError):
        require_writable(str(tmp_path / "v.csv"), (".csv",))


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ('"x, in m","f, in kN"', ","),
        ('x,"f, in kN"', ","),
        ('"x; m";"f; N"', ";"),
        ('"x, m" "f, in kN"', " "),
        ('"x, m"\t"f"', "\t"),
        ('"x ""across""","f"', ","),
        (' "x, m", "f, N"', ", "),
    ],
)
def test_names_in_quotes_may_hold_separators(tmp_path: Path, header: str, separator: str) -> None:
    path = tmp_path / "load.csv"
    path.write_text(f"{header}\n0{separator}1\n1{separator}3\n")
    table = tables.read(str(path))
    assert table.columns.tolist() == [[0, 1], [1, 3]]
    path.write_text(f'{header}\n"0"{separator}"1"\n"1"{separator}"3"\n')
    assert tables.read(str(path)).columns.tolist() == [[0, 1], [1, 3]]


def test_files_of_other_kinds_are_told_from_expressions(tmp_path: Path) -> None:
    for name in ("a.npz", "A.NPZ", "load.xlsx", "x.json", "f.csv.gz", "table.tsv", "dir/u.mat"):
        assert tables.is_other_file(name)
        assert not tables.is_file_name(name)
    for text in ("x", "2.e5", "sin(x)", "1.5*x", "load.csv", "b.npy"):
        assert not tables.is_other_file(text)
    (tmp_path / "a.own").write_text("1")
    assert tables.is_other_file(str(tmp_path / "a.own"))
