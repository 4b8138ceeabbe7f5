"""``python -m mgnet`` is the command ``mgnet``, in a process that is its own."""

import atexit
import sys
from typing import NoReturn

from .core.signals import end_at_once, ignore

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command and end the process with its exit code."""
    end_at_once()  # first, since what the command needs takes a while to load
    # Registered first, called last: after it no line of Python could give an exit code.
    atexit.register(ignore)
    from .cli import main as run
    from .cli import shell

    shell.hold_streams()
    code = run()
    end_at_once(quiet=True)  # what was to be said is said
    sys.exit(code)


if __name__ == "__main__":
    main()
