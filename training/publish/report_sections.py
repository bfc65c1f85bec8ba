"""The sections of a report, as HTML: what the network got right and wrong, how it was trained, and on which images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Artifact, Measurement
from model.artifacts.intervals import format_interval, wilson_interval
from model.artifacts.weights import read_weights
from model.datasets.listing import describe_reasons
from model.datasets.names import path_formatter
from model.images.contract import ImageContract
from model.plurals import count_of
from model.runtime import top_k
from training.config import TrainConfig
from training.data.cache import ImageCache
from training.data.data_check import DataCheck
from training.data.data_warnings import describe_shortcuts
from training.data.datasets import Dataset
from training.evaluation.per_class import ClassMeasurement, measure_classes
from training.evaluation.predictions import Predictions
from training.loop.metrics import read_metrics
from training.optim.range_test import read_range_test
from training.publish import figures
from training.publish.calibrate import describe_calibration
from training.publish.page import (
    Guess,
    card,
    cards,
    command,
    details,
    facts,
    paragraph,
    percent,
    section,
    table,
    themed_figure,
)
from training.publish.summary import RunSummary, format_baseline, format_duration

NUM_SAMPLES, NUM_MISTAKES = 12, 24
"""Images shown with their predictions: some drawn at random, and the mistakes with the highest confidence."""
NUM_GUESSES = 5
MAX_MATRIX_CLASSES = 1000
"""Largest confusion matrix that is drawn: one of ten thousand classes takes gigabytes, and nobody could read it."""
NUM_CONFUSIONS = 10
NUM_CLASSES = 100
"""Classes in the table, those with the lowest recall; all are in per_class.csv."""
NUM_SKIPPED = 100
"""Skipped files that are named."""


def list_sections(
    summary: RunSummary,
    config: TrainConfig,
    folder: Path,
    dataset: Dataset,
    cache: ImageCache,
    predictions: Predictions,
) -> list[str]:
    """All sections in their order; those without content are empty. See `training.publish.report.write_report`."""
    artifact, names = summary.artifact, [label.name for label in dataset.labels]
    gallery = _Gallery(predictions, names, cache, cache.rows(dataset, summary.split), artifact.image_contract)
    classes = measure_classes(predictions.predicted, predictions.labels, dataset.labels)
    return [
        *_first_screen(summary, config, folder),
        section("Next", "".join(paragraph(f"To {what}:") + command(line) for what, line in summary.commands)),
        section("Errors", _error_table(artifact) + paragraph(describe_calibration(artifact.manifest))),
        section("Was training worth it?", _baseline_section(summary)),
        section("Mistakes", _mistakes(gallery, predictions)),
        section("Confusions", _confusions(predictions, names)),
        section("Classes", _class_table(classes, summary.check)),
        section(f"{gallery.sample_size} held-out images", gallery.show_sample()),
        section("Training", _training_section(artifact, folder)),
        section("Images", _images_section(summary.check)),
    ]


def _first_screen(summary: RunSummary, config: TrainConfig, folder: Path) -> list[str]:
    """Title, the result in a sentence, facts, and warnings."""
    manifest = summary.artifact.manifest
    training = manifest.training
    sizes = ", ".join(f"{count:,} {split}" for split, count in summary.check.summary.splits.items())
    skipped = summary.check.summary.skipped
    start = training.get("initialized_from") or "random initial weights"
    pairs = (
        ("Images", f"{summary.check.summary.num_used:,} used: {sizes}"),
        ("Skipped", describe_reasons(skipped) or "nothing"),
        ("Classes", f"{manifest.num_classes:,}, {_class_sizes(summary.check)}"),
        ("Started from", str(start)),
        ("Recipe", f"{config.recipe.name}, learning rate {config.recipe.learning_rate:g}"),
        ("Trained", f"{_length(summary, config)}; {training.get('precision', '')} on {training.get('device', '')}"),
        *((("Packed", _packing(training["packing"])),) if "packing" in training else ()),
        ("License", manifest.license),
        ("Folder", str(folder)),
    )
    return [
        f"<h1>{escape(manifest.name)} version {manifest.version}</h1>",
        paragraph(f"training report, {manifest.created:%Y-%m-%d %H:%M} UTC", "kind"),
        paragraph(summary.result, "result"),
        paragraph(summary.verdict) if summary.verdict else "",
        paragraph(summary.doubt, "warning") if summary.doubt else "",
        facts(pairs),
        *(paragraph(warning[:1].upper() + warning[1:], "warning") for warning in summary.check.warnings),
    ]


def _length(summary: RunSummary, config: TrainConfig) -> str:
    """How long the network was trained, and which epoch was published if it isn't the last one."""
    if not config.recipe.has_epochs and not summary.epochs:
        return "no epochs: only the output layer was fitted"
    training = summary.artifact.manifest.training
    steps = training.get("published_steps")
    if steps and not summary.epochs:
        return f"{count_of(steps, 'step')} of the first epoch"
    length = f"{count_of(summary.epochs, 'epoch')} in {format_duration(summary.seconds)}"
    if steps:
        length += f", and {count_of(steps, 'step')} of the next"
    elif training.get("published_epoch") not in (None, summary.epochs):
        length += f"; published: epoch {training['published_epoch']}"
        length += ", the one with the lowest validation error" if config.environment.publish == "best" else ""
    return length


def _packing(packing: dict[str, Any]) -> str:
    """How the network was packed. `packing`: what `alexnet pack` wrote to the manifest."""
    kept = ", ".join(f"{100 * share:.3g} % of {layer}" for layer, share in packing["density"].items())
    epochs = packing["epochs"]
    after = f"; then {count_of(epochs, 'epoch')} at learning rate {packing['learning_rate']:g}" if epochs else ""
    return f"weights kept: {kept}{after}" + (", and a quarter as many at a tenth of it" if epochs >= 4 else "")


def _class_sizes(check: DataCheck) -> str:
    """How many training images the classes have."""
    counts = sorted((size.train, size.label.name) for size in check.sizes)
    if counts[0][0] == counts[-1][0]:
        return f"{counts[0][0]:,} training images each"
    return f"from {counts[0][0]:,} training images ({counts[0][1]}) to {counts[-1][0]:,} ({counts[-1][1]})"


class _Gallery:
    """Shows held-out images with the network's predictions."""

    def __init__(
        self,
        predictions: Predictions,
        names: Sequence[str],
        cache: ImageCache,
        rows: NDArray[np.int64],
        contract: ImageContract,
    ) -> None:
        self.predictions, self.names, self.cache, self.rows = predictions, names, cache, rows
        self.files = list(map(path_formatter(predictions.files), predictions.files))
        self.sample_size = min(NUM_SAMPLES, len(rows))
        self.caption = _caption(contract)

    def show(self, places: Sequence[int] | NDArray[np.int64]) -> str:
        """Cards of the images at these places of the predictions."""
        pixels = self.cache.images.read(self.rows[places])
        shown = cards(self._card(place, image) for place, image in zip(places, pixels, strict=True))
        return paragraph(self.caption, "faint") + shown

    def show_sample(self) -> str:
        """Cards of images that are drawn at random."""
        return self.show(np.random.default_rng(0).permutation(len(self.rows))[: self.sample_size])

    def _card(self, place: int, pixels: NDArray[np.uint8]) -> str:
        probabilities, label = self.predictions.probabilities[place], int(self.predictions.labels[place])
        guesses = [
            Guess(self.names[c], float(probabilities[c]), c == label)
            for c in top_k(probabilities, min(NUM_GUESSES, len(self.names)))
        ]
        return card(pixels, self.names[label], guesses, self.files[place])


def _caption(contract: ImageContract) -> str:
    """How the images differ from their files."""
    square = "Images are shown as the network sees them: the center square"
    if contract.detail is None:
        return f"{square}."
    return f"{square}, reduced to {contract.detail} pixels and enlarged again. The files are sharper."


def _error_table(artifact: Artifact) -> str:
    measurements = artifact.manifest.measurements
    groups = list(dict.fromkeys(name for m in measurements for name in m.groups))
    rows = [
        (
            f"{m.split}, {count_of(m.num_images, 'image')}",
            f"{m.crops}",
            m.precision,
            percent(m.top1_error, m.top1_interval),
            percent(m.top5_error, m.top5_interval),
            percent(m.balanced_accuracy, m.balanced_accuracy_interval),
            *(_group_accuracy(m, name) for name in groups),
        )
        for m in measurements
    ]
    errors = ("top-1 error", "top-5 error", "balanced accuracy", *(f"accuracy by {name}" for name in groups))
    note = (
        "In parentheses: 95 % intervals, which account only for sampling error. Balanced accuracy is the mean of the "
        "classes' recalls."
    )
    return table(("images", "crops", "precision", *errors), rows) + paragraph(note, "faint")


def _group_accuracy(measurement: Measurement, name: str) -> str:
    accuracy = measurement.groups.get(name)
    return "" if accuracy is None else percent(accuracy, wilson_interval(accuracy, measurement.num_images))


def _baseline_section(summary: RunSummary) -> str:
    """The network beside baselines."""
    network = summary.measured
    low, high = summary.interval
    first = (
        f"this network, {count_of(network.crops, 'crop')}",
        f"{100 * (1 - network.top1_error):.1f} % ({format_interval((low, high))})",
        f"{summary.artifact.manifest.training['images']['train']:,}",
        f"{network.num_images:,}",
    )
    rows = [first, *(format_baseline(baseline) for baseline in summary.baselines)]
    note = "The baselines are measured on the center crop; with many images, some use a random sample."
    return table(("method", "accuracy", "training images", "measured on"), rows) + paragraph(note, "faint")


def _mistakes(gallery: _Gallery, predictions: Predictions) -> str:
    """The mistakes with the highest confidence."""
    mistakes = predictions.mistakes
    if not len(mistakes):
        return ""
    count = f"{len(mistakes):,} of {count_of(len(predictions.labels), 'image')}"
    shown = "all" if len(mistakes) <= NUM_MISTAKES else f"the {NUM_MISTAKES} with the highest confidence"
    text = f"{count}; shown: {shown}. All are in predictions.csv. Below an image is its true class; "
    text += "its bar, if shown, is pink."
    return paragraph(text) + gallery.show(mistakes[:NUM_MISTAKES])


def _confusions(predictions: Predictions, names: Sequence[str]) -> str:
    """The confusion matrix, and the pairs of classes that are confused most often."""
    labels, predicted = predictions.labels, predictions.predicted
    wrong = labels != predicted
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]], 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:NUM_CONFUSIONS]
    rows = [(names[pairs[i, 0]], names[pairs[i, 1]], f"{counts[i]:,}") for i in order]
    matrix = ""
    if len(names) <= MAX_MATRIX_CLASSES:
        confusion = predictions.confusion()
        matrix = themed_figure(lambda: figures.draw_confusion_matrix(confusion, names), "confusion matrix")
    return matrix + table(("true", "predicted", "images"), rows)


def _class_table(measured: Sequence[ClassMeasurement], check: DataCheck) -> str:
    """Images, precision, recall and F1 of the classes, those with the lowest recall first."""
    training = {size.label.id: size.train for size in check.sizes}
    shown = sorted(measured, key=lambda m: (m.recall is None, m.recall))[:NUM_CLASSES]
    rows = [
        (
            m.label.name,
            f"{training[m.label.id]:,}",
            f"{m.num_images:,}",
            percent(m.precision),
            percent(m.recall, m.recall_interval) if m.num_images else "",
            percent(m.f1),
        )
        for m in shown
    ]
    titles = ("class", "training images", "held-out images", "precision", "recall", "F1")
    which = f"The {len(shown):,} classes with the lowest recall" if len(shown) < len(measured) else "All classes"
    return table(titles, rows) + paragraph(f"{which}; per_class.csv has the same numbers for all.", "faint")


def _training_section(artifact: Artifact, folder: Path) -> str:
    """Curves, range test, kernels, and everything that the manifest records."""
    records, test = read_metrics(folder), read_range_test(folder)
    parts = []
    if records:
        parts.append(themed_figure(lambda: figures.draw_curves(records), "loss, error and learning rate by epoch"))
    if test is not None:
        best_rate = "none was found" if test.best_rate is None else f"{test.best_rate:g} was found"
        parts.append(paragraph(f"Learning rate range test: {best_rate} in {len(test.rates)} steps."))
        parts.append(themed_figure(lambda: figures.draw_range_test(test), "loss by learning rate"))
    spec, weights = read_weights(artifact)
    kernels = weights[f"{spec.convolutions[0].name}.weight"].transpose(0, 2, 3, 1)
    drawn = themed_figure(lambda: figures.draw_kernels(kernels, spec.towers), "kernels, grouped by tower")
    values = f"<pre>{escape(json.dumps(artifact.manifest.training, indent=1))}</pre>"
    return "".join([*parts, details("Kernels of the first layer", drawn), details("All settings, as JSON", values)])


def _images_section(check: DataCheck) -> str:
    """What was read and left out."""
    text = f"<pre>{escape(str(check.summary))}</pre>"
    if check.shortcuts is not None:
        text += paragraph(f"{describe_shortcuts(check.shortcuts)}.")
    if not check.skipped:
        return text
    listed = "\n".join(str(entry) for entry in check.skipped[:NUM_SKIPPED])
    more = len(check.skipped) - NUM_SKIPPED
    listed += f"\nand {more:,} more: --list-skipped FILE writes all" if more > 0 else ""
    return text + details(f"{len(check.skipped):,} skipped", f"<pre>{escape(listed)}</pre>")
