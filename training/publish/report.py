"""A run as one self-contained page, `report.html` in its folder. `alexnet report RUN` writes it again."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.weights import read_weights
from model.exceptions import DatasetError
from model.runtime import OnnxModel
from training.data.cache import ImageCache, batches, build_cache
from training.data.datasets import Dataset
from training.data.loading import load_dataset
from training.evaluation.evaluate import BATCH_SIZE, Predictions, predict
from training.loop.metrics import read_metrics
from training.loop.run_directory import RunDirectory
from training.publish import figures

REPORT = "report.html"
NUM_SAMPLES = 8
"""Images shown with their predictions, and as many of the worst mistakes."""
MAX_MATRIX_CLASSES = 1000
"""Largest confusion matrix that is drawn: one of ten thousand classes takes gigabytes, and nobody could read it."""
NUM_CONFUSIONS = 10
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1a1a1a }
img { max-width: 100%; height: auto } table { border-collapse: collapse; margin: 1rem 0 }
td, th { border-bottom: 1px solid #ddd; padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top }
pre { background: #f5f5f5; overflow-x: auto; padding: 1rem; font-size: .85rem } h2 { margin-top: 2.5rem }
"""


def predict_split(
    model: OnnxModel, dataset: Dataset, cache: ImageCache, split: str, ten_crop: bool = True
) -> Predictions:
    """Run a served network on one split of a dataset, out of its cache. Raises DatasetError."""
    rows = cache.rows(dataset, split)
    labels = np.array([example.label for example in dataset.examples])
    cached = ((cache.images.read(batch), labels[batch]) for batch in batches(rows, BATCH_SIZE))
    return predict(model, cached, len(rows), ten_crop)


def rewrite_report(run: Path, artifact: Path | None = None) -> Path:
    """Measure the artifact of a run again and write its report again; its path.

    `artifact`: by default the newest of the run's name. Raises AlexNetError.
    """
    config = RunDirectory(run).read_config()
    environment = config.environment
    loaded = artifacts.load(artifact or environment.artifacts_folder / config.run.name)
    dataset = load_dataset(environment.data, config.run.seed, environment.archive)
    if loaded.labels != dataset.labels:
        raise DatasetError(f"the classes of {environment.data} differ from those of {loaded.path}")
    cache = build_cache(dataset, environment.cache_folder, config.run.cache_format)
    model = OnnxModel(loaded.network)
    predictions = predict_split(model, dataset, cache, dataset.held_out_split, environment.crops == "10")
    return write_report(run, loaded, dataset, cache, predictions)


def write_report(
    folder: Path, artifact: Artifact, dataset: Dataset, cache: ImageCache, predictions: Predictions
) -> Path:
    """Write the report of a run into its folder; its path. `predictions`: of the held-out split, in its order."""
    rows = cache.rows(dataset, dataset.held_out_split)
    names = [label.name for label in dataset.labels]
    labels, probabilities = predictions.labels, predictions.best
    predicted = probabilities.argmax(1)
    records = read_metrics(folder)
    sample = np.random.default_rng(0).permutation(len(rows))[:NUM_SAMPLES]
    mistakes = np.flatnonzero(predicted != labels)
    worst = mistakes[np.argsort(-probabilities[mistakes, predicted[mistakes]], kind="stable")][:NUM_SAMPLES]
    spec, weights = read_weights(artifact)
    kernels = weights[f"{spec.convolutions[0].name}.weight"].transpose(0, 2, 3, 1)

    def draw(places: NDArray[np.int64]) -> Figure:
        images = list(cache.images.read(rows[places]))
        return figures.draw_predictions(images, labels[places].tolist(), probabilities[places], names)

    sections = [("Errors", _error_table(artifact))]
    if records:
        sections.append(("Curves", _image(figures.draw_curves(records), "loss, error and learning rate by epoch")))
    sections.append((f"{len(sample)} held-out images", _image(draw(sample), "images with their five classes")))
    if len(worst):
        sections.append(("Worst mistakes", _image(draw(worst), "wrong predictions with the highest confidence")))
    confusions = _confusion_table(labels, predicted, names)
    if len(names) <= MAX_MATRIX_CLASSES:
        confusions = _image(figures.draw_confusion(labels, predicted, names), "confusion matrix") + confusions
    sections += [
        ("Most frequent confusions", confusions),
        ("Kernels of conv1", _image(figures.draw_kernels(kernels, spec.towers), "kernels, those of a tower together")),
        ("Training", f"<pre>{escape(json.dumps(artifact.manifest.training, indent=1))}</pre>"),
    ]
    target = folder / REPORT
    target.write_text(_page(artifact, len(records), sections), encoding="utf-8")
    return target


def _page(artifact: Artifact, epochs: int, sections: list[tuple[str, str]]) -> str:
    manifest = artifact.manifest
    title = f"{manifest.name} version {manifest.version}"
    body = "".join(f"<section><h2>{escape(heading)}</h2>{content}</section>" for heading, content in sections)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{escape(title)}</h1>'
        f"<p>{manifest.parameters:,} parameters, {manifest.num_classes:,} classes; {epochs} epochs; "
        f"network sha256 {artifact.network_sha256[:16]}…; license: {escape(manifest.license)}.</p>{body}</html>\n"
    )


def _error_table(artifact: Artifact) -> str:
    lines = ["<table><tr><th>split<th>crops<th>top-1 error<th>top-5 error<th>accuracy of groups</tr>"]
    for m in artifact.manifest.measurements:
        groups = "<br>".join(f"{escape(name)}: {100 * accuracy:.2f} %" for name, accuracy in m.groups.items())
        lines.append(
            f"<tr><td>{escape(m.split)}, {m.num_images:,} images<td>{m.crops}<td>{100 * m.top1_error:.2f} %"
            f"<td>{100 * m.top5_error:.2f} %<td>{groups}</tr>"
        )
    return "".join(lines) + "</table>"


def _confusion_table(labels: NDArray[np.int64], predicted: NDArray[np.int64], names: list[str]) -> str:
    """The pairs of classes that are confused most often."""
    wrong = labels != predicted
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]], 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:NUM_CONFUSIONS]
    lines = [f"<tr><td>{escape(names[pairs[i, 0]])}<td>{escape(names[pairs[i, 1]])}<td>{counts[i]}</tr>" for i in order]
    return f"<table><tr><th>true<th>predicted<th>images</tr>{''.join(lines)}</table>"


def _image(figure: Figure, description: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'
