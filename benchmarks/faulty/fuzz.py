"""Expressions, tables and headers drawn at random: each is read, or refused in the documented way."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from faulty.children import patience
from faulty.damage import small_mnist
from mgnet import checkpoint
from mgnet.checkpoint import CheckpointError
from mgnet.cli import tables
from mgnet.cli.expression import ExpressionError, parse
from mgnet.cli.tables import TableError
from mgnet.data import official
from mgnet.data.archives import DataError

TOKENS = (
    "x y z t pi e 0 1 2.5 1e3 1e-400 1e400 9**9**9 0x1f 1_000 1j .5 5. "
    "+ - * / ** // % @ & | ^ ~ < <= > >= == != = := "
    "( ) [ ] { } , ; : . ... \\ ' \" # ! ? $ ` sin cos exp log sqrt abs sign where min max heaviside "
    "lambda if else and or not in is None True False "
    "import __import__ open eval exec x.__class__ f'' b'' * ** yield await "
    "\u0660 \u00b2 \u03c0 \uff11 \x00 \n \t \ud800"
).split(" ") + ["9" * 400]
POINTS = np.array([-1.0, 0.0, 0.5, 1e300])


def expression(draw: random.Random) -> str:
    """Draw a text that is an expression, nearly one, or noise."""
    kind = draw.random()
    if kind < 0.4:
        return _tree(draw, draw.randint(0, 6))
    if kind < 0.6:
        return _edited(_tree(draw, 4), draw, TOKENS)
    if kind < 0.9:
        return draw.choice(["", " "]).join(draw.choices(TOKENS, k=draw.randint(0, 15)))
    if kind < 0.95:
        return draw.choice(["(", "-", "sin(", "x**", "2*", "[", "not ", "x<"]) * draw.randint(1, 3000) + "x"
    return "".join(
        chr(draw.randrange(draw.choice([128, 0x3000, 0x110000]))) for _ in range(draw.randint(0, 30))
    )


def _tree(draw: random.Random, depth: int) -> str:
    if depth == 0 or draw.random() < 0.1:
        return draw.choice(["x", "y", "pi", "e", "1", "0", "2.5", "1e-3", "1e308", ".5"])
    one, other = _tree(draw, depth - 1), _tree(draw, depth - 1)
    name = draw.choice(["sin", "exp", "log", "sqrt", "abs", "where", "min", "heaviside"])
    inner = {"where": f"{one}, {other}, x", "min": f"{one}, {other}"}.get(name, one)
    operator = draw.choice(["+", "-", "*", "/", "**", "<", ">=", "=="])
    return draw.choice([f"{one} {operator} {other}", f"({one})", f"-{one}", f"{name}({inner})"])


def _edited(text: str, draw: random.Random, pieces: Sequence[str]) -> str:
    for _ in range(draw.randint(1, 3)):
        start, stop = sorted(draw.randint(0, len(text)) for _ in range(2))
        text = text[:start] + draw.choice(pieces) + text[min(stop, start + 3) :]
    return text


def read_expression(text: str, place: Path) -> None:
    try:
        parse(text, ("x", "y"))(POINTS, POINTS)
    except ExpressionError:
        pass


FIELDS = (
    "0 1 -2.5 1e3 1e999 -1e-999 nan inf -Infinity 1_0 0x10 1,5 1.O 1e 1e+ . - + "
    'x f "x" "x,y" " \' # ; : , \t \u0661 \uff11 \u2212 1 \u00a0 \ufeff \x00 '
    "1d5 True None 1/2 $1 1% (1) 1j =1+1"
).split(" ")


def table(draw: random.Random) -> bytes:
    """Draw a text that is a table, nearly one, or noise."""
    kind, separator = draw.random(), draw.choice([",", ";", " ", "\t", ", ", ",,"])
    if kind < 0.1:
        return draw.randbytes(draw.randint(0, 200))
    fields = FIELDS if kind < 0.6 else ["0", "1", "-2.5", "1e3", ".5"]
    width, end = draw.randint(1, 3), draw.choice(["\n", "\r\n", "\r", "\n\n"])
    rows = [separator.join(draw.choices(fields, k=width)) for _ in range(draw.randint(0, 6))]
    text = draw.choice(["", "x,f\n", "# a comment\n", "\ufeff"]) + end.join(rows)
    return (_edited(text, draw, FIELDS) if draw.random() < 0.3 else text).encode("utf-8", "surrogatepass")


def read_table(content: bytes, place: Path, ending: str = ".csv") -> None:
    path = place / f"a{ending}"
    path.write_bytes(content)
    try:
        columns = tables.read(str(path)).columns
    except TableError:
        return
    assert np.isfinite(columns).all()


DESCRIBED = (
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '>i4', 'fortran_order': True, 'shape': (2, 3), }",
    "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
)
PIECES = (
    "( ) [ ] { } , ' : - + * ** 0 1 -1 9 "
    "9999999999999999999 None True L lambda <f8 |S9 <c16 <M8[s] \x00 \u00e9"
).split(" ")


def npy(draw: random.Random) -> bytes:
    """Draw a file that begins as NumPy's do."""
    text = _edited(draw.choice(DESCRIBED), draw, PIECES)
    header = text.encode("utf-8") + b" " * draw.randint(0, 64) + b"\n"
    version, size = draw.choice([1, 1, 1, 2, 3, 0, 255]), len(header)
    if draw.random() < 0.2:
        size = draw.choice([0, 1, 10, size + 1, 65535, 2**31, 2**32 - 1])
    length = size.to_bytes(4, "little")[: 2 if version == 1 else 4]
    return b"\x93NUMPY" + bytes([version, draw.choice([0, 0, 0, 1])]) + length + header + draw.randbytes(48)


read_npy = partial(read_table, ending=".npy")


MNIST, IMAGES = small_mnist()


def idx(draw: random.Random) -> bytes:
    """Draw a file of labels that begins as those of MNIST do."""
    good = IMAGES["t10k-labels-idx1-ubyte"]
    header = bytearray(good[:8])
    for _ in range(draw.randint(0, 3)):
        header[draw.randrange(8)] = draw.choice([0, 1, 3, 8, 28, 255, draw.randrange(256)])
    body = good[8:] if draw.random() < 0.7 else draw.randbytes(draw.randint(0, 9))
    return bytes(header) + body


def read_idx(content: bytes, place: Path) -> None:
    name = "t10k-labels-idx1-ubyte"
    (place / name).write_bytes(content)
    try:
        files = official.Files((MNIST,), place, False)
        labels = official.read_idx(files, name)
    except DataError:
        return
    assert content == IMAGES[name][:8] + labels.tobytes()


def head(draw: random.Random) -> bytes:
    """Draw a file that begins as checkpoints do."""
    payload = draw.randbytes(draw.randint(0, 40))
    digest = checkpoint.hashlib.sha256(payload).hexdigest().encode()
    content = bytearray(checkpoint.MAGIC + digest + b"\n" + payload)
    for _ in range(draw.randint(0, 3)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    start, stop = sorted(draw.randint(0, len(content)) for _ in range(2))
    return bytes(content[:start] + content[stop:]) if draw.random() < 0.3 else bytes(content)


def read_head(content: bytes, place: Path) -> None:
    path = place / "a.ckpt"
    path.write_bytes(content)
    try:
        checkpoint.load(path)
    except CheckpointError:
        pass


KINDS: dict[str, tuple[Callable[[random.Random], str | bytes], Callable[..., None]]] = {
    "expressions": (expression, read_expression),
    "tables": (table, read_table),
    "headers of .npy": (npy, read_npy),
    "headers of MNIST": (idx, read_idx),
    "headers of checkpoints": (head, read_head),
}


def fuzz(case: tuple[str, int, int], folder: Path) -> list[str]:
    """Draw and read one of a kind for each seed from one on, and say what came that nobody expects."""
    name, first, number = case
    draw_one, read = KINDS[name]
    place = folder / f"{first}-{os.urandom(4).hex()}"
    place.mkdir()
    found = []
    for seed in range(first, first + number):
        drawn = draw_one(random.Random(seed))
        try:
            with patience(20):
                read(drawn, place)
        except BaseException as error:
            found.append(f"{name}, seed {seed}: {type(error).__name__}: {error}; {ascii(drawn[:60])}")
    shutil.rmtree(place)
    return found
