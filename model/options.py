"""Options that several commands of `alexnet` have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.artifact import Precision

ARTIFACTS, INDEXES = Path("artifacts"), Path("indexes")

ArtifactOption = Annotated[
    Path, typer.Option(envvar="ALEXNET_ARTIFACT", help="An artifact, or a folder whose newest one is taken.")
]
IndexOption = Annotated[
    Path | None, typer.Option(envvar="ALEXNET_INDEX", help="The index's folder; indexes/NAME/VERSION of the artifact.")
]
ArchiveOption = Annotated[Path | None, typer.Option(help="The zip file of grocery or cifar10, where it was fetched.")]
PrecisionOption = Annotated[Precision, typer.Option(envvar="ALEXNET_PRECISION", help="float32, int8 or dense.")]
DeviceOption = Annotated[str, typer.Option(envvar="ALEXNET_DEVICE", help="auto, cpu or cuda.")]
PictureArgument = Annotated[Path, typer.Argument(help="A picture file.", exists=True, dir_okay=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
