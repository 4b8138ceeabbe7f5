"""Sphinx settings. The site is built and read without a network: no CDN, no inventory from elsewhere."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.inspect import stringify_signature

import mgnet
from mgnet.cli import COMMANDS

# Small operations in several threads wait for each other on a busy machine, in examples and pictures too.
os.environ["OMP_NUM_THREADS"] = "1"

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "mgnet"
author = "the mgnet developers"
copyright = f"2026, {author}"
version = release = mgnet.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
    "matplotlib.sphinxext.plot_directive",
    # our own, in _ext
    "benchmark_pages",
    "equations",
    "lectures",
    "links",
    "sidebar",
    "zoo_pages",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_ext", "_generated", "figures", "results"]
suppress_warnings = ["config.cache"]  # the settings of the gallery name a function
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(torch|numpy|scipy|matplotlib)\..*")]  # their sites are elsewhere

# Pages
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
numfig = True
math_numfig = True
math_eqref_format = "({number})"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"  # or the second line of a command would be left out

# Pictures of the book: scripts in figures/, run by the build.
plot_formats = [("png", 120)]
plot_html_show_formats = False
plot_html_show_source_link = False
# The directive's own template has each picture twice, for pages and for print, and the numbers skip.
plot_template = """
{{ source_code }}

.. only:: html

   {% for img in images %}
   .. figure:: {{ build_dir }}/{{ img.basename }}.{{ default_fmt }}
      {% for option in options -%}
      {{ option }}
      {% endfor %}

      {{ caption }}
   {% endfor %}
"""

# The gallery: every script of examples/ is run by the build, and an exception is an error.
sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"/data/",
    "subsection_order": [f"../examples/{part}" for part in ("learning", "networks", "multigrid", "beyond")],
    "within_subsection_order": "lectures.ByLecture",
    "doc_module": ("mgnet",),
    "reference_url": {"mgnet": None},
    "backreferences_dir": "_generated/backreferences",
    "first_notebook_cell": "%matplotlib inline",
    "show_signature": False,
    "min_reported_time": 0,
    "write_computation_times": False,  # that page loads scripts from other sites; each example says its own
}
bibtex_bibfiles = ["references.bib"]

# Docstrings. Types stand in the numpydoc sections, so signatures go without.
autodoc_preserve_defaults = True
autodoc_typehints = "none"
autosummary_generate = True
autosummary_ignore_module_all = False


def public(module: str) -> list[str]:
    """Give the names of a module that are those of the package: they have their pages as mgnet.NAME."""
    names = vars(import_module(module))
    return [name for name in mgnet.__all__ if names.get(name) is getattr(mgnet, name)]


autosummary_context = {"public": public}
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "GL08",  # no docstring
    "PR01",  # a parameter that is not documented,
    "PR02",  # or documented and not there,
    "PR07",  # or without a word about it
    "RT03",  # nothing said of what comes back
    "SS02",  # the summary does not start with a capital
    "SS03",  # the summary does not end in a full stop
}
numpydoc_validation_exclude = {
    r"^mgnet\.[a-z_]+\.",  # not a public name
    r"^mgnet\.Poisson$",  # its __new__, which picks the dimension, hides the parameters of its __init__
    r"^mgnet\.(Solution|Status|ConvergenceError)$",  # users get these and do not make them: no parameters
}

# Formulas: the one file of MathJax 3 that needs nothing else, out of the wheel sphinx-mathjax-offline. (That
# package is not an extension here: it would copy a hundred files more and choose one that loads fonts.)
MATHJAX = "tex-svg-full.js"
wheel = find_spec("sphinx-mathjax-offline")
if wheel is None or wheel.origin is None:
    raise ModuleNotFoundError("the wheel sphinx-mathjax-offline is missing: pip install -e '.[docs]'")
mathjax_path = MATHJAX
mathjax3_config = {"tex": {"macros": {"dx": r"\,\mathrm{d}x"}}}

html_theme = "furo"
html_title = f"mgnet {release}"
html_static_path = ["_static", str(Path(wheel.origin).parent / "static" / "mathjax" / MATHJAX)]
html_css_files = ["mgnet.css"]
html_show_sphinx = False


def write_help(*_: object) -> None:
    """Ask the command line for its help, so that the page about it cannot fall behind."""
    folder = HERE / "_generated"
    folder.mkdir(exist_ok=True)
    for command in ([], *([name] for name in COMMANDS)):
        code = f"import sys; from mgnet.cli import main; sys.exit(main({[*command, '--help']}))"
        text = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "COLUMNS": "82", "NO_COLOR": "1"},
            check=True,
            capture_output=True,
            encoding="utf-8",
        ).stdout
        name = "-".join(["mgnet", *command])
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def find_by_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element) -> Element | None:
    """Resolve a docstring's short reference; its module may not be where the page of the name is."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or ("." in target and not target.startswith("mgnet.")):
        return None
    domain = env.domains["py"]
    last = target.rpartition(".")[2]
    found = [name for name, *_ in domain.get_objects() if name.rpartition(".")[2] == last]
    if len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, text)


def constructor(_: Sphinx, what: str, name: str, obj: type, *__: object) -> tuple[str, str] | None:
    """Show how a class is called by its ``__init__``, where a ``__new__`` that picks a subclass hides it."""
    if what != "class" or "__init__" not in vars(obj):
        return None
    self, *parameters = inspect.signature(obj.__init__).parameters.values()
    return stringify_signature(inspect.Signature(parameters), show_annotation=False), ""


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("autodoc-process-signature", constructor)
    app.connect("config-inited", write_help)
    app.connect("missing-reference", find_by_name)
