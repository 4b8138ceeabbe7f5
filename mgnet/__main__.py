"""``python -m mgnet`` is the command ``mgnet``, in a process that is its own."""

import atexit
import sys
from typing import NoReturn

from mgnet.signals import end_at_once, ignore

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command and end the process with its exit code."""
    end_at_once()  # first, since what the command needs takes a while to load
    atexit.register(
        ignore
    )  # registered first, called last: after it no line of Python could give an exit code
    from mgnet import cli, shell

    shell.hold_streams()
    code = cli.main()
    end_at_once(quiet=True)  # what was to be said is said
    sys.exit(code)


if __name__ == "__main__":
    main()
