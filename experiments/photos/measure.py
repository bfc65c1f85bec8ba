"""Measure errors of a network for photographs on the gallery, which is from other sources than its training images, and
on the test split of its own data.

    python -m experiments.photos.measure --half validation --data photos.csv
    python -m experiments.photos.measure --data photos.csv

The gallery is split in two by the SHA-256 of the files' paths: one half is for choosing networks, and the other is
measured once, when the network is final, for the reported figure. Neither is ever trained on. `photos.csv` (see
README.md here) says which collection most training images of a class are from. Probability that a collection's classes
get whatever an image shows is the network's bias towards that source.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from alexnet.demo import GALLERY, TABLE
from experiments import command
from experiments.results import write_report
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.bundled import DEFAULT_NETWORK
from model.artifacts.default import networks_folder
from model.artifacts.measurements import format_measurements
from model.artifacts.packed import unpack_bundled
from model.datasets.image_files import read_image_file
from model.datasets.listing import Listing
from model.datasets.tables import read_table
from model.exceptions import DatasetError, InvalidRequestError
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from training.data.datasets import Example
from training.evaluation.evaluate import decode_batches, predict
from training.evaluation.predictions import Predictions, write_tables
from training.publish import figures

Half = Literal["validation", "test"]
HALVES: tuple[Half, Half] = ("validation", "test")
NUM_DRAWN = 8
GROCERY_LICENSE = "MIT"
"""License of the gallery's images from the Grocery Store data set; no photograph has it."""


def load_network(artifact: Path | None) -> Artifact:
    """The artifact at a path, or, for None, the bundled network photos."""
    return artifacts.load(artifact) if artifact else unpack_bundled(DEFAULT_NETWORK, networks_folder(Path()))


def choose_half(path: str) -> Half:
    """The half of the gallery that a file belongs to, by its path in attribution.csv."""
    return HALVES[hashlib.sha256(path.encode()).digest()[0] % 2]


def read_gallery() -> list[dict[str, str]]:
    """The rows of attribution.csv."""
    with (GALLERY / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def list_examples(artifact: Artifact, half: Half) -> list[Example]:
    """The photographs of a half of the gallery that show a class of the network. Raises DatasetError."""
    rows = [row for row in read_gallery() if row["class_of_photos"] and choose_half(row["path"]) == half]
    return _to_examples(artifact, [(str(GALLERY / row["path"]), row["class_of_photos"]) for row in rows])


def list_test_examples(artifact: Artifact, table: Listing) -> tuple[list[Example], list[str]]:
    """The labeled images of the table's test split, and the collection of each. Raises DatasetError."""
    images = [(image.file, image.label, image.group) for image in table.entries if image.split == "test"]
    labeled = [(file, label, group) for file, label, group in images if label is not None]
    if not labeled:
        raise DatasetError(
            f"{table.root} has no images in the split test: assign some in the column split, or choose --half"
        )
    return _to_examples(artifact, [(file, label) for file, label, _ in labeled]), [group for *_, group in labeled]


def _to_examples(artifact: Artifact, files: Sequence[tuple[str, str]]) -> list[Example]:
    """Examples from the path and the class of each file. Raises DatasetError."""
    numbers = {label.id: number for number, label in enumerate(artifact.labels)}
    if missing := {label for _, label in files} - set(numbers):
        raise DatasetError(f"{artifact.path} has no class {sorted(missing)[0]}: measure a network for photographs")
    return [Example(file, numbers[label], "") for file, label in files]


def predict_examples(artifact: Artifact, examples: Sequence[Example]) -> Predictions:
    """Probabilities from the center crop and from ten crops, as they are served."""
    return predict(OnnxModel(artifact.network_path), decode_batches(examples, artifact.image_contract), len(examples))


def sources_of_classes(artifact: Artifact, table: Listing) -> list[str]:
    """The collection that most training images of each class are from. Raises DatasetError if a class has none."""
    counts: dict[str | None, Counter[str]] = {}
    for image in table.entries:
        if image.split == "train":
            counts.setdefault(image.label, Counter())[image.group] += 1
    if missing := [label.id for label in artifact.labels if label.id not in counts]:
        raise DatasetError(
            f"{table.root} has no training images of {missing[0]}: give the table that the network was trained on"
        )
    return [counts[label.id].most_common(1)[0][0] for label in artifact.labels]


def measure_sources(artifact: Artifact, predictions: Predictions, table: Listing) -> dict[str, dict[str, float]]:
    """By collection: the mean total probability of its classes, and the fraction of the measured images that show one
    of them. Raises DatasetError if a class has no training images."""
    source_of = sources_of_classes(artifact, table)
    mean = predictions.probabilities.mean(0)
    shown = Counter(source_of[label] for label in predictions.labels)
    return {
        source: {
            "probability": float(
                sum(p for p, class_source in zip(mean, source_of, strict=True) if class_source == source)
            ),
            "images": shown[source] / len(predictions.labels),
        }
        for source in sorted(set(source_of), key=lambda source: -shown[source])
    }


def measure_by_source(predictions: Predictions, examples: list[Example], sources: list[str]) -> dict[str, Any]:
    """The errors on each collection's images by number of crops; the collection with the most images comes first."""
    source_of = {str(example.path): source for example, source in zip(examples, sources, strict=True)}
    read = np.array([source_of[str(file)] for file in predictions.files])
    result = {}
    for source, _ in Counter(read.tolist()).most_common():
        rows = np.flatnonzero(read == source)
        part = Predictions(
            predictions.labels[rows],
            tuple(predictions.files[row] for row in rows),
            predictions.center[rows],
            None if predictions.ten_crop is None else predictions.ten_crop[rows],
        )
        result[source] = [m.model_dump() for m in part.measurements(f"test, {source}", {})]
    return result


def draw_mistakes(artifact: Artifact, predictions: Predictions, target: Path) -> None:
    """Draw the mistakes with the highest confidence, and print the authors of their photographs."""
    rows = predictions.mistakes[:NUM_DRAWN]
    files = [Path(predictions.files[row]) for row in rows]
    labels, names = predictions.labels[rows].tolist(), [label.name for label in artifact.labels]
    images = [decode_image(read_image_file(file)).pixels for file in files]
    figures.draw_predictions(images, labels, predictions.probabilities[rows], names).savefig(target, dpi=80)
    author_of = {Path(row["path"]).name: f"{row['author']}, {row['page']}" for row in read_gallery()}
    for file in files:
        typer.echo(f"  {file.name}: {author_of[file.name]}")


def main(
    half: Annotated[
        Half | None,
        typer.Option(
            help="Half of the gallery (default: the test split of --data). validation: to choose between networks; "
            "test: once, at the end."
        ),
    ] = None,
    artifact: Annotated[Path | None, typer.Option(help="Artifact (default: the bundled network photos).")] = None,
    data: Annotated[Path | None, typer.Option(help="Table of the training images with the column source.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file of the results.")] = None,
    drawing: Annotated[Path | None, typer.Option(help="Image file to draw mistakes to (validation half only).")] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder for predictions.csv and per_class.csv.")] = None,
) -> None:
    """Measure top-1 and top-5 error on one half of the gallery, or on a table's test split as a whole and by source."""
    if drawing is not None and half != "validation":
        raise InvalidRequestError("--drawing is for --half validation: the test half and the test split stay unseen")
    loaded = load_network(artifact)
    table = None if data is None else read_table(data)
    collections: list[str] = []
    if half is not None:
        examples, images = list_examples(loaded, half), f"gallery, {half} half"
    elif table is not None:
        (examples, collections), images = list_test_examples(loaded, table), "test"
    else:
        raise DatasetError("nothing to measure: choose --half, or give a table with a test split with --data")
    predictions = predict_examples(loaded, examples)
    measurements = predictions.measurements(images, {})
    typer.echo(format_measurements(measurements))
    by_source = measure_by_source(predictions, examples, collections) if collections else {}
    for source, rows in by_source.items():
        typer.echo(f"  {source}: {rows[-1]['num_images']:,} images, top-5 error {100 * rows[-1]['top5_error']:.1f} %")
    sources = measure_sources(loaded, predictions, table) if table is not None else {}
    for source, shares in sources.items():
        typer.echo(f"  {source}: mean probability {shares['probability']:.3f}, images {shares['images']:.3f}")
    if drawing is not None:
        draw_mistakes(loaded, predictions, drawing)
    if tables is not None:
        write_tables(tables, predictions, loaded.labels)
    if output is not None:
        result: dict[str, Any] = {
            "network": {"version": loaded.manifest.version, "sha256": loaded.network_sha256},
            "measurements": [measurement.model_dump() for measurement in measurements],
            "sources": sources,
            "by_source": by_source,
        }
        write_report(output, result)


if __name__ == "__main__":
    command.run(main)
