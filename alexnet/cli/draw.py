"""`alexnet draw`: draw Figures 3 and 4 of the paper for an artifact."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from alexnet.cli.options import (
    HOME,
    ArchiveOption,
    ArtifactOption,
    DataOption,
    HomeOption,
    MaxImagesOption,
    SeedOption,
    artifact_path,
)


def draw(
    data: DataOption,
    output: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder to write the figures to.", show_default=False),
    ],
    artifact: ArtifactOption = None,
    archive: ArchiveOption = None,
    max_images: MaxImagesOption = 8,
    seed: SeedOption = 0,
    home: HomeOption = HOME,
) -> None:
    """Draw Figures 3 and 4 of the paper.

    Draws Figure 3 (the kernels of conv1) and the left half of Figure 4 (held-out images with their five most probable
    classes). `alexnet index draw` draws the right half: images with their nearest neighbors. Needs the extra `train`.
    """
    from training.publish.drawing import draw_figures

    note = partial(typer.echo, err=True)
    for file in draw_figures(artifact_path(artifact, home), data, archive, output, max_images, seed, note):
        typer.echo(f"wrote {file}")
