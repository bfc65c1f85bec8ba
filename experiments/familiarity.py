"""Measure the detection of unfamiliar images: area under the ROC curve of familiarity and of other scores.

    python -m experiments.familiarity --artifact ARTIFACT --data elpv --other photos=FOLDER --name elpv

Familiar images are held-out (test) images of the network's own data. Unfamiliar images are noise, rendered text and
drawings made here, test images of other data (`--other`), and with `--gallery` the photographs of the bundled gallery
that show none of the classes of `photos`. The artifact's familiarity is compared with the largest probability and, from
the center crop, with other scores; those that need training features use at most --max-training-images.
"""

from __future__ import annotations

import io
import json
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import roc_auc_score

from alexnet.cli.options import DataOption
from alexnet.demo import GALLERY
from experiments import command
from experiments.photos.measure import GROCERY_LICENSE, read_gallery
from experiments.results import today, write_report
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.familiarity import UNFAMILIAR_QUANTILE, Familiarity, read_familiarity
from model.datasets.image_files import read_image_file
from model.exceptions import ArtifactError, InvalidRequestError
from model.images.contract import ImageContract
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from training.data.datasets import Dataset, Example
from training.data.loading import load_dataset
from training.data.training_data import check_training_data, load_training_dataset
from training.evaluation.calibration import mean_softmax
from training.evaluation.evaluate import decode_batches
from training.publish.calibrate import draw_evenly, open_with_logits

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
SIZE = 256
BATCH = 8


def draw_noise(number: int, generator: np.random.Generator) -> Pixels:
    """Per-pixel noise in colors, in gray, or around gray; or 8 to 64 squares per side in random colors, smoothed."""
    if number % 4 == 0:
        return generator.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    if number % 4 == 1:
        return generator.integers(0, 256, (SIZE, SIZE, 1), np.uint8).repeat(3, 2)
    if number % 4 == 2:
        values = 128 + generator.normal(0, generator.uniform(10, 60), (SIZE, SIZE, 3))
        return values.clip(0, 255).astype(np.uint8)
    num_squares = int(generator.choice([8, 16, 32, 64]))
    squares = Image.fromarray(generator.integers(0, 256, (num_squares, num_squares, 3), np.uint8))
    return np.asarray(squares.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def draw_text(number: int, generator: np.random.Generator) -> Pixels:
    """A page of random letters, dark on light or light on dark."""
    letters = [*string.ascii_letters, *"     .,"]
    paper, ink = ("#141414", "#ebebeb") if number % 2 else ("#fafafa", "#0a0a0a")
    image = Image.new("RGB", (SIZE, SIZE), paper)
    size = int(generator.integers(10, 30))
    for top in range(4, SIZE, int(1.3 * size)):
        line = "".join(generator.choice(letters, 60))
        ImageDraw.Draw(image).text((4, top), line, fill=ink, font=ImageFont.load_default(size))
    return np.asarray(image)


def draw_shapes(number: int, generator: np.random.Generator) -> Pixels:
    """One to eight rectangles, ellipses, polygons and lines in random colors."""

    def color() -> tuple[int, ...]:
        return tuple(int(value) for value in generator.integers(0, 256, 3))

    image = Image.new("RGB", (SIZE, SIZE), color() if number % 2 else (255, 255, 255))
    canvas = ImageDraw.Draw(image)
    for _ in range(int(generator.integers(1, 9))):
        points = [(int(x), int(y)) for x, y in generator.integers(0, SIZE, (4, 2))]
        box = [*map(min, zip(*points[:2], strict=True)), *map(max, zip(*points[:2], strict=True))]
        kind = generator.integers(0, 4)
        if kind == 0:
            canvas.rectangle(box, fill=color())
        elif kind == 1:
            canvas.ellipse(box, fill=color())
        elif kind == 2:
            canvas.polygon(points, fill=color())
        else:
            canvas.line(points, fill=color(), width=int(generator.integers(1, 12)))
    return np.asarray(image)


DRAWN: dict[str, Callable[[int, np.random.Generator], Pixels]] = {
    "noise": draw_noise,
    "text": draw_text,
    "drawings": draw_shapes,
}


class Outputs(NamedTuple):
    """Outputs for N images: logits (N, classes) and features (N, dim) of the center crop; largest probabilities (N,)
    and features of ten crops."""

    logits: Array
    features: Array
    ten_crop_confidence: Array
    ten_crop_features: Array


def run_network(model: OnnxModel, images: Sequence[Pixels], temperature: float, ten_crop: bool = True) -> Outputs:
    """Outputs for images (256, 256, 3); without `ten_crop`, only the fields of the center crop are meaningful."""
    parts = []
    for start in range(0, len(images), BATCH):
        batch = np.stack(images[start : start + BATCH])
        _, features, logits = model.run_with_logits(batch, CENTER_CROP)
        probabilities, ten_features = model.run(batch, TEN_CROP) if ten_crop else (logits[:, 0], features)
        parts.append((logits[:, 0] * np.float32(temperature), features, probabilities.max(1), ten_features))
    return Outputs(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def decode(files: Sequence[Path], contract: ImageContract) -> list[Pixels]:
    return [decode_image(read_image_file(str(file)), contract=contract).pixels for file in files]


def encode_and_decode(images: Sequence[Pixels], contract: ImageContract) -> list[Pixels]:
    """Encode images as PNG and decode them as a server does."""
    decoded = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        decoded.append(decode_image(buffer.getvalue(), contract=contract).pixels)
    return decoded


Score = Callable[[Outputs], Array]


def create_scores(training: Outputs, labels: NDArray[np.int64], familiarity: Familiarity) -> dict[str, Score]:
    """Scores from the center crop, higher for more familiar images."""
    unit = _unit(training.features)
    means = _unit(np.stack([unit[labels == label].mean(0) for label in np.unique(labels)]))
    few = unit[np.random.default_rng(0).permutation(len(unit))[:2000]]
    return {
        "familiarity": lambda o: familiarity.scores(o.features, 1),
        "largest probability": lambda o: mean_softmax(o.logits[:, None], 1.0).max(1),
        "largest logit": lambda o: o.logits.max(1),
        "energy": lambda o: o.logits.max(1) + np.log(np.exp(o.logits - o.logits.max(1, keepdims=True)).sum(1)),
        "feature length": lambda o: np.linalg.norm(o.features, axis=1),
        "deviation of the feature length": lambda o: (
            -np.abs(familiarity.measure(o.features)[0] - familiarity.references[1].log_length_stats[0])
        ),
        "nearest class mean, cosine": lambda o: (_unit(o.features) @ means.T).max(1),
        "nearest class mean, Mahalanobis": lambda o: -familiarity.measure(o.features)[1],
        "5th of 2,000 nearest neighbors": lambda o: np.sort(_unit(o.features) @ few.T, axis=1)[:, -5],
    }


def _unit(features: Array) -> Array:
    unit: Array = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    return unit


def compute_auroc(familiar: Array, others: Array) -> float:
    """Area under the ROC curve: 1 if every familiar image has a higher score than every other, 0.5 by chance."""
    truth = np.concatenate([np.ones(len(familiar)), np.zeros(len(others))])
    return round(float(roc_auc_score(truth, np.concatenate([familiar, others]))), 4)


def measure(
    familiar: Outputs, others: Mapping[str, Outputs], scores: Mapping[str, Score], familiarity: Familiarity
) -> dict[str, object]:
    """Areas by score and kind, and the fractions of images that are called unfamiliar."""

    def measure_unfamiliar(outputs: Outputs, crops: int) -> float:
        features = outputs.features if crops == 1 else outputs.ten_crop_features
        quantiles = np.array([familiarity.quantile(feature, crops) for feature in features], np.float64)
        return round(float((quantiles < UNFAMILIAR_QUANTILE).mean()), 4)

    def score_ten_crops(outputs: Outputs) -> Array:
        return familiarity.scores(outputs.ten_crop_features, 10)

    return {
        "images": {"familiar": len(familiar.logits)} | {kind: len(other.logits) for kind, other in others.items()},
        "auroc_center_crop": {
            name: {kind: compute_auroc(score(familiar), score(other)) for kind, other in others.items()}
            for name, score in scores.items()
        },
        "auroc_ten_crops": {
            "familiarity": {
                kind: compute_auroc(score_ten_crops(familiar), score_ten_crops(other)) for kind, other in others.items()
            },
            "largest probability": {
                kind: compute_auroc(familiar.ten_crop_confidence, other.ten_crop_confidence)
                for kind, other in others.items()
            },
        },
        "called_unfamiliar": {
            f"{crops} crops" if crops > 1 else "center crop": {"familiar": measure_unfamiliar(familiar, crops)}
            | {kind: measure_unfamiliar(other, crops) for kind, other in others.items()}
            for crops in (1, 10)
        },
    }


def draw_test_images(dataset: Dataset, count: int, generator: np.random.Generator) -> list[Example]:
    """Draw at most `count` test images at random. Raises InvalidRequestError if there are none."""
    if not dataset.test:
        raise InvalidRequestError(f"{dataset.name} has no test images: choose data with a test split")
    return [dataset.test[row] for row in generator.permutation(len(dataset.test))[:count]]


def read_others(
    artifact: Artifact, other: Sequence[str], gallery: bool, max_images: int, generator: np.random.Generator
) -> dict[str, list[Pixels]]:
    """Images of other kinds, by kind. Raises InvalidRequestError."""
    contract = artifact.image_contract
    kinds = {
        kind: encode_and_decode([draw(number, generator) for number in range(max_images)], contract)
        for kind, draw in DRAWN.items()
    }
    for text in other:
        kind, _, source = text.partition("=")
        if not source:
            raise InvalidRequestError(f"invalid --other {text!r}: write it like photos=FOLDER")
        examples = draw_test_images(load_dataset(source), max_images, generator)
        kinds[kind] = decode([example.path for example in examples], contract)
    if gallery:
        rows = [row for row in read_gallery() if not row["class_of_photos"] and row["license"] != GROCERY_LICENSE]
        drawn = [GALLERY / rows[number]["path"] for number in generator.permutation(len(rows))[:max_images]]
        kinds["photographs of other classes"] = decode(drawn, contract)
    return kinds


def main(
    artifact: Annotated[Path, typer.Option(help="Artifact with familiarity data.")],
    data: DataOption,
    name: Annotated[str, typer.Option(help="Name in the result file: familiarity-NAME-DATE.json.")],
    other: Annotated[
        list[str] | None, typer.Option(help="KIND=DATA: test images of other data; may be repeated.")
    ] = None,
    gallery: Annotated[
        bool, typer.Option("--gallery", help="Gallery photographs that show none of the classes of photos.")
    ] = False,
    max_images: Annotated[
        int, typer.Option(min=1, help="Maximum images per kind; of familiar ones, twice as many.")
    ] = 240,
    max_training_images: Annotated[
        int, typer.Option(min=1, help="Maximum training images for the other scores.")
    ] = 3000,
    output: command.OutputOption = command.RESULTS,
) -> None:
    """Measure how well a network tells images of its own kind from others."""
    loaded = artifacts.load(artifact)
    familiarity, calibration = read_familiarity(loaded), loaded.manifest.calibration
    if familiarity is None or calibration is None:
        raise ArtifactError(f"{artifact} has no familiarity data: add it with `alexnet calibrate`")
    dataset, generator = load_training_dataset(loaded, data, None), np.random.default_rng(0)
    check_training_data(loaded, dataset, data)
    drawn = draw_test_images(dataset, 2 * max_images, generator)
    kinds = read_others(loaded, other or [], gallery, max_images, generator)
    training = draw_evenly(dataset.train, max_training_images)
    with open_with_logits(loaded.network_path) as model:
        images, _ = _decode_examples(drawn, loaded)
        familiar = run_network(model, images, calibration.temperature)
        others = {kind: run_network(model, pixels, calibration.temperature) for kind, pixels in kinds.items()}
        images, labels = _decode_examples(training, loaded)
        training_outputs = run_network(model, images, calibration.temperature, ten_crop=False)
    result = {
        "network": f"{loaded.manifest.name} version {loaded.manifest.version}, {loaded.network_sha256}",
        "data": name,
        "training_images_of_other_scores": len(labels),
        **measure(familiar, others, create_scores(training_outputs, labels, familiarity), familiarity),
    }
    target = output / f"familiarity-{name}-{today()}.json"
    write_report(target, result)
    typer.echo(f"{json.dumps(result, indent=1)}\nwritten: {target}")


def _decode_examples(examples: Sequence[Example], artifact: Artifact) -> tuple[list[Pixels], NDArray[np.int64]]:
    batches = list(decode_batches(examples, artifact.image_contract))
    return [image for batch in batches for image in batch.images], np.concatenate([batch.labels for batch in batches])


if __name__ == "__main__":
    command.run(main)
