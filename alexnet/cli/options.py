"""Options that several commands of `alexnet` have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from model.artifacts.artifact import Precision

ARTIFACTS = Path("artifacts")

ArtifactOption = Annotated[
    Path, typer.Option(envvar="ALEXNET_ARTIFACT", help="An artifact, or a folder whose newest one is taken.")
]
IndexOption = Annotated[
    Path | None,
    typer.Option(envvar="ALEXNET_INDEX", help="The index's folder; NAME/VERSION of the artifact below indexes."),
]
ArchiveOption = Annotated[Path | None, typer.Option(help="The zip file of grocery or cifar10, where it was fetched.")]
PrecisionOption = Annotated[Precision, typer.Option(envvar="ALEXNET_PRECISION", help="float32 or int8.")]
DeviceOption = Annotated[str, typer.Option(envvar="ALEXNET_DEVICE", help="auto, cpu or cuda.")]
ImageArgument = Annotated[Path, typer.Argument(help="An image file.", exists=True, dir_okay=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
RowsOption = Annotated[str, typer.Option(help="Of a new index: float32, or float16 in half the memory.")]


def indexes_folder() -> Path:
    """Where the indexes NAME/VERSION are, unless one is named."""
    return Path(os.environ.get("ALEXNET_INDEXES", "indexes"))
