"""The parser of every command line here: a wrong line ends with EX_USAGE of sysexits and says how to get help."""

import argparse
import sys
from typing import NoReturn

EXIT_USAGE = 64
"""A command line that makes no sense; argparse's own 2 means something else to monitors."""


class Parser(argparse.ArgumentParser):
    """A parser that ends the process with EXIT_USAGE where a line makes no sense."""

    def error(self, message: str) -> NoReturn:
        """Print the usage, what is wrong, and how to get the help; does not return."""
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}. See: {self.prog} --help\n")
