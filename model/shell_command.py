"""Commands, programs and options as the user can type them, in an activated environment or without one."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def shell_command(program: Path) -> str:
    """What to type in this shell to run `program`: its bare name if it is on PATH or doesn't exist; else its path,
    relative to the working directory if it lies below."""
    path, folder = program.absolute(), Path.cwd()
    on_path = shutil.which(program.name)
    if not path.is_file() or (on_path is not None and Path(on_path).absolute() == path):
        return program.name
    if path.parent == folder:
        return f"./{path.name}"
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def alexnet_command() -> str:
    """What to type to run `alexnet`: the program that runs now or, from another program, the `alexnet` of the same
    environment."""
    program = Path(sys.argv[0])
    return shell_command(program if program.name == "alexnet" else Path(sys.executable).with_name("alexnet"))


def option_name(parameter: str) -> str:
    """The option of a parameter: "max_images" -> "--max-images"."""
    return f"--{parameter.replace('_', '-')}"


class Command:
    """A command line of `alexnet`: `Command("index", "add").option("data", "my photos")`. As text, what to type."""

    def __init__(self, *words: object) -> None:
        self.words = tuple(map(str, words))

    def option(self, parameter: str, value: object, default: object = None) -> Command:
        """This command with a value for an option, unless it is None or the default; True is a flag, and a sequence
        repeats the option."""
        name = option_name(parameter)
        if value is None or value is False or value == default:
            return self
        if value is True:
            return Command(*self.words, name)
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return Command(*self.words, *(word for each in values for word in (name, each)))

    def argument(self, value: object) -> Command:
        """This command with an argument after its other words."""
        return Command(*self.words, value)

    def __str__(self) -> str:
        return shlex.join([alexnet_command(), *self.words])
