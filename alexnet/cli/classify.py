"""`alexnet classify`: the most probable classes of an image."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from alexnet.cli.options import (
    HOME,
    ArtifactOption,
    CropsOption,
    DeviceOption,
    HomeOption,
    ImageArgument,
    JsonOption,
    PrecisionOption,
    load_artifact,
)


def classify(
    image: ImageArgument,
    artifact: ArtifactOption = None,
    top: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 5,
    crops: CropsOption = "10",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """Classify an image: its most probable classes."""
    from alexnet.classification import classify_file

    predictions = classify_file(image, load_artifact(artifact, home, precision), top, int(crops), device)
    if as_json:
        typer.echo(json.dumps([asdict(prediction) for prediction in predictions]))
    else:
        for prediction in predictions:
            typer.echo(f"{100 * prediction.probability:6.2f} %  {prediction.name}")
