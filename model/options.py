"""Options that several commands of `alexnet` have, and programs by the names that they were called by."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from model.artifact import Precision

ARTIFACTS, INDEXES = Path("artifacts"), Path(os.environ.get("ALEXNET_INDEXES", "indexes"))

ArtifactOption = Annotated[
    Path, typer.Option(envvar="ALEXNET_ARTIFACT", help="An artifact, or a folder whose newest one is taken.")
]
IndexOption = Annotated[
    Path | None,
    typer.Option(envvar="ALEXNET_INDEX", help="The index's folder; NAME/VERSION of the artifact below indexes."),
]
ArchiveOption = Annotated[Path | None, typer.Option(help="The zip file of grocery or cifar10, where it was fetched.")]
PrecisionOption = Annotated[Precision, typer.Option(envvar="ALEXNET_PRECISION", help="float32, int8 or dense.")]
DeviceOption = Annotated[str, typer.Option(envvar="ALEXNET_DEVICE", help="auto, cpu or cuda.")]
PictureArgument = Annotated[Path, typer.Argument(help="A picture file.", exists=True, dir_okay=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
RowsOption = Annotated[str, typer.Option(help="Of a new index: float32, or float16 in half the memory.")]


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
