"""The command line: strings to calls; knows no mathematics."""

from .commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
