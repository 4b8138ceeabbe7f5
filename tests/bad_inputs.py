"""Bad inputs at every public function and command: ``python tests/bad_inputs.py`` lists and counts them.

Each row is a call, an argument and a value that it does not take. The error is to be of the package's own
kinds, and to name the argument, the value and what is accepted; a command ends with a documented code.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import mgnet
from mgnet import Dirichlet, Neumann, Robin

NAN, INF = float("nan"), float("inf")
MANY = np.arange(50.0)
WORDS: tuple[Any, ...] = ("word", None, 1j, {}, MANY)  # no number of any kind


@dataclass(frozen=True)
class Bad:
    """A call that must be refused.

    Parameters
    ----------
    where : str
        The function or the command.
    argument : str
        What the message is to name.
    value : object
        What is wrong with it.
    call : callable
        Makes the call.
    """

    where: str
    argument: str
    value: Any
    call: Callable[[], Any]

    @property
    def name(self) -> str:
        """A label for a list, of one line."""
        shape = getattr(self.value, "shape", None)
        value = f"array of shape {tuple(shape)}" if shape else " ".join(repr(self.value).split())
        value = re.sub(" at 0x[0-9a-f]+", "", value)[:60]  # the same in every process
        return f"{self.where}: {self.argument} = {value}"


def each(where: str, function: Callable[..., Any], good: dict[str, Any], **bad: Any) -> Iterator[Bad]:
    """Give the calls with one argument replaced by each of some values; ``a__b`` is a, and named b."""
    for key, values in bad.items():
        argument, _, name = key.partition("__")
        for value in values:
            keywords = {**good, argument: value}
            yield Bad(where, name or argument, value, lambda keywords=keywords: function(**keywords))


# The solver.

COUNTS = (0, -1, 2.5, "4", True, *WORDS[2:], NAN)
FLAGS = ("no", 1, 0, None, 1.0, [True])
SCALARS = ("word", 1j, True, NAN, INF, {}, MANY)
ARRAYS = ("word", {}, np.ones(5) * 1j, np.array(["a"] * 5), np.ones(7), np.ma.ones(5), [[1], [1, 2]])


def solving() -> Iterator[Bad]:
    yield from each(
        "solve",
        mgnet.solve,
        {"f": 1.0, "n": 4},
        f=(*ARRAYS, NAN, [1, 2, 3, NAN, 5], lambda x: x[:-1], lambda x: "a", lambda x: x / 0 * 0, lambda: 1),
        n=(*COUNTS, 2**60, (4, 4), 10**40),
        domain=(
            "word",
            3,
            (1, 0),
            (0, 0),
            (0, NAN),
            (0, INF),
            (0, 1, 2),
            (0, 1j),
            None,
            (1.0, 1 + 1e-16),
            MANY,
        ),
        a=(*ARRAYS, 0, -1, NAN, INF, [1, 0, 1, 1], [1, NAN, 1, 1], np.ones((0, 4)), lambda x: -x),
        c=(*ARRAYS, -1, NAN, INF, [1, -1, 1, 1, 1], [1, -1, 1, 1], lambda x: -1 - x),
        left=(1.0, "word", MANY, Dirichlet, Dirichlet(MANY), Neumann(np.sin), {"left": 1}),
        right=(2, [Neumann(1)], Robin(1.0, [1, 2])),
        periodic=FLAGS,
        boundary=("word", 1.0, {"top": Dirichlet()}, [Dirichlet()], MANY),
        boundary__left=({"left": 1.0},),
        dim=(0, 4, 2.5, "2", True, MANY),
        load=("lumped", 1, MANY, True),
        method=("cg", None, 1, MANY, ["vcycle"]),
        smoother=("sor", "", 1, MANY),
        sweeps=(1, (1,), (0, 0), (-1, 1), (1.5, 1), "ab", MANY),
        levels=COUNTS,
        coarse=("none", None, 1),
        omega=(0, -1, *SCALARS),
        x0=(*ARRAYS, [1, 2, 3, NAN, 5]),
        tol=(-1, *SCALARS),
        maxiter=(-1, 2.5, "4", True, NAN, MANY),
        refine=FLAGS,
        dtype=("float16", torch.int32, "word", int, 3, MANY),
        device=("tpu", 3.5, "cuda:99", MANY, "meta"),
        throw=FLAGS,
    )
    nodes = (*ARRAYS[:4], [0, 0, 1], [1, 0], [0, NAN, 1], [0], [[0, 1]], np.ma.arange(3), 3.0, [0, INF])
    nodes += (torch.tensor([0.0, 1.0], requires_grad=True),)
    yield from each("solve", mgnet.solve, {"f": 1.0}, nodes=nodes)
    yield from each("solve", mgnet.solve, {"n": 4}, b=(*ARRAYS, 1.0, [1, NAN, 1], np.ones((0, 3)), np.sin))
    yield from each("solve", mgnet.solve, {"n": 1, "right": Neumann(0)}, b=([NAN], [INF]))
    yield from each("solve", mgnet.solve, {"f": 1.0, "b": [1, 1, 1], "n": 4}, b__f=([1, 1, 1],))
    yield from each("solve", mgnet.solve, {"f": 1.0, "nodes": [0, 0.5, 1]}, n=(3, 1), domain=((0, 2),))
    free = {"n": 4, "boundary": Neumann(0)}
    yield from each("solve", mgnet.solve, free, f=(1.0, [1, 1, 1, 1, 1.0]), b=([1.0] * 5,))
    on, values = np.eye(5)[2] > 0, (*SCALARS, [1.0, 2.0], [NAN], [[1], [1, 2]], np.ma.ones(1))
    yield from each(
        "solve",
        mgnet.solve,
        {"f": 1.0, "n": 4},
        cells=(*ARRAYS, 1.0, [1, 1, 1, 2], np.zeros(4, bool), np.full(4, NAN)),
        fixed=(*(3.0, on, (on,), (on, 1.0, 2.0), (on[1:], 1.0), (2 * on, 1.0)), *((on, x) for x in values)),
        right=(Robin([1.0, 2.0]), Robin(np.sin)),
    )
    yield from each("solve", mgnet.solve, {"n": 4, "right": Neumann(0)}, left__fluxes=(Neumann(1.0),))


def solving_boxes() -> Iterator[Bad]:
    plane = np.ones((5, 5))
    yield from each(
        "solve(dim=2)",
        mgnet.solve,
        {"f": 1.0, "n": 4, "dim": 2},
        f=(
            "word",
            np.ones(5),
            plane * 1j,
            np.full((5, 5), NAN),
            np.ma.ones((5, 5)),
            lambda x, y: (x * y)[:, :2],
        ),
        n=(0, 2.5, (4,), (4, 0), "44", (4, 4, 4), None, MANY),
        domain=(3, (0, 1, 2), ((0, 1), (1, 0)), ((0, 1), (0, NAN)), "ab", ((0, 1), 2), ((0, 1),) * 3, MANY),
        nodes=(([0, 1], [0, 1]), np.linspace(0, 1, 5)),
        cells=("word", np.ones(4), np.ones((4, 5)), np.zeros((4, 4)), np.full((4, 4), 2)),
        fixed=(plane, *((plane, x) for x in ("word", np.ones(24), np.ones((2, 5)), NAN)), (plane[1:], 1.0)),
        a__a=((), (1.0,), (1.0, 0.0), (1.0, NAN), (1.0, "word"), (1.0, -np.ones((4, 4))), (1.0,) * 3),
        a=(
            "word",
            0,
            np.ones((2, 4, 5)),
            -np.ones((2, 4, 4)),
            np.zeros((4, 4)),
            lambda x, y: -x - y,
            0 * plane,
        ),
        c=("word", -1, np.ones((4, 5)), -plane, np.ones((2, 6, 6)), lambda x, y: x - 1),
        boundary=(1.0, {"up": Dirichlet()}, {"left": 1.0}, {"back": Neumann()}, MANY),
        boundary__left=(
            Dirichlet(np.ones(7)),
            {"left": Dirichlet(plane)},
            {"left": Dirichlet([1, NAN, 1, 1, 1])},
            {"left": Neumann(lambda x, y: np.ones(3))},
            {"left": Dirichlet(np.full((5, 5), NAN))},
            *({"left": Robin(alpha)} for alpha in (np.ones(4), np.ones((2, 5)), -np.ones(5), [NAN] * 5)),
            {"left": Robin(lambda x, y: -y)},
        ),
        periodic=("no", 1, (True,), (1, 0), None, [True, "no"]),
        method=("exact", "cg"),
        b=(np.ones((3, 3)),),
        x0=(np.ones(5), np.ones((3, 3)), np.full((5, 5), INF)),
    )


def conditions() -> Iterator[Bad]:
    g = ("word", 1j, True, NAN, INF, None, {}, [[1], [1, 2]], np.ma.ones(3), ["a"], np.ones(3) * 1j)
    for kind in (Dirichlet, Neumann):
        yield from each(kind.__name__, kind, {}, g=g)
    yield from each("Robin", Robin, {"alpha": 1.0}, g=g, alpha=(*SCALARS[:-1], -1, [1j], np.ma.masked))


def around() -> Iterator[Bad]:
    problem, load = mgnet.Poisson(n=4), np.ones(3)
    yield from each("Hierarchy", mgnet.Hierarchy, {"problem": problem}, problem=(None, 4, "word", MANY))
    yield from each(
        "Hierarchy", mgnet.Hierarchy, {"problem": problem}, method=("cg", 1), dtype=(None, "half")
    )
    hierarchy = mgnet.Hierarchy(problem, method="vcycle")
    yield from each(
        "Hierarchy.solve",
        hierarchy.solve,
        {"b": load},
        b=(1.0, "word", np.ones(4), [1, NAN, 1], np.ma.ones(3), None, load * 1j),
        x0=(np.ones(3), "word", [NAN] * 5),
        tol=(-1, "small", NAN),
        maxiter=(-1, 1.5),
        refine=FLAGS,
        throw=FLAGS,
    )
    places = np.array([0.25, 0.5])
    yield from each(
        "load",
        mgnet.load,
        {"problem": problem},
        problem=(None, 4, "word", MANY),
        f=(*ARRAYS, NAN, [1, 2, 3, NAN, 5], lambda x: "a"),
        points=(
            *(3.0, "word", MANY, {}, [0.5], (0.5, 1.0), [(0.5, 1.0, 2.0)], [((0.5, 0.5), 1.0)]),
            *([(1.5, 1.0)], [(NAN, 1.0)], [(0.5, NAN)], [(0.5, 1j)], [("a", 1.0)], [(True, 1.0)]),
            *((places, [1.0]), (places, [1, NAN]), (-places, [1, 1]), (np.ones((2, 3)), [1, 1])),
            *((np.ma.ones(2), [1, 1]), (places, np.ma.ones(2)), (places, "ab"), (places * 1j, [1, 1])),
        ),
        fluxes=FLAGS,
    )
    yield from each("mass", mgnet.mass, {"problem": problem}, problem=(None, 4), lumped=("no", 1, 0))
    values = ("word", 1.0, np.ones(4), np.ma.ones(3), load * 1j, None)
    yield from each("Mass", lambda u: mgnet.mass(problem)(u), {}, u=values)
    yield from each("Grid", mgnet.Grid, {"n": 4}, n=COUNTS, domain=((1, 0), 3, "ab", (0, NAN), (0, 1, 2)))
    yield from each("Grid", mgnet.Grid, {"n": 2}, nodes=([0, 1], "word", [0, 2, 1], 3))
    line, plane = mgnet.solve(1.0, 8), mgnet.solve(1.0, 8, dim=2)
    for evaluate in (line, line.derivative):
        points = (2.0, NAN, "word", None, [0.1, 3.0], 1j, [[1], [1, 2]], True, np.ma.ones(2))
        yield from each("Solution", lambda x, e=evaluate: e(x), {}, x=points)
    for evaluate in (plane, plane.derivative):
        both = [[0.1, 0.2], [0.3, 0.4]]
        yield from each(
            "Solution", lambda x, e=evaluate: e(*x), {}, x=((1.0,), (), (1, 1, 1), (2, 0), (both,))
        )


def operators() -> Iterator[Bad]:
    for kind in (mgnet.Restriction, mgnet.Prolongation):
        dims, factors = (0, 4, "2", 1.5), (0, -1, 1.5, "2")
        yield from each(kind.__name__, kind, {}, dim=dims, factor=factors, boundary=("open", 3, ("a", "b")))
    kernel = {"kernel": [1.0, 2.0, 1.0]}
    yield from each(
        "Stencil", mgnet.Stencil, kernel, kernel=([[1, 2]], "word", [1, 2], [1, NAN, 1], None, 3.0)
    )
    yield from each("Stencil", mgnet.Stencil, kernel, dim=(0, 4), stride=(0, 1.5), boundary=("open", 1))
    yield from each(
        "Stiffness",
        mgnet.Stiffness,
        {},
        dim=(0, 4, "2"),
        h=(0, -1, NAN, "word", None),
        a=("word", NAN),
        c=("word", NAN),
        boundary=("open", 3),
    )


# Networks.


def networks() -> Iterator[Bad]:
    create = mgnet.models.create
    yield from each("models.create", create, {"name": "lenet5"}, name=("resnet21", 3, None, ["lenet5"]))
    yield from each(
        "models.create",
        create,
        {"name": "resnet20"},
        num_classes=COUNTS,
        in_channels=COUNTS,
        image_size=(0, -1, 2.5, "32"),
        depth=(3,),
        padding=("left", 3, None),
    )
    names = {"name": "mgnet"}
    yield from each(
        "models.create", create, names, B=("shared",), Pi=("fixed",), norm=("layer",), activation=("elu",)
    )
    yield from each(
        "models.create", create, names, hidden=(3,), channels=(0, "word", 2.5), nu=(0, "word", [0])
    )
    yield from each("models.defaults", mgnet.models.defaults, {}, name=("resnet21", 3))
    layers = mgnet.layers
    yield from each("Dropout", layers.Dropout, {}, p=(-0.1, 1.5, "word", NAN, None))
    yield from each("BatchNorm", layers.BatchNorm, {"channels": 3}, channels=COUNTS)
    yield from each(
        "BatchNorm", layers.BatchNorm, {"channels": 3}, eps=(-1, "word", NAN), momentum=(2, "word", NAN)
    )
    yield from each(
        "BatchNorm", layers.BatchNorm(3), {}, x=(torch.ones(2), torch.ones(2, 4, 3), torch.ones(1, 3))
    )
    yield from each("Averaging", layers.Averaging, {}, factor=(0, 1.5, "2"), dim=(0, 4), boundary=("open",))
    for function in (layers.fold_batchnorm, layers.foldable, layers.linear_to_conv):
        yield from each(function.__name__, function, {}, model=(3, "lenet5", None))
    lenet = create("lenet5")
    yield from each(
        "linear_to_conv", layers.linear_to_conv, {"model": lenet}, image_shape=(3, "word", (1,), (0, 0, 0))
    )
    from mgnet import bridge, learned

    yield from each(
        "LearnedCycle",
        learned.LearnedCycle,
        {},
        dim=(0, 4, "2"),
        sweeps=(0, 1.5),
        reach=(-1, "1"),
        transfer_reach=(0, 1.5),
    )
    cycle = learned.LearnedCycle(1)
    yield from each(
        "learned.train",
        learned.train,
        {"learned": cycle, "n": 8, "steps": 1},
        learned=(3, nn.Linear(1, 1)),
        n=(0, 1.5, "8"),
        steps=(-1, 1.5, "1"),
        cycles=(0, 1.5),
        batch=(0, 1.5),
        lr=(NAN, "word", -1),
        seed=("word", 1.5),
    )
    levels = mgnet.Hierarchy(mgnet.Poisson(n=8), method="vcycle").levels
    good = {"levels": levels}
    yield from each(
        "bridge.network_of", bridge.network_of, good, levels=([], 3, None), sweeps=(1, (0, 0), "ab"), up=FLAGS
    )
    yield from each(
        "bridge.convergence_factor",
        bridge.convergence_factor,
        good,
        levels=([], 3),
        cycles=(0, 1.5),
        sweeps=(1, "ab"),
        seed=("word",),
    )
    yield from each("bridge.galerkin_defects", bridge.galerkin_defects, good, levels=(3, [1]))
    yield from each(
        "bridge.levels_of", bridge.levels_of, {"network": None, "image_size": 8}, network=(3, lenet)
    )


def training() -> Iterator[Bad]:
    data = mgnet.data.synthetic(train=20, validation=10, test=10)
    model = mgnet.models.create("logistic", 10, 3, 32)
    yield from each(
        "fit",
        mgnet.fit,
        {"model": model, "data": data, "epochs": 1, "progress": False},
        epochs=(-1, 1.5, "1", NAN),
        recipe=("slow", 3),
        seed=("word", 1.5, -1),
        device=("tpu", 3.5),
        save_every=(0, 1.5, "1"),
        data=(3, "cifar10", [1]),
        model=("resnet20", 3),
        lr=(-1, NAN, "word"),
        batch_size=(0, 1.5),
        milestones=("word", 3),
        momentum=(2, "word"),
        weight_decay=(-1, NAN),
        depth=(3,),
    )
    good = {"model": model, "split": data.test}
    for name in ("evaluate", "predict"):
        yield from each(
            name, getattr(mgnet, name), good, model=(3, "resnet20"), split=(3, "test"), batch_size=COUNTS[:5]
        )
    yield from each(
        "occlusion",
        mgnet.occlusion,
        {"model": model, "image": data.test[0][0]},
        model=(3, "resnet20"),
        image=(3, "image", data.test.images[0]),
        label=(-1, 1.5, "word", 1000),
        size=(*COUNTS[:5], 33),
        step=COUNTS[:5],
        value=("word", NAN),
    )
    yield from each(
        "data.synthetic",
        mgnet.data.synthetic,
        {},
        train=COUNTS,
        validation=(-1, 1.5),
        test=(-1, "word"),
        seed=("word", 1.5),
        device=("tpu",),
    )
    yield from each("data.load", mgnet.data.load, {"name": "synthetic"}, name=("imagenet", 3))
    sets = mgnet.data
    for loader in (sets.cifar10, sets.cifar100, sets.mnist, sets.fashion_mnist):
        good = {"root": "/nowhere", "download": False}
        yield from each(f"data.{loader.__name__}", loader, good, validation=(-1, 1.5, "word", 10**6))
    yield from each("data.cifar100", sets.cifar100, good, labels=("all", 3))
    good = {"root": "/nowhere"}
    shares = (-1, 1.0, NAN, "word", True)
    some = {"size": COUNTS[:5], "channels": (2, "3"), "damaged": ("keep", 3), "seed": ("word", -1)}
    yield from each("data.folder", sets.folder, good, validation=shares, test=shares, **some)


# Commands.

# Options of several words.
SEVERAL = ("--n", "--domain", "--sweeps")


def commands() -> Iterator[Bad]:
    options: dict[str, tuple[str, ...]] = {
        "--n": ("0", "-4", "2.5", "x", "1/0", "2**60", "nan"),
        "--rhs": ("", "y", "sin(", "a.npz", "none.csv", "1/0", "import os", "nan"),
        "--domain": ("1 0", "0 nan", "0", "a b", "0 1 2"),
        "--a": ("0", "-x", "a.npz", "y", "nan"),
        "--c": ("-1", "z", "none.npy"),
        "--points": ("3", "none.csv"),
        "--left": ("dirichlet", "dirichlet:a", "open:1", "robin:1", "robin:-1,2", "neumann:nan"),
        "--right": ("3", "dirichlet:1,2"),
        "--top": ("dirichlet:0",),
        "--dim": ("0", "4", "x"),
        "--periodic": ("y", "word"),
        "--method": ("cg", ""),
        "--dtype": ("float16", "x"),
        "--device": ("tpu",),
        "--tol": ("-1", "x", "nan"),
        "--maxiter": ("-1", "1.5"),
        "--levels": ("0", "1.5"),
        "--sweeps": ("0 0", "-1 1"),
        "--smoother": ("sor",),
        "--flux": ("", "top", "a"),
        "--out": ("u.xls", "u.vtk", "/nowhere/u.csv"),
        "--plot": ("u.doc", "/nowhere/u.png"),
        "--exact": ("y", "sin("),
    }
    for option, texts in options.items():
        for text in texts:
            base = {"--rhs": "1", "--n": "8"} | {option: text}
            arguments = [
                part
                for name, value in base.items()
                for part in (name, *((value.split() or [""]) if name in SEVERAL else (value,)))
            ]
            yield Bad("mgnet solve", option, text, lambda a=arguments: command(["solve", *a]))
    train: dict[str, tuple[str, ...]] = {
        "--epochs": ("-1", "1.5", "x"),
        "--lr": ("-1", "x", "nan"),
        "--batch-size": ("0", "x"),
        "--dataset": ("imagenet",),
        "--recipe": ("slow",),
        "--seed": ("x",),
        "--option": ("depth=3", "word"),
        "--device": ("tpu",),
    }
    for option, texts in train.items():
        for text in texts:
            base = {"--dataset": "synthetic", "--epochs": "1"} | {option: text}
            arguments = [part for pair in base.items() for part in pair]
            yield Bad("mgnet train", option, text, lambda a=arguments: command(["train", "logistic", *a]))
    yield Bad(
        "mgnet train", "name", "resnet21", lambda: command(["train", "resnet21", "--dataset", "synthetic"])
    )
    yield Bad("mgnet evaluate", "/nowhere", "/nowhere", lambda: command(["evaluate", "/nowhere"]))
    yield Bad("mgnet predict", "/nowhere", "/nowhere", lambda: command(["predict", "/nowhere", "x.png"]))
    yield Bad("mgnet", "command", "word", lambda: command(["word"]))


class RefusedError(ValueError):
    """A command that ended with a code for bad input; the message is what it wrote."""


def command(arguments: list[str]) -> None:
    """Run a command in this process."""
    from mgnet.cli import main

    written = io.StringIO()
    with contextlib.redirect_stderr(written), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
    if code in (2, 4, 5):
        raise RefusedError(written.getvalue())
    raise AssertionError(f"exit code {code}: {written.getvalue()}")


# How messages say what is accepted: ours, those of argparse, and those of the system about files.
SAYING = ("accepted", "choose from", "expected", "must end in", "No such file")


def rows() -> list[Bad]:
    """Return the whole table."""
    parts = (solving, solving_boxes, conditions, around, operators, networks, training, commands)
    return [row for part in parts for row in part()]


def fault(row: Bad) -> str | None:
    """Make the call, and say what is wrong with how it was refused."""
    try:
        row.call()
    except (TypeError, ValueError, KeyError, OSError, mgnet.ResourceError) as error:
        message = str(error)
        if row.argument.lstrip("-").replace("-", "_").lower() not in message.replace("-", "_").lower():
            return f"{type(error).__name__} does not name {row.argument}: {message}"
        if not any(word in message for word in SAYING):
            return f"{type(error).__name__} does not say what is accepted: {message}"
        if not any(
            word in message
            for word in (
                "got ",
                "returned ",
                "raised ",
                "is empty",
                *str(row.value).replace(":", " ").split(),
            )
        ):
            return f"{type(error).__name__} does not give the value: {message}"
        if len(message) > 700:
            return f"a message of {len(message)} characters"
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


if __name__ == "__main__":
    table = rows()
    for row in table:
        print(row.name)
    faults = [(row, found) for row in table if (found := fault(row))]
    for row, found in faults:
        print(f"FAULT {row.name}: {found}", file=sys.stderr)
    print(f"{len(table)} bad inputs, {len(faults)} without a message that says what is accepted")
