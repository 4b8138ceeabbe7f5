"""The layers of the package: an import goes only to a lower one, and light imports stay light.

The table below is the picture of docs/architecture.md as code. Every module has one place in it; a new
module fails the test until it gets one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import finished

import mgnet

ROOT = "__init__"  # the package itself: 'import mgnet' inside a module

# Low to high. Two branches grow from one trunk: what stands in one branch only is unknown to the other. What
# reads strings stands apart, for the command line alone.
COMMON = [{"files", "signals"}]
TRUNK = [
    {"checks", "precision", "plot", "threads"},
    {"chain", "margins", "memory"},
    {"grid", "stencils"},
    {"operators"},
    {"rows"},
    {"varying", "smoothers", "box"},
    {"stiffness", "blocks"},
]
SOLVER = [
    {"iteration", "galerkin", "tensor_solver", "problem", "adjoint", "unseen"},
    {"entries", "box_problem", "condensation", "direct", "solution", "assembly"},
    {"cells"},
    {"box_assembly", "nullspace"},
    {"multigrid"},
    {"mixed"},
    {"hierarchy"},
    {"solver"},
]
NETWORK = [
    {"downloads"},
    {"untrusted", "scratch", "graphs", "archives", "augmentation", "splits", "synthetic"},
    {"layers", "official", "batches"},
    {"models", "data"},
    {"recipes", "history", "progress", "parallel", "checkpoint", "run_folder"},
    {"preflight", "optimizers", "runs"},
    {"train"},
]
STRINGS = [{"expression", "tables", "shell"}]
CROWN = [
    {"learned", "bridge"},
    {ROOT},
    {"cli_problem", "cli_networks"},
    {"cli_solve", "cli_train", "cli_evaluate"},
    {"cli"},
    {"__main__"},
]
BRANCHES = [COMMON + branch + CROWN for branch in (TRUNK + SOLVER, TRUNK + NETWORK, STRINGS)]

HEAVY = {"torch", "scipy", "matplotlib"}

PACKAGE = Path(mgnet.__file__).parent
DOCS = Path(__file__).parent.parent / "docs"


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name in the table and the file of every module; a subpackage is one entry of the table."""
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).with_suffix("").parts[0], path


def imported(path: Path, package: Path) -> Iterator[tuple[str, int]]:
    """Yield the modules of the package that a file imports, wherever in the file, with the line."""
    names = {name for name, _ in modules(package)}

    def unit(dotted: str) -> str | None:
        head, _, rest = dotted.partition(".")
        if head != package.name:
            return None
        first = rest.partition(".")[0]
        return first if first in names else ROOT  # mgnet.solve is a name that the package hands out

    here = (package.name, *path.relative_to(package).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        found: list[str] = []
        match node:
            case ast.Import():
                found = [alias.name for alias in node.names]
            case ast.ImportFrom():
                above = here[: len(here) + 1 - node.level] if node.level else ()
                base = ".".join([*above, *([node.module] if node.module else [])])
                found = [f"{base}.{alias.name}" for alias in node.names]
            case ast.Call(
                func=ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(str(name)), *_],
            ):
                found = [f"{package.name}{name}" if name.startswith(".") else name]
        yield from ((name, node.lineno) for dotted in found if (name := unit(dotted)) is not None)


def lower(target: str, source: str) -> bool:
    """Whether some branch has both modules, the target below the source."""
    for branch in BRANCHES:
        rank = {name: height for height, layer in enumerate(branch) for name in layer}
        if target in rank and source in rank and rank[target] < rank[source]:
            return True
    return False


def violations(package: Path) -> list[str]:
    """Say what is wrong with the imports of a package, one line each."""
    placed = {name for branch in BRANCHES for layer in branch for name in layer}
    wrong = []
    for source, path in modules(package):
        if source not in placed:
            wrong.append(
                f"{path.name}: '{source}' has no layer: place it in the table of {Path(__file__).name}"
            )
            continue
        if source == ROOT:
            continue  # the package hands names out and may know them all
        wrong.extend(
            f"{path.name}:{line}: '{source}' imports '{target}', which is not in a lower layer"
            for target, line in imported(path, package)
            if target != source and not lower(target, source)
        )
    return wrong


def test_an_import_goes_only_to_a_lower_layer() -> None:
    assert violations(PACKAGE) == []


@pytest.mark.parametrize("page", ["architecture.md", "api.rst"])
def test_the_documentation_shows_every_module(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    missing = {name for name, _ in modules(PACKAGE) if not name.startswith("_") and name not in text}
    assert missing == set(), f"docs/{page} does not mention {missing}"


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("operators", "from mgnet import solver", "operators.py:1: 'operators' imports 'solver'"),
        ("operators", "def f():\n    import mgnet.cli", "operators.py:2: 'operators' imports 'cli'"),
        ("operators", "from .problem import Poisson", "operators.py:1: 'operators' imports 'problem'"),
        ("operators", "from . import problem", "operators.py:1: 'operators' imports 'problem'"),
        ("smoothers", "from mgnet import solve", "smoothers.py:1: 'smoothers' imports '__init__'"),
        ("plot", "import mgnet", "plot.py:1: 'plot' imports '__init__'"),
        ("grid", "from mgnet.stencils import hat", "grid.py:1: 'grid' imports 'stencils'"),
        ("solver", "import importlib as i\ni.import_module('.cli')", "solver.py:2: 'solver' imports 'cli'"),
        ("assembly", "from mgnet.layers import Conv", "assembly.py:1: 'assembly' imports 'layers'"),
        ("layers", "from mgnet.assembly import load", "layers.py:1: 'layers' imports 'assembly'"),
        ("solver", "from mgnet import tables", "solver.py:1: 'solver' imports 'tables'"),
        ("models/lenet", "from ..train import fit", "lenet.py:1: 'models' imports 'train'"),
        ("novel", "", "'novel' has no layer: place it in the table"),
    ],
)
def test_the_checker_catches_a_wrong_import(tmp_path: Path, module: str, source: str, said: str) -> None:
    package = tmp_path / "mgnet"
    good = {
        "__init__": "from mgnet.solver import solve",
        **dict.fromkeys(("stencils", "layers", "models/__init__", "train", "tables"), ""),
        "cli": "from mgnet import solve, tables",
        "grid": "import numpy as np",
        "problem": "from mgnet.grid import Grid",
        "assembly": "from mgnet import grid, problem",
        "solver": "from .assembly import load\ndef draw():\n    from mgnet import plot",
        "plot": "import matplotlib",
        "models/registry": "from mgnet.models import lenet",
        "models/lenet": "from ..layers import Conv",
    }
    assert violations(write(package, good)) == []
    (line,) = violations(write(package, {**good, module: source}))
    assert said in line


def write(package: Path, files: dict[str, str]) -> Path:
    """Write a package of the given modules."""
    for name, text in files.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return package


@pytest.mark.parametrize(
    "code",
    [
        "import mgnet; mgnet.__version__; dir(mgnet)",
        "import sys; from mgnet.cli import main; sys.argv = ['mgnet', '--help']; main()",
        "import sys; from mgnet.cli import main; sys.argv = ['mgnet', 'solve', '--help']; main()",
    ],
    ids=["import mgnet", "mgnet --help", "mgnet solve --help"],
)
def test_what_need_not_compute_imports_nothing_heavy(code: str) -> None:
    # atexit, because main() may end in SystemExit
    report = f"import atexit, sys; atexit.register(lambda: print('LOADED', {HEAVY} & sys.modules.keys()))"
    done = finished("-c", f"{report}\n{code}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED set()", done.stdout


def test_figures_are_drawn_only_on_request() -> None:
    code = "import sys; from mgnet import solve; sys.exit('matplotlib' in sys.modules)"
    assert finished("-c", code).returncode == 0
