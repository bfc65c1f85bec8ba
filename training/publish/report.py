"""A run as one self-contained page, `report.html` in its folder. `alexnet report RUN` writes it again."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.intervals import Interval, format_interval, wilson_interval
from model.artifacts.weights import read_weights
from model.exceptions import DatasetError
from model.runtime import OnnxModel
from training.data.cache import ImageCache, batches
from training.data.data_check import DataCheck, check_images
from training.data.data_warnings import describe_shortcuts
from training.data.datasets import Dataset
from training.data.loading import load_dataset
from training.evaluation.evaluate import BATCH_SIZE, LabeledBatch, predict
from training.evaluation.per_class import ClassMeasurement, measure_classes
from training.evaluation.predictions import Predictions, write_tables
from training.loop.metrics import read_metrics
from training.loop.run_directory import RunDirectory
from training.loop.setup import open_cache
from training.optim.range_test import read_range_test
from training.publish import figures

REPORT = "report.html"
NUM_SAMPLES = 8
"""Images shown with their predictions, and as many of the worst mistakes."""
MAX_MATRIX_CLASSES = 1000
"""Largest confusion matrix that is drawn: one of ten thousand classes takes gigabytes, and nobody could read it."""
NUM_CONFUSIONS = 10
NUM_MISTAKES = 30
"""Mistakes that are listed with the names of their files; all are in predictions.csv."""
NUM_CLASSES = 100
"""Classes in the table, those with the lowest recall; all are in per_class.csv."""
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
    examples = dataset.examples

    def read(batch: NDArray[np.int64]) -> LabeledBatch:
        files, labels, _ = zip(*(examples[row] for row in batch), strict=True)
        return LabeledBatch(cache.images.read(batch), np.array(labels), files)

    return predict(model, map(read, batches(rows, BATCH_SIZE)), len(rows), ten_crop)


def rewrite_report(run: Path, artifact: Path | None = None) -> Path:
    """Measure the artifact of a run again and write its report again; its path.

    `artifact`: by default the newest of the run's name. Raises AlexNetError.
    """
    config = RunDirectory(run).read_config()
    environment = config.environment
    loaded = artifacts.load(artifact or environment.artifacts_folder / config.run.name)
    dataset = load_dataset(environment.data, config.run.seed, environment.archive, environment.exclude)
    if loaded.labels != dataset.labels:
        raise DatasetError(f"the classes of {environment.data} differ from those of {loaded.path}")
    cache = open_cache(config, dataset)
    model = OnnxModel(loaded.network)
    predictions = predict_split(model, dataset, cache, dataset.held_out_split, environment.crops == "10")
    return write_report(run, loaded, dataset, cache, predictions)


def write_report(
    folder: Path, artifact: Artifact, dataset: Dataset, cache: ImageCache, predictions: Predictions
) -> Path:
    """Write report.html, predictions.csv and per_class.csv of a run into its folder; the path of the report.

    `predictions`: of the held-out split, in its order.
    """
    rows = cache.rows(dataset, dataset.held_out_split)
    names = [label.name for label in dataset.labels]
    labels, predicted = predictions.labels, predictions.predicted
    write_tables(folder, predictions, dataset.labels)
    records = read_metrics(folder)
    sample = np.random.default_rng(0).permutation(len(rows))[:NUM_SAMPLES]
    mistakes = predictions.mistakes
    spec, weights = read_weights(artifact)
    kernels = weights[f"{spec.convolutions[0].name}.weight"].transpose(0, 2, 3, 1)

    def draw(places: NDArray[np.int64]) -> Figure:
        images = list(cache.images.read(rows[places]))
        files = [Path(predictions.files[place]).name for place in places]
        return figures.draw_predictions(images, labels[places].tolist(), predictions.best[places], names, files)

    sections = [("Errors", _error_table(artifact))]
    if records:
        sections.append(("Curves", _image(figures.draw_curves(records), "loss, error and learning rate by epoch")))
    if (test := read_range_test(folder)) is not None:
        sections.append(("Range test", _image(figures.draw_range_test(test), "loss by learning rate")))
    sections.append((f"{len(sample)} held-out images", _image(draw(sample), "images with their five classes")))
    if len(mistakes):
        worst = _image(draw(mistakes[:NUM_SAMPLES]), "wrong predictions with the highest confidence")
        sections.append(("Worst mistakes", worst + _mistake_table(predictions, names)))
    sections.append(("Classes", _class_table(measure_classes(predicted, labels, dataset.labels))))
    confusions = _confusion_table(labels, predicted, names)
    if len(names) <= MAX_MATRIX_CLASSES:
        confusions = _image(figures.draw_confusion(labels, predicted, names), "confusion matrix") + confusions
    sections += [
        ("Images", _check_text(check_images(dataset, cache.traits, cache.skipped, cache.copies))),
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
    rows = []
    for m in artifact.manifest.measurements:
        groups = [
            f"{escape(name)}: {_percent(accuracy, wilson_interval(accuracy, m.num_images))}"
            for name, accuracy in m.groups.items()
        ]
        rows.append(
            (
                f"{escape(m.split)}, {m.num_images:,} images",
                f"{m.crops}",
                _percent(m.top1_error, m.top1_interval),
                _percent(m.top5_error, m.top5_interval),
                _percent(m.balanced_accuracy, m.balanced_accuracy_interval),
                "<br>".join(groups),
            )
        )
    titles = ("split", "crops", "top-1 error", "top-5 error", "balanced accuracy", "accuracy of groups")
    return (
        _table(titles, rows) + "<p>In parentheses: 95 % intervals (Wilson), as far as the number of images tells. "
        "Balanced accuracy is the mean of the classes' recalls. With five classes or fewer there is no top-5 error.</p>"
    )


def _check_text(check: DataCheck) -> str:
    """What was read and left out, and what the numbers of the report may be wrong by."""
    summary = f"<pre>{escape(str(check.summary))}</pre>"
    if check.shortcuts is not None:
        summary += f"<p>{escape(describe_shortcuts(check.shortcuts))}.</p>"
    return summary + "".join(f"<p><strong>Warning:</strong> {escape(warning)}.</p>" for warning in check.warnings)


def _class_table(measured: Sequence[ClassMeasurement]) -> str:
    """Precision, recall and F1 of the classes, those with the lowest recall first."""
    shown = sorted(measured, key=lambda m: (m.recall is None, m.recall))[:NUM_CLASSES]
    rows = [
        (
            escape(m.label.name),
            f"{m.num_images:,}",
            _percent(m.precision),
            _percent(m.recall, m.recall_interval),
            _percent(m.f1),
        )
        for m in shown
    ]
    which = f"The {len(shown):,} classes with the lowest recall" if len(shown) < len(measured) else "All classes"
    table = _table(("class", "images", "precision", "recall", "F1"), rows)
    return f"{table}<p>{which}; per_class.csv has the same numbers of all.</p>"


def _mistake_table(predictions: Predictions, names: Sequence[str]) -> str:
    """The most confident mistakes with the names of their files."""
    folder = os.path.commonpath([Path(file).parent for file in predictions.files])
    rows = [
        (
            f"{escape(os.path.relpath(predictions.files[place], folder))}",
            escape(names[predictions.labels[place]]),
            escape(names[predictions.predicted[place]]),
            _percent(float(predictions.best[place].max())),
        )
        for place in predictions.mistakes[:NUM_MISTAKES]
    ]
    table = _table(("file", "true", "predicted", "probability"), rows)
    count = f"{len(predictions.mistakes):,} of {len(predictions.labels):,} images"
    return f"{table}<p>{count} are mistaken; all are in predictions.csv.</p>"


def _confusion_table(labels: NDArray[np.int64], predicted: NDArray[np.int64], names: Sequence[str]) -> str:
    """The pairs of classes that are confused most often."""
    wrong = labels != predicted
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]], 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:NUM_CONFUSIONS]
    rows = [(escape(names[pairs[i, 0]]), escape(names[pairs[i, 1]]), f"{counts[i]}") for i in order]
    return _table(("true", "predicted", "images"), rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; the cells are HTML."""
    head = "".join(f"<th>{title}" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{cell}' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _percent(share: float | None, interval: Interval | None = None) -> str:
    """A share in percent with its interval; empty if it is None."""
    if share is None:
        return ""
    return f"{100 * share:.2f} %" + ("" if interval is None else f" ({format_interval(interval)})")


def _image(figure: Figure, description: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'
