"""Public names and what they take are those of ``pinned/signatures.txt``, and so are the command's options.

    python tests/test_signatures.py

writes that file, after a change that was meant.
"""

from __future__ import annotations

import difflib
import enum
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

STORED = Path(__file__).parent / "pinned" / "signatures.txt"
MODULES = (
    "mgnet",
    "mgnet.bridge",
    "mgnet.checkpoint",
    "mgnet.data",
    "mgnet.layers",
    "mgnet.learned",
    "mgnet.models",
    "mgnet.multigrid",
    "mgnet.operators",
    "mgnet.plot",
    "mgnet.stencils",
)
COMMANDS = ("", "solve", "train", "evaluate", "predict", "models")


def lines() -> list[str]:
    """Describe all that is public, a line for each thing."""
    found = {line for module in MODULES for line in _module(module)}
    return sorted(found) + [line for command in COMMANDS for line in _command(command)]


def _module(name: str) -> Iterator[str]:
    module = import_module(name)
    for public in module.__all__:
        yield from _thing(f"{name}.{public}", getattr(module, public))


def _thing(name: str, value: Any) -> Iterator[str]:
    if inspect.ismodule(value):
        yield f"{name} module"
    elif inspect.isclass(value):
        yield from _class(name, value)
    elif callable(value):
        yield f"{name}{_signature(value)}"
    else:
        yield f"{name} = {_shown(value)}"


def _class(name: str, kind: type) -> Iterator[str]:
    if issubclass(kind, enum.Enum):
        yield f"{name} enum"
        for member in kind:
            yield f"{name}.{member.name} = {member.value!r}"
        return
    # What others can catch or test; which of our classes stand between is a matter of the inside.
    bases = [base.__name__ for base in kind.__mro__[1:-1] if _is_known(base)]
    yield f"{name}{_constructor(kind)}{' is ' if bases else ''}{', '.join(bases)}"
    if is_dataclass(kind):
        for each in fields(kind):
            optional = each.default is not MISSING or each.default_factory is not MISSING
            yield f"{name}.{each.name} field{' with default' if optional else ''}"
    for member in dir(kind):
        if not member.startswith("_"):
            yield from _member(name, kind, member)


def _constructor(kind: type) -> str:
    for method in ("__init__", "__new__"):
        if _owner(kind, method).__module__.startswith("mgnet"):
            text = _signature(getattr(kind, method))
            return re.sub(r"^\((self|_?cls)(, )?", "(", text)
    return "(...)"  # another package's


def _owner(kind: type, member: str) -> type:
    return next((each for each in kind.__mro__ if member in vars(each)), object)


def _member(name: str, kind: type, member: str) -> Iterator[str]:
    value = inspect.getattr_static(kind, member)
    if not _owner(kind, member).__module__.startswith("mgnet"):
        return
    if inspect.isfunction(value):
        yield f"{name}.{member}{_signature(value)}"
    elif isinstance(value, classmethod | staticmethod):
        yield f"{name}.{member}{_signature(value.__func__)} {type(value).__name__}"
    elif hasattr(value, "__get__") and not callable(value):
        yield f"{name}.{member} property"
    elif not callable(value) and not is_dataclass(kind):
        yield f"{name}.{member} = {_shown(value)}"


def _is_known(base: type) -> bool:
    return base.__module__.split(".")[0] in ("builtins", "torch")


def _signature(value: Any) -> str:
    """Return names, kinds and defaults of the parameters; types may move."""
    signature = inspect.signature(value)
    parameters = [
        each.replace(annotation=each.empty, default=_Default.of(each.default))
        for each in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


class _Default:
    """A default value, shown alike wherever what it is lives."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @classmethod
    def of(cls, value: Any) -> Any:
        return value if value is inspect.Parameter.empty else cls(value)

    def __repr__(self) -> str:
        return _shown(self.value)


def _shown(value: Any) -> str:
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__name__
    # No module, no address: 'mgnet.recipes.Recipe(...)' and '<... at 0x7f>' say where a thing is.
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    return re.sub(r"<class '([\w.]+\.)?(\w+)'>", r"\2", re.sub(r"\bmgnet(\.\w+)+\.(?=\w)", "", text))


def _command(name: str) -> Iterator[str]:
    """Describe a command by what its help says: arguments, options and exit codes."""
    argv = [sys.executable, "-m", "mgnet", *name.split(), "--help"]
    wide = {**os.environ, "COLUMNS": "100"}
    text = subprocess.run(argv, capture_output=True, text=True, check=True, env=wide).stdout
    title = f"$ mgnet {name}".rstrip()
    for entry in re.findall(r"^ {2,4}((?:-\w, )?--[\w-]+|[a-z]+(?=  )|[A-Z]+(?=  ))((?: \S+)*)", text, re.M):
        yield f"{title}: {' '.join(''.join(entry).split())}"
    for codes in re.findall(r"^exit codes: (.*?)(?:\n\n|\Z)", text, re.M | re.S):
        yield f"{title} exit codes: {' '.join(codes.split())}"


def test_what_is_public_is_what_is_kept() -> None:
    kept = STORED.read_text(encoding="utf-8").splitlines()
    changes = [
        line
        for line in difflib.unified_diff(kept, lines(), "kept", "now", lineterm="", n=0)
        if not line.startswith("@@")
    ]
    meant = "\nIf that is meant, run 'python tests/test_signatures.py'"
    assert not changes, "what users call has changed:\n" + "\n".join(changes) + meant


if __name__ == "__main__":
    STORED.write_text("\n".join(lines()) + "\n", encoding="utf-8")
