"""Files that were made to do harm, given to the command: it ends with 4, soon, and with little memory."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faulty import packages, payloads
from faulty.children import End, ended
from faulty.damage import PACKAGE, small_cifar, small_mnist, with_package
from faulty.disk import TRAIN
from faulty.runs import command
from mgnet import checkpoint
from mgnet.data import sets as data
from mgnet.data.archives import MARKER, Archive
from mgnet.data.official import CIFAR10, read_cifar10, read_mnist
from mgnet.train import BEST, LAST

# Bytes that may be taken beyond twice the file, as mgnet.checkpoint.load says; seconds for a command.
CONSTANT = 100 * 10**6
SECONDS = 20.0
# What torch says where it refuses: to do what would run the file's code.
ADVICE = ("weights_only", "add_safe_globals", "safe_globals", "trusted source")


def judged(end: End, size: int, baseline: int, codes: tuple[int, ...] = (4,)) -> str:
    """Say what is wrong with the end of a command that read a file of some size."""
    if end.code not in codes:
        return str(end)
    if "Traceback" in end.said or "\x1b" in end.said or "internal error" in end.said:
        return f"says {' '.join(end.said.split())!a}"[:300]
    if advice := [word for word in ADVICE if word in end.said]:
        return f"advises {advice[0]}"
    growth = end.peak - baseline
    return f"takes {growth / 2**20:.0f} MiB for {size / 2**20:.3f}" if growth > 2 * size + CONSTANT else ""


def shown(path: Path, folder: Path) -> End:
    """Let the command evaluate a checkpoint, in a process of its own."""
    return ended(partial(command, "evaluate", str(path)), folder, SECONDS)


def prepared(folder: Path) -> int:
    """Leave a run that is whole, and give the most memory that commands take for whole files."""
    np.save(folder / "whole.npy", np.ones(9))
    calls = (
        (*TRAIN, "--out", str(folder / "good")),
        ("evaluate", str(folder / "good")),
        ("solve", "--n", "8", "--rhs", str(folder / "whole.npy")),
    )
    ends = [ended(partial(command, *argv), folder) for argv in calls]
    if any(end.code != 0 for end in ends):
        raise RuntimeError(f"whole files: {'; '.join(map(str, ends))}")
    return max(end.peak for end in ends)


def place_for(folder: Path) -> Path:
    """Make a folder for a case."""
    place = folder / f"case-{os.urandom(6).hex()}"
    place.mkdir()
    return place


# Checkpoints.

CANARY = "canary"


def trap(name: str, folder: Path, baseline: int) -> str:
    """Evaluate what makes a file if it is executed: alone, in an archive, with its hash and without."""
    place = place_for(folder)
    hidden = payloads.executing(str(place / CANARY))[name]
    content = pickle.dumps({"format": 1, "spec": hidden, "model": {"weight": hidden}}, 4)
    found = ""
    for payload in (content, payloads.archive(content)):
        for form in (payload, payloads.sealed(payload)):
            (place / BEST).write_bytes(form)
            found = found or judged(shown(place / BEST, place), len(form), baseline)
            if (place / CANARY).exists():
                return f"{name}: executed"
    shutil.rmtree(place)
    return f"{name}: {found}" if found else ""


def filled(name: str, folder: Path, baseline: int) -> str:
    """Evaluate a checkpoint with the right hash whose content is harmful."""
    content = payloads.sealed(payloads.filling()[name])
    place = place_for(folder)
    (place / BEST).write_bytes(content)
    found = judged(shown(place / BEST, place), len(content), baseline)
    shutil.rmtree(place)
    return f"{name}: {found}" if found else ""


def mutant(seed: int, folder: Path, baseline: int) -> str:
    """Evaluate, or go on with, a checkpoint with the right hash of which a part is another, or missing.

    What is of no account to the command may be anything.
    """
    draw, place = random.Random(seed), place_for(folder)
    name = BEST if seed % 3 else LAST
    state = payloads.mutated(checkpoint.load(folder / "good" / name), draw)
    try:
        checkpoint.save(place / name, state)
    except (TypeError, ValueError):
        pass  # refused where it is written is refused too
    else:
        size = (place / name).stat().st_size
        call = ("evaluate",) if name == BEST else (*TRAIN, "--resume", "--out")
        end = ended(partial(command, *call, str(place)), place, SECONDS)
        if found := judged(end, size, baseline, (0, 2, 4)):
            return f"{name}, seed {seed}: {found}"
    shutil.rmtree(place)
    return ""


SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "1e9 classes": ("logistic", {"num_classes": 10**9}),
    "1e9 channels": ("logistic", {"in_channels": 10**9}),
    "images of 1e6 pixels a side": ("logistic", {"image_size": 10**6}),
    "images of 1e18 pixels a side": ("logistic", {"image_size": 10**18}),
    "a hidden layer of 1e9": ("mlp", {"hidden": [10**9]}),
    "1e6 hidden layers": ("mlp", {"hidden": [2] * 10**6}),
    "nu = [1e8]": ("mgnet", {"nu": [10**8]}),
    "nu of 1e6 levels": ("mgnet", {"nu": [1] * 10**6}),
    "1e9 channels of MgNet": ("mgnet", {"channels": 10**9}),
    "1e9 blocks": ("resnet18", {"num_classes": 10**9}),
}


def oversized(name: str, folder: Path, baseline: int) -> str:
    """Evaluate a checkpoint with the right hash whose model would not fit into memory."""
    model, options = SPECS[name]
    state = checkpoint.load(folder / "good" / BEST)
    state["spec"] = {**state["spec"], "name": model, **options}
    place = place_for(folder)
    checkpoint.save(place / BEST, state)
    found = judged(shown(place / BEST, place), (place / BEST).stat().st_size, baseline)
    shutil.rmtree(place)
    return f"{name}: {found}" if found else ""


def memory(size: int, folder: Path) -> float:
    """Load a large checkpoint that is whole; give the memory that it takes, in sizes of the file."""
    path, small = folder / "large", folder / "small"
    for name, elements in ((path, size // 4), (small, 1)):
        checkpoint.save(name, {"model": {"weight": torch.zeros(elements)}})
    ends = [ended(partial(checkpoint.load, name), folder) for name in (small, path)]
    if any(end.code != 0 for end in ends):
        raise RuntimeError(f"a large checkpoint {ends[1]}")
    taken = (ends[1].peak - ends[0].peak) / path.stat().st_size
    path.unlink()
    return taken


# Names that are no files.


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


UNFILES: dict[str, Callable[[Path], None]] = {
    "a pipe": _pipe,
    "a socket": _socket,
    "a folder": Path.mkdir,
    "/dev/zero": _link("/dev/zero"),
    "/dev/null": _link("/dev/null"),
    "/dev/tty": _link("/dev/tty"),
    "itself": _link("."),
    "nowhere": _link("nowhere"),
}

# What reads a file of this name, and how it is called with the folder.
READERS: dict[str, tuple[str, ...]] = {
    BEST: ("evaluate", "{}/" + BEST),
    LAST: (*TRAIN, "--resume", "--out", "{}"),
    "a.npy": ("solve", "--n", "8", "--rhs", "{}/a.npy"),
    f"{CIFAR10.folder}/data_batch_2.bin": ("train", "logistic", "--dataset", "cifar10", "--data", "{}"),
    f"{CIFAR10.folder}/{MARKER}": ("train", "logistic", "--dataset", "cifar10", "--data", "{}"),
    PACKAGE: ("train", "logistic", "--dataset", "cifar10", "--data", "{}"),
    "train-labels-idx1-ubyte": ("train", "logistic", "--dataset", "mnist", "--data", "{}"),
}


def unfile(case: tuple[str, str], folder: Path, baseline: int) -> str:
    """Let the command read what is no file: it neither waits nor reads without end."""
    name, kind = case
    place = place_for(folder)
    archive, files = small_cifar()
    digits, more = small_mnist()
    near = {**{f"{archive.folder}/{file}": x for file, x in files.items()}} if archive.folder in name else {}
    near |= more if "ubyte" in name else {}
    for file, content in near.items():
        (place / file).parent.mkdir(exist_ok=True)
        (place / file).write_bytes(content)
    (place / name).unlink(missing_ok=True)
    UNFILES[kind](place / name)
    argv = [text.replace("{}", str(place)) for text in READERS[name]]
    end = ended(partial(with_archives, archive, digits, *argv), place, SECONDS)
    # A marker that cannot be read says nothing, and the data are unverified.
    found = judged(end, 0, baseline, (0, 2, 4) if name.endswith(MARKER) else (2, 4))
    shutil.rmtree(place)
    return f"{name} is {kind}: {found}" if found else ""


def with_archives(cifar: Archive, mnist: Archive, *argv: str) -> int:
    """Run the command with small archives in place of the published ones."""
    data.read_cifar10 = partial(read_cifar10, archive=cifar)
    data.read_mnist = partial(read_mnist, archive=mnist)
    for name in ("cifar10", "mnist"):
        data.LOADERS[name] = partial(data.LOADERS[name], validation=5)
    return command(*argv)


# Packages.


def package(name: str, folder: Path, baseline: int) -> str:
    """Train on a package of the right hash whose content is harmful."""
    place = place_for(folder)
    content = packages.packages(place / CANARY)[name]()
    (place / "data").mkdir()
    (place / "data" / PACKAGE).write_bytes(content)
    archive = with_package(small_cifar()[0], content)
    argv = ("train", "logistic", "--dataset", "cifar10", "--data", str(place / "data"))
    end = ended(partial(with_archives, archive, small_mnist()[0], *argv), place, SECONDS)
    left = [path.name for path in place.rglob("*") if path.name not in ("data", PACKAGE)]
    found = judged(end, len(content), baseline) or (f"leaves {left}" if left else "")
    shutil.rmtree(place)
    return f"{name}: {found}" if found else ""


def digits(name: str, folder: Path, baseline: int) -> str:
    """Train on a file of MNIST that is harmful."""
    place = place_for(folder)
    archive, files = small_mnist()
    for file, content in {**files, **packages.digits(files)[name]}.items():
        (place / file).write_bytes(content)
        if file.endswith(".gz"):
            (place / file.removesuffix(".gz")).unlink()
    argv = ("train", "logistic", "--dataset", "mnist", "--data", str(place))
    end = ended(partial(with_archives, small_cifar()[0], archive, *argv), place, SECONDS)
    found = judged(end, sum(path.stat().st_size for path in place.iterdir()), baseline)
    shutil.rmtree(place)
    return f"{name}: {found}" if found else ""


# Tables.


def table(name: str, folder: Path, baseline: int) -> str:
    """Solve with a table that is harmful."""
    place = place_for(folder)
    file, content = packages.tables(place / CANARY)[name]
    (place / file).write_bytes(content)
    argv = ("solve", "--n", "8", "--rhs", str(place / file))
    found = judged(ended(partial(command, *argv), place, SECONDS), len(content), baseline)
    if (place / CANARY).exists():
        found = "executed"
    shutil.rmtree(place)
    return f"{name}: {found}" if found else ""
