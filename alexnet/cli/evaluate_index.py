"""`alexnet index evaluate`: precision by label, and recall of the approximate searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from alexnet.cli.options import (
    HOME,
    ArtifactOption,
    DeviceOption,
    HomeOption,
    IndexOption,
    MaxImagesOption,
    PrecisionOption,
    load_artifact,
    open_index,
)


def evaluate(
    index: IndexOption = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of query images, one subfolder per label (default: the indexed images)."),
    ] = None,
    max_images: MaxImagesOption = 500,
    artifact: ArtifactOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    plot: Annotated[Path | None, typer.Option(help="Write a plot to this .png file.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the results to this .json file.")] = None,
    home: HomeOption = HOME,
) -> None:
    """Search an index with labeled images and measure precision, recall and time."""
    from alexnet.index_evaluation import evaluate_index
    from index.evaluation import format_table
    from index.evaluation import plot as draw_plot

    with open_index(index, home) as store:
        result = evaluate_index(store, load_artifact(artifact, home, precision), data, max_images, device)
    typer.echo(format_table(result))
    if plot is not None:
        draw_plot(result, plot)
    if output is not None:
        output.write_text(json.dumps(result.to_dict(), indent=1) + "\n")
