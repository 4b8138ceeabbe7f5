"""The command ``mgnet``.

Nothing but the standard library is imported until a command runs, so that ``mgnet --help`` answers at once.
To add a command, write a function that declares its arguments on a parser and ends with
``parser.set_defaults(run=...)``, and name it in ``COMMANDS``; ``run`` takes the arguments and returns an
exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from . import evaluate, predict, several, solve, train
from .shell import DONE, CommandError, guarded, say

__all__ = ["COMMANDS", "main"]

# OpenMP reads how its threads wait for each other when torch is loaded. By itself it lets them spin, which
# makes a command many times slower beside other work; benchmarks/command.py measures it.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
# Who has set one of these has chosen: of any OpenMP, of GNU's, of LLVM's and Intel's.
CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")

# What no argument of a process can hold.
SHIELD = "\0"

COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], str]] = {
    "solve": (solve.declare, "solve -div(a grad u) + c u = f on an interval or in a box"),
    "train": (train.declare_train, "train a network on a published set or on pictures of your own"),
    "evaluate": (evaluate.declare_evaluate, "measure the test accuracy of a trained network"),
    "predict": (predict.declare_predict, "say what one's own pictures show, by a trained network"),
    "models": (train.declare_models, "list the networks: name, parameters, multiply-adds"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        for mark in (SHIELD, ascii(SHIELD)[1:-1]):  # as it is, and where the message quotes a value
            message = message.replace(f"{mark}-", "-")
        raise CommandError(f"{message} (see '{self.prog} --help')")

    def print_help(self, file: Any = None) -> None:
        say(self.format_help().rstrip())  # argparse itself would hide that stdout is full or closed


class _Command(_Parser):
    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        # Here, before the type of an argument sees it, and for each of several. The parser above this one
        # hands on all of a command's arguments as values of its own, which have to stay shielded.
        return super()._get_value(action, arg_string.removeprefix(SHIELD))


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import mgnet

        say(f"mgnet {mgnet.__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, by default with the arguments of the process, and return its exit code.

    That is 0 done, 2 usage, 3 not converged, 4 damaged data, 5 resources, 129, 130, 131, 141 and 143 for
    SIGHUP, SIGINT, SIGQUIT, SIGPIPE and SIGTERM, 1 for a fault of the program.
    """
    # Unless that is said, or a program that calls this has torch already.
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOSEN):
        os.environ.update(WAITING)
    return guarded(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> int:
    argv = argv[1:] if argv[:1] == ["--"] else argv  # which ends the options of torchrun
    if argv and argv[0] == "solve":
        several.speak_by_turns()
    try:
        arguments = _parser().parse_args([_shielded(text) for text in argv])
    except SystemExit:  # argparse's way to end --help and --version; its errors are ours
        return DONE
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def _parser() -> _Parser:
    about = "Multigrid by convolutions, and networks of them."
    parser = _Parser(prog="mgnet", allow_abbrev=False, description=about)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_Command
    )
    form = argparse.RawDescriptionHelpFormatter
    for name, (declare, summary) in COMMANDS.items():
        texts: dict[str, Any] = {"help": summary, "description": summary, "formatter_class": form}
        declare(commands.add_parser(name, allow_abbrev=False, **texts))
    return parser


def _shielded(text: str) -> str:
    # argparse takes '-2*x' for an option, with another character in front for a value. Our options have two
    # dashes.
    is_value = text.startswith("-") and not text.startswith("--") and text != "-h"
    return f"{SHIELD}{text}" if is_value else text
