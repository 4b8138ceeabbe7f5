"""What is in a folder of pictures: classes, parts, pictures and other files, the same on every system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from . import pictures
from .archives import DataError

__all__ = ["classes_of", "pictures_of"]

PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# What systems leave in folders, besides hidden files.
LITTER = ("thumbs.db", "desktop.ini", "__macosx")


def classes_of(root: Path) -> dict[str, dict[str, Path]]:
    """Return the folder of each class, by its name, in each part that is there: "train" at least."""
    layout = _layout(root)
    found = {part: _folders(place) for part, place in layout.items()}
    classes = [*found["train"]]
    if len(classes) < 2:
        got = f"one class, {classes[0]}" if classes else "no folders of classes"
        accepted = "a folder of pictures for each of two or more"
        raise DataError(f"{layout['train']}: got {got}; accepted: {accepted}")
    for part, place in layout.items():
        _require_same(classes, [*found[part]], place)
    return found


def pictures_of(place: Path, strays: list[Path]) -> list[Path]:
    """Return the pictures of a class, at least one; files that are none by name are noted."""
    files = [*_pictures(place, strays)]
    if not files:
        raise DataError(f"{place}: got a class without pictures; accepted: at least one")
    return files


def _layout(root: Path) -> dict[str, Path]:
    """Return the folder of each part that is there; of a folder without parts, all is for training."""
    folders = _folders(root)
    parts: dict[str, Path] = {}
    for part, names in PARTS.items():
        there = [name for name in folders if name.casefold() in names]
        if len(there) > 1:
            raise DataError(f"{root}: got {' and '.join(there)}, which mean the same; accepted: one of them")
        if there:
            parts[part] = folders[there[0]]
    others = [name for name, path in folders.items() if path not in parts.values()]
    if not parts or (others and not any(map(_folders, parts.values()))):
        return {"train": root}  # a class may be called test
    if others:
        got = f"{', '.join(others)} beside {', '.join(path.name for path in parts.values())}"
        accepted = "folders of classes, or train, val and test with folders of classes in them"
        raise DataError(f"{root}: got {got}; accepted: {accepted}")
    if "train" not in parts:
        raise DataError(f"{root}: got {', '.join(folders)} without train; accepted: train beside them")
    return parts


def _folders(place: Path) -> dict[str, Path]:
    """Return the folders in a folder by name, in the order of their names, the same on every system."""
    found: dict[str, Path] = {}
    for path in sorted(place.iterdir(), key=_key):
        if not _is_litter(path.name) and path.is_dir():
            if (name := _key(path)) in found:
                raise DataError(f"{place}: got two folders {name!r}; accepted: one")
            found[name] = path
    return found


def _pictures(place: Path, strays: list[Path]) -> Iterator[Path]:
    """Yield the pictures in a folder and below it; note files that are none."""
    for path in sorted(place.iterdir(), key=_key):
        if _is_litter(path.name):
            continue
        if path.is_dir():
            if not path.is_symlink():  # which might lead back here
                yield from _pictures(path, strays)
        elif pictures.is_picture(path):
            yield path
        else:
            strays.append(path)


def _key(path: Path) -> str:
    """Return a name as it is compared: some systems take letters with accents apart."""
    return unicodedata.normalize("NFC", path.name)


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.casefold() in LITTER


def _require_same(classes: list[str], found: list[str], place: Path) -> None:
    if classes == found:
        return
    missing, more = ([name for name in a if name not in b] for a, b in ((classes, found), (found, classes)))
    said = [f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has", more)) if names]
    raise DataError(f"{place}: {' and '.join(said)}; accepted: the classes of train, {', '.join(classes)}")
