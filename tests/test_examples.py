"""The examples assert what they show, say which lecture system they are, and run as notebooks.

As scripts they are run by the build of the documentation, where an exception is an error.
"""

from __future__ import annotations

import ast
import importlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import TIMEOUT, environment, without_notice

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
jupyter_client = pytest.importorskip("jupyter_client")
run_sync = pytest.importorskip("jupyter_core.utils").run_sync

EXAMPLES = Path(__file__).parent.parent / "examples"
PARTS = ("learning", "networks", "multigrid", "beyond")
SCRIPTS = sorted(path for part in PARTS for path in (EXAMPLES / part).glob("*.py"))


def named(paths: list[Path]) -> Any:
    return pytest.mark.parametrize("path", paths, ids=[f"{path.parent.name}/{path.stem}" for path in paths])


def notebook(path: Path) -> Any:
    """The notebook that the gallery offers beside the script."""
    from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
    from sphinx_gallery.notebook import jupyter_notebook
    from sphinx_gallery.py_source_parser import split_code_and_text_blocks

    settings = {**DEFAULT_GALLERY_CONF, "first_notebook_cell": "%matplotlib inline"}
    _, blocks = split_code_and_text_blocks(str(path))
    return nbformat.reads(json.dumps(jupyter_notebook(blocks, settings, str(path.parent))), as_version=4)


def test_every_part_has_examples() -> None:
    assert {path.parent.name for path in SCRIPTS} == set(PARTS)
    # Nothing lies beside the parts, where the gallery would not find it.
    assert not list(EXAMPLES.glob("*.py"))


# What a page may import: names that users have, not where the package keeps them.
PUBLIC = {"", "bridge", "data", "layers", "learned", "models", "multigrid", "operators", "plot", "stencils"}


@named(SCRIPTS)
def test_an_example_imports_public_names_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        pairs: list[tuple[str, str]] = []
        if isinstance(node, ast.Import):
            pairs = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            pairs = [(node.module or "", alias.name) for alias in node.names]
        for module, name in pairs:
            package, _, place = module.partition(".")
            if package == "mgnet":
                assert place in PUBLIC, f"line {node.lineno}: {module}"
                assert not name or name in importlib.import_module(module).__all__, (
                    f"line {node.lineno}: {name}"
                )


@named(SCRIPTS)
def test_an_example_asserts_and_draws(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    assert "plt.show()" in path.read_text(encoding="utf-8")


# What training ends with depends on how sums are rounded: here as on a processor that can do less. The build
# of the documentation runs the same scripts on this one.
LESS = "avx2" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "default"
OTHER_PROCESSOR = {
    "ATEN_CPU_CAPABILITY": LESS,
    "ONEDNN_MAX_CPU_ISA": {"avx2": "AVX2", "default": "SSE41"}[LESS],
}


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """One process for all notebooks: to import torch takes as long as many an example."""
    # Small operations in two threads wait for each other.
    own = environment(OMP_NUM_THREADS="1", **OTHER_PROCESSOR)
    own.pop("MGNET_DATA", None)  # on the real images some take minutes
    manager = jupyter_client.AsyncKernelManager(kernel_name="python3")
    run_sync(manager.start_kernel)(env=own)
    yield manager
    run_sync(manager.shutdown_kernel)(now=True)


# Examples that train for long; others train in the same ways, and all run when the documentation is built.
LONG = ("better_recipe", "cifar10_classifier", "fine_tuning", "lenet", "looking", "resnet", "training_loop")

# Away with what another example left: names, figures, settings, and the state of torch's generator.
CLEAN = """%reset -f
%cd -q {folder}
import matplotlib, matplotlib.pyplot, torch
matplotlib.pyplot.close("all")
matplotlib.rcdefaults()
torch.set_default_dtype(torch.float32)
torch.manual_seed(0)
%reset -f"""


@pytest.mark.slow
@named([path for path in SCRIPTS if path.stem not in LONG])
def test_an_example_runs_as_a_notebook_on_another_processor(path: Path, kernel: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the machinery; those of the example are on its stderr
        book = notebook(path)
        book.cells.insert(0, nbformat.v4.new_code_cell(CLEAN.format(folder=path.parent)))
        client = nbclient.NotebookClient(book, km=kernel, timeout=TIMEOUT)
        try:
            client.execute()
        finally:
            client.kc.stop_channels()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    complaints = "".join(each["text"] for each in outputs if each.get("name") == "stderr")
    assert not without_notice(complaints)
    assert any("image/png" in each.get("data", {}) for each in outputs)
