"""The layers of the package: an import goes only to a lower one, and light imports stay light.

The table below is the picture of docs/architecture.md as code. Every folder has one place in it, and so has
every module that stands beside the folders; a new one fails the test until it gets one. In a folder no chain
of imports leads back to where it began.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from processes import finished

import mgnet

ROOT = "__init__"  # the package itself: 'import mgnet' inside a module

# Low to high; a name is a folder, or a module beside the folders. Two branches grow from one trunk: what
# stands in one branch only is unknown to the other.
TRUNK = [{"core"}, {"stencils", "plot", "kernels"}, {"operators"}]
SOLVER = [{"poisson", "multigrid"}, {"solver"}]
NETWORK = [{"layers", "data", "checkpoint"}, {"models"}, {"train"}]
CROWN = [{"learned", "bridge"}, {ROOT}, {"cli"}, {"__main__"}]
BRANCHES = [TRUNK + branch + CROWN for branch in (SOLVER, NETWORK)]

HEAVY = {"torch", "scipy", "matplotlib", "numba"}

PACKAGE = Path(mgnet.__file__).parent
DOCS = Path(__file__).parent.parent / "docs"


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name in the table and the file of every module; a folder is one entry of the table."""
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
                dots = len(name) - len(name.lstrip("."))
                above = here[: len(here) + 1 - dots] if dots else ()
                found = [".".join([*above, name[dots:]])]
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


def siblings(path: Path, package: Path) -> set[str]:
    """Give the modules of its own folder that a file imports when it is imported."""
    here = ".".join((package.name, *path.relative_to(package).parent.parts))
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{here}."):
            found.add(str(node.module).removeprefix(f"{here}."))
    return found


def circles(package: Path) -> list[str]:
    """Say which modules of a folder import each other, one line for each folder."""
    found = []
    for folder in sorted({path.parent for path in package.glob("*/*.py")}):
        graph = {path.stem: siblings(path, package) for path in folder.glob("*.py")}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            found.append(f"{folder.name}: {' imports '.join(reversed(error.args[1]))}")
    return found


def test_no_import_leads_back() -> None:
    assert circles(PACKAGE) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    files = {
        "a/b": "from .c import x",
        "a/c": "from .d import x",
        "a/d": "from . import b",
        "e/f": "from .g import x",
    }
    (found,) = circles(write(tmp_path / "mgnet", files))
    assert sorted(set(found.removeprefix("a: ").split(" imports "))) == ["b", "c", "d"]


@pytest.mark.parametrize("page", ["architecture.md", "api.rst"])
def test_the_documentation_shows_every_module(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    missing = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if not path.stem.startswith("_")
        and not re.search(
            rf"\b{path.parent.name}[./]{path.stem}\b|^ *{path.stem}(\.py|$)", text, re.MULTILINE
        )
    }
    assert missing == set(), f"docs/{page} does not mention {missing}"


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("operators/rows", "from mgnet import solver", "rows.py:1: 'operators' imports 'solver'"),
        ("operators/rows", "def f():\n    import mgnet.cli", "rows.py:2: 'operators' imports 'cli'"),
        ("operators/rows", "from ..poisson.grid import Grid", "rows.py:1: 'operators' imports 'poisson'"),
        ("operators/rows", "from .. import poisson", "rows.py:1: 'operators' imports 'poisson'"),
        ("multigrid/cycles", "from mgnet import solve", "cycles.py:1: 'multigrid' imports '__init__'"),
        ("plot", "import mgnet", "plot.py:1: 'plot' imports '__init__'"),
        ("plot", "from mgnet.stencils import hat", "plot.py:1: 'plot' imports 'stencils'"),
        ("solver/it", "import importlib as i\ni.import_module('..cli')", "it.py:2: 'solver' imports 'cli'"),
        ("poisson/grid", "from mgnet.layers import Conv", "grid.py:1: 'poisson' imports 'layers'"),
        ("layers/__init__", "from mgnet.poisson import grid", "__init__.py:1: 'layers' imports 'poisson'"),
        ("models/lenet", "from ..train import fit", "lenet.py:1: 'models' imports 'train'"),
        ("novel", "", "'novel' has no layer: place it in the table"),
        ("novel/idea", "", "'novel' has no layer: place it in the table"),
    ],
)
def test_the_checker_catches_a_wrong_import(tmp_path: Path, module: str, source: str, said: str) -> None:
    package = tmp_path / "mgnet"
    good = {
        "__init__": "from mgnet.solver import solve",
        **dict.fromkeys(("stencils", "layers/__init__", "train/__init__"), ""),
        "cli/__init__": "from mgnet import solve\nfrom .tables import read",
        "cli/tables": "",
        "poisson/grid": "import numpy as np",
        "poisson/problem": "from .grid import Grid\nfrom mgnet.operators import rows",
        "operators/rows": "from .. import stencils",
        "solver/__init__": "from ..poisson.problem import load\ndef draw():\n    from mgnet import plot",
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


def test_a_solve_loads_no_library_that_it_does_not_use() -> None:
    """Half a second of a process that solves once: torch.unravel_index alone loads sympy."""
    idle = "{'scipy.sparse', 'scipy.ndimage', 'sympy', 'matplotlib'}"
    solve = "import mgnet; mgnet.solve(lambda x, y: 1 + x * y, n=64, dim=2)"
    done = finished("-c", f"import sys; {solve}; print('LOADED', {idle} & sys.modules.keys())")
    assert done.stdout == "LOADED set()\n", done.stderr


def test_figures_are_drawn_only_on_request() -> None:
    code = "import sys; from mgnet import solve; sys.exit('matplotlib' in sys.modules)"
    assert finished("-c", code).returncode == 0
