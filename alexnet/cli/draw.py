"""`alexnet draw`: Figures 3 and 4 of the paper for an artifact."""

from __future__ import annotations

import typer

from alexnet.cli.options import (
    HOME,
    ArchiveOption,
    ArtifactOption,
    DataOption,
    HomeOption,
    MaxImagesOption,
    OutputOption,
    SeedOption,
    artifact_path,
)


def draw(
    data: DataOption,
    output: OutputOption,
    artifact: ArtifactOption = None,
    archive: ArchiveOption = None,
    max_images: MaxImagesOption = 8,
    seed: SeedOption = 0,
    home: HomeOption = HOME,
) -> None:
    """Draw Figures 3 and 4 of the paper.

    They show the kernels of conv1, and held-out images with their five most probable classes. `alexnet index draw`
    draws the right half of Figure 4: images with their nearest neighbors. --output is a folder.
    """
    from training.publish.drawing import draw_figures

    for file in draw_figures(artifact_path(artifact, home), data, archive, output, max_images, seed):
        typer.echo(f"wrote {file}")
