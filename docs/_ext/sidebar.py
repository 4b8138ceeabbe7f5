"""Below its top level the sidebar shows the branch of the page, not hundreds of functions on every page."""

from __future__ import annotations

from functools import partial
from typing import Any

from sphinx.application import Sphinx


def collapse(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the theme ask for one branch; to write all on each page took half of a build's time."""
    if "toctree" in context:
        context["toctree"] = partial(_collapsed, context["toctree"])


def _collapsed(toctree: Any, **options: Any) -> Any:
    return toctree(**{**options, "collapse": True})


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the function above, before that of the theme."""
    app.connect("html-page-context", collapse, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
