"""`alexnet index evaluate`: measure precision by label, and the recall of approximate searches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet.cli.options import (
    HOME,
    ArtifactOption,
    DeviceOption,
    HomeOption,
    IndexOption,
    JsonOption,
    MaxImagesOption,
    PrecisionOption,
    load_artifact,
    open_index,
)
from alexnet.cli.output import log_to_stderr, print_json

if TYPE_CHECKING:
    from index.evaluation import Evaluation
    from model.artifacts.artifact import Artifact


def evaluate(
    index: IndexOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of query images, one subfolder per label (default: the indexed images themselves).",
            show_default=False,
        ),
    ] = None,
    max_images: MaxImagesOption = 500,
    artifact: ArtifactOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw a plot to this .png file (needs the extra `train`)."),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """Measure precision, recall and time of searches.

    Searches with labeled images and counts the neighbors that have the query's label. A query that is in the index,
    even one from --data, isn't counted as its own neighbor.
    """
    from alexnet.index_evaluation import evaluate_index
    from index.drawing import draw_evaluation
    from index.evaluation import format_table

    _check_plot(plot)
    loaded = load_artifact(artifact, home, precision)
    with log_to_stderr(as_json), open_index(index, loaded, home) as store:
        result = evaluate_index(store, loaded, data, max_images, device)
    if as_json:
        print_json(result.to_dict())
    else:
        typer.echo(format_table(result))
    _note_training_images(result, loaded, home)
    if plot is not None:
        draw_evaluation(result, plot)


def _note_training_images(result: Evaluation, artifact: Artifact, home: Path) -> None:
    """Print a note if queries came from the index: a network that isn't bundled may have been trained on them."""
    from model.artifacts.default import is_unpacked_bundled

    if result.num_indexed and not is_unpacked_bundled(artifact.path, home):
        typer.echo(
            "note: training images find more neighbors of their class than new images do: to measure with new ones, "
            "give their folder with --data",
            err=True,
        )


def _check_plot(path: Path | None) -> None:
    """Raise InvalidRequestError for a name without .png, before anything is measured."""
    from model.exceptions import InvalidRequestError

    if path is not None and path.suffix.lower() != ".png":
        raise InvalidRequestError(f"--plot draws a .png file: end the name {path.name[:80]!r} with .png")
