"""The command `simnl`, which comes with the package. Its commands need no clone of the repository.

simnl fit FOLDER HEAD        learn from a folder of pictures, and write what was learned to one file
simnl predict HEAD PATHS     label pictures with such a file, or with the head of a run
simnl export HEAD            write such a file as a program for ONNX or PyTorch
simnl push HEAD OWNER/NAME   share such a file on the Hugging Face hub, with a model card
simnl demo [HEAD]            teach classes and explain labels on a page in your browser
simnl --version              print the release

`simnl COMMAND --help` explains a command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from simnl import __version__, interrupts
from simnl.errors import fail_politely

COMMANDS = {  # modules with `run`
    "fit": "simnl.classifier.command",
    "predict": "simnl.predictions.command",
    "export": "simnl.predictions.export_command",
    "push": "simnl.classifier.push_command",
    "demo": "simnl.demo.command",
}


def command_of(arguments: list[str]) -> Callable[[list[str]], int] | None:
    """The function that carries out the command that the first argument names; None if there is no argument.

    Raises:
        ValueError: there is no such command.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        return None
    if arguments[0] not in COMMANDS:
        raise ValueError(f"Unknown command '{arguments[0]}'. Choose from {', '.join(COMMANDS)}; see simnl --help.")
    return import_module(COMMANDS[arguments[0]]).run


def main() -> int:
    """Entry point."""
    interrupts.install()
    return carry_out()


@fail_politely
def carry_out() -> int:
    """Do what the command line says."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"simnl {__version__}")
        return 0
    run = command_of(arguments)
    if run is None:
        print(__doc__)
        return 0
    sys.argv[0] = f"simnl {arguments[0]}"  # the name that help texts show
    return run(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
