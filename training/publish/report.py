"""A run as one page: `report.html` in its folder, self-contained. Also `alexnet report RUN`."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.artifacts.artifact import Artifact
from model.artifacts.weights import read_weights
from model.exceptions import DatasetError
from training.data.cache import ImageCache
from training.data.datasets import Dataset
from training.evaluation.evaluate import Predictions
from training.loop import metrics
from training.publish import figures

REPORT = "report.html"
SHOWN = 8
MOST_IN_MATRIX = 1000
"""Classes: a matrix of ten thousand is gigabytes, and nobody could read it."""
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1a1a1a }
img { max-width: 100%; height: auto } table { border-collapse: collapse; margin: 1rem 0 }
td, th { border-bottom: 1px solid #ddd; padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top }
pre { background: #f5f5f5; overflow-x: auto; padding: 1rem; font-size: .85rem } h2 { margin-top: 2.5rem }
"""


def write(
    run: Path,
    artifact: Artifact,
    dataset: Dataset,
    cache: ImageCache,
    rows: NDArray[np.int64],
    predictions: Predictions,
) -> Path:
    """Write the report of a run; `rows` of the cache are the images of `predictions`, in order."""
    names = [label.name for label in dataset.labels]
    truth, probabilities = predictions.labels, predictions.best
    named = probabilities.argmax(1)
    records = metrics.read(run)
    shown = np.random.default_rng(0).permutation(len(rows))[:SHOWN]
    mistaken = np.flatnonzero(named != truth)
    worst = mistaken[np.argsort(-probabilities[mistaken, named[mistaken]], kind="stable")][:SHOWN]
    architecture, weights = read_weights(artifact)

    def sample(chosen: NDArray[np.int64]) -> Figure:
        images = list(cache.images.read(rows[chosen]))
        return figures.answers(images, truth[chosen].tolist(), probabilities[chosen], names)

    sections = [("Errors", _errors(artifact))]
    if records:
        sections.append(("Curves", _image(figures.curves(records), "loss, error and learning rate by epoch")))
    sections.append((f"{len(shown)} images held out", _image(sample(shown), "images with their five classes")))
    if len(worst):
        sections.append(("Worst mistakes", _image(sample(worst), "images named wrongly with most confidence")))
    taken = _confusions(truth, named, names)
    if len(names) <= MOST_IN_MATRIX:
        taken = _image(figures.confusion(truth, named, names), "confusion matrix") + taken
    sections += [
        ("What is taken for what", taken),
        ("Kernels of conv1", _image(figures.kernels(weights, architecture), "kernels, a row of them a tower")),
        ("How it was made", f"<pre>{escape(json.dumps(artifact.manifest.training, indent=1))}</pre>"),
    ]
    manifest = artifact.manifest
    title = f"{manifest.name} version {manifest.version}"
    body = "".join(f"<section><h2>{escape(heading)}</h2>{content}</section>" for heading, content in sections)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{escape(title)}</h1>'
        f"<p>{manifest.parameters:,} parameters, {manifest.classes:,} classes; {len(records)} epochs; "
        f"network sha256 {artifact.network_sha256[:16]}…; license: {escape(manifest.license)}.</p>{body}</html>\n"
    )
    target = run / REPORT
    target.write_text(page, encoding="utf-8")
    return target


def _errors(artifact: Artifact) -> str:
    lines = ["<table><tr><th>on<th>crops<th>top-1 error<th>top-5 error<th>groups, right</tr>"]
    for m in artifact.manifest.measurements:
        groups = "<br>".join(f"{escape(name)}: {100 * right:.2f} %" for name, right in m.groups.items())
        lines.append(
            f"<tr><td>{escape(m.split)}, {m.images:,} images<td>{m.crops}<td>{100 * m.top1_error:.2f} %"
            f"<td>{100 * m.top5_error:.2f} %<td>{groups}</tr>"
        )
    return "".join(lines) + "</table>"


def _confusions(truth: NDArray[np.int64], named: NDArray[np.int64], names: list[str]) -> str:
    """The pairs that are taken for each other most often."""
    wrong = truth != named
    pairs, counts = np.unique(np.stack([truth[wrong], named[wrong]], 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:10]
    lines = [f"<tr><td>{escape(names[pairs[i, 0]])}<td>{escape(names[pairs[i, 1]])}<td>{counts[i]}</tr>" for i in order]
    return f"<table><tr><th>true<th>named<th>times</tr>{''.join(lines)}</table>"


def _image(figure: Figure, description: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'


def rewrite_report(run: Path, artifact: Path | None = None) -> Path:
    """Measure the artifact of a run again and write its report anew; `artifact`: by default the newest of its name."""
    from model.artifacts import artifact as artifacts
    from model.runtime import OnnxModel
    from training import config
    from training.data import cache as image_cache
    from training.data import datasets
    from training.evaluation.evaluate import BATCH, predict

    chosen = config.read(run)
    loaded = artifacts.load(artifact or chosen.artifacts / chosen.name)
    dataset = datasets.load(chosen.data, chosen.split_seed, chosen.archive)
    if loaded.labels != dataset.labels:
        raise DatasetError(f"expected an artifact with the classes of {chosen.data}, found others in {loaded.path}")
    cache = image_cache.build(dataset, chosen.cache, chosen.cache_format)
    rows = cache.rows(dataset, "test" if dataset.test else "validation")
    labels = np.array([example.label for example in dataset.examples])
    pieces = ((cache.images.read(some), labels[some]) for some in image_cache.batches(rows, BATCH))
    predictions = predict(OnnxModel(loaded.network), pieces, len(rows), chosen.measure == "ten")
    return write(run, loaded, dataset, cache, rows, predictions)
