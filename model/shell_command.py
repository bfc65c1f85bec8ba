"""Names of programs and options as the user can type them, in an activated environment or without one."""

from __future__ import annotations

import shutil
import sys
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
    """What to type to run `alexnet`: the program that runs now or, from a Python script, the `alexnet` of the same
    environment."""
    program = Path(sys.argv[0])
    return shell_command(Path(sys.executable).with_name("alexnet") if program.suffix == ".py" else program)


def option_name(parameter: str) -> str:
    """The option of a parameter: "max_images" -> "--max-images"."""
    return f"--{parameter.replace('_', '-')}"
