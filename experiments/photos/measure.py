"""Errors of a network for photographs on the gallery, whose photographs come from elsewhere than its training images.

    python experiments/photos/measure.py --half choosing

The gallery is cut in two by the SHA-256 of the files' names: networks are chosen on one half, and a figure is reported
from the other, once, when the network is final. Neither is ever trained on.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from alexnet.demo import GALLERY, TABLE
from experiments import command
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.packed import unpack_bundled
from model.exceptions import DatasetError
from model.runtime import OnnxModel
from training.data.datasets import Example
from training.evaluation.evaluate import decode_batches, format_measurements, predict
from training.evaluation.predictions import Predictions, write_tables

Half = Literal["choosing", "reporting"]
HALVES: tuple[Half, Half] = ("choosing", "reporting")


def half_of(path: str) -> Half:
    """The half of the gallery that a file belongs to, by its path in attribution.csv."""
    return HALVES[hashlib.sha256(path.encode()).digest()[0] % 2]


def read_gallery() -> list[dict[str, str]]:
    """The rows of attribution.csv."""
    with (GALLERY / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def gallery_examples(artifact: Artifact, half: Half) -> list[Example]:
    """The photographs of a half of the gallery that show a class of the network. Raises DatasetError."""
    numbers = {label.id: number for number, label in enumerate(artifact.labels)}
    rows = [row for row in read_gallery() if row["class_of_photos"] and half_of(row["path"]) == half]
    if missing := {row["class_of_photos"] for row in rows} - set(numbers):
        raise DatasetError(f"{artifact.path} has no class {sorted(missing)[0]}: measure a network for photographs")
    return [Example(str(GALLERY / row["path"]), numbers[row["class_of_photos"]], "") for row in rows]


def predict_examples(artifact: Artifact, examples: Sequence[Example]) -> Predictions:
    """Probabilities from the center crop and from ten crops, as they are served."""
    return predict(OnnxModel(artifact.network), decode_batches(examples, artifact.image_contract), len(examples))


def main(
    half: Annotated[Half, typer.Option(help="choosing: to decide between networks; reporting: once, at the end.")],
    artifact: Annotated[Path | None, typer.Option(help="Artifact (default: the bundled network photos).")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for measurements.json, predictions.csv and per_class.csv.")
    ] = None,
) -> None:
    """Measure top-1 and top-5 error on one half of the gallery."""
    loaded = artifacts.load(artifact) if artifact else unpack_bundled("photos", Path("bundled"))
    predictions = predict_examples(loaded, gallery_examples(loaded, half))
    measurements = predictions.measurements(f"gallery, {half} half", {})
    typer.echo(format_measurements(measurements))
    if output is not None:
        write_tables(output, predictions, loaded.labels)
        text = json.dumps([measurement.model_dump() for measurement in measurements], indent=1)
        (output / "measurements.json").write_text(text + "\n")


if __name__ == "__main__":
    command.run(main)
