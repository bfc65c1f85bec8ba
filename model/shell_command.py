"""Programs by the names that a person here can type, in an activated environment or without one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def called(program: Path) -> str:
    """How a shell here calls `program`: by its bare name where that finds it, else by its path, a relative one below
    the working directory. One that isn't there keeps its name."""
    path, here = program.absolute(), Path.cwd()
    found = shutil.which(program.name)
    if not path.is_file() or (found is not None and Path(found).absolute() == path):
        return program.name
    if path.parent == here:
        return f"./{path.name}"
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def alexnet() -> str:
    """How `alexnet` was called; by a script of Python's, the one of the same environment."""
    program = Path(sys.argv[0])
    return called(Path(sys.executable).with_name("alexnet") if program.suffix == ".py" else program)
