"""After a build, follow every link inside the site: the page and the place on it must exist."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


class _Page(HTMLParser):
    """The links of a page, the places that can be linked to, and the pictures without a description."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.bare: list[str] = []
        self.foreign: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag says."""
        values = {name: value or "" for name, value in attrs}
        self.places |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag in ("a", "link") and values.get("href"):
            self.links.append(values["href"])
        if tag in ("img", "script") and values.get("src"):
            self.links.append(values["src"])
        needed = values.get("src") if tag in ("script", "img") else tag == "link" and values.get("href")
        if needed and urlsplit(str(needed)).netloc:
            self.foreign.append(str(needed))
        # The thumbnails of the gallery stand beside the titles and say nothing else.
        if tag == "img" and not values.get("alt", "").strip() and "_thumb." not in values.get("src", ""):
            self.bare.append(values.get("src", ""))


def check(app: Sphinx, error: Exception | None) -> None:
    """Warn of links that lead nowhere, of what needs a network, and of pictures without a description."""
    if error or app.builder.name != "html":
        return
    folder = Path(app.outdir)
    _file.cache_clear()
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            if not _leads_somewhere(folder, path, link, pages):
                logger.warning("%s: the link %r leads nowhere", path.relative_to(folder), link)
        for address in page.foreign:
            logger.warning("%s: %r is on another site", path.relative_to(folder), address)
        for picture in page.bare:
            logger.warning("%s: the picture %r has no alternative text", path.relative_to(folder), picture)


def _leads_somewhere(folder: Path, path: Path, link: str, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True  # another site
    target = _file(folder, path.parent, unquote(parts.path)) if parts.path else path
    if target is None:
        return False
    place = unquote(parts.fragment)
    return not place or target.suffix != ".html" or place in pages[target].places


@cache
def _file(folder: Path, beside: Path, name: str) -> Path | None:
    """Return the file of the site that a link means, if there is one."""
    target = (beside / name).resolve()
    return target if target.is_file() and target.is_relative_to(folder.resolve()) else None


def mend_back_links(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Lead from the pages of the source to where an object is documented, also under its shorter name."""
    if not page.startswith("_modules/mgnet"):
        return
    known = {(entry.docname, name): entry.node_id for name, entry in app.env.domains["py"].objects.items()}

    def mended(match: re.Match[str]) -> str:
        document, name = match[1].rpartition("/")[2].removesuffix(".html"), match[2]
        home = f"api/{document}"
        if (home, name) in known:
            return match[0]
        # The page is right, only the module in front of the name is another.
        member = name[len(_shared(name, document)) :] if "." in name else name
        places = [place for (where, full), place in known.items() if where == home and full.endswith(member)]
        return f'href="{match[1]}#{min(places, key=len)}"' if places else match[0]

    context["body"] = re.sub(r'href="([^"#]*/api/[^"#]*)#([^"]*)"', mended, context["body"])


def _shared(name: str, document: str) -> str:
    """Give the part of a name in front of the object that its page is named after."""
    last = document.rpartition(".")[2]
    return name[: name.find(f".{last}")] if f".{last}" in name else ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the functions above."""
    app.connect("html-page-context", mend_back_links)
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
