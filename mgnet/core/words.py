"""Words of others in a line of ours: names of files and classes, which may hold any character."""

from __future__ import annotations

import unicodedata

__all__ = ["legible"]


def legible(text: str) -> str:
    r"""Return a text with an escape for each character that cannot be seen; blanks of any script stay.

    A control character would act on the terminal, a line break tear a table apart, and a byte that is no
    UTF-8, which Python keeps as half a surrogate, cannot be drawn.

    >>> print(legible("a\nb\x1b[31m\udcff.png"))
    a\nb\x1b[31m\udcff.png
    """
    if text.isprintable():
        return text
    return "".join(c if _is_seen(c) else c.encode("unicode_escape").decode() for c in text)


def _is_seen(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"
