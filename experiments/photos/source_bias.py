"""Measure how much of the error on photographs from elsewhere is a bias towards collections of training images.

    python -m experiments.photos.source_bias --data photos.csv --output build/source-bias.json

A number per collection is added to the logits of its classes (those with most of their training images from it). The
numbers are fitted on one half of the gallery's validation half and measured on the other, several times, since a fit
looks better on its own images. No network is changed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from experiments import command
from experiments.photos.measure import list_examples, load_network, sources_of_classes
from experiments.results import write_report
from model.artifacts.artifact import Artifact
from model.datasets.tables import read_table
from model.images.crops import TEN_CROP
from training.data.datasets import Example
from training.evaluation.calibration import negative_log_likelihood
from training.evaluation.evaluate import decode_batches
from training.evaluation.predictions import measure
from training.publish.calibrate import open_with_logits

NUM_REPEATS = 20


class Scores(NamedTuple):
    """Scores on some images: errors in percent, and the mean -log of the right class's probability."""

    top1_error: float
    top5_error: float
    loss: float


def predict_crops(artifact: Artifact, examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Logits divided by the temperature (N, 10, num_classes) of ten crops, float64, and the images' classes (N,)."""
    logits, labels = list[NDArray[np.float32]](), list[NDArray[np.int64]]()
    with open_with_logits(artifact.network_path) as model:
        for batch in decode_batches(examples, artifact.image_contract):
            logits.append(model.run_with_logits(batch.images, TEN_CROP)[2])
            labels.append(batch.labels)
    return torch.from_numpy(np.concatenate(logits)).double(), torch.from_numpy(np.concatenate(labels))


def add_biases(logits: Tensor, biases: Tensor, sources: Tensor) -> Tensor:
    """Ten-crop probabilities (N, num_classes). `biases`: per source. `sources` (num_classes,): each class's source."""
    return torch.softmax(logits + biases[sources], -1).mean(1)


def fit_biases(logits: Tensor, labels: Tensor, sources: Tensor, decay: float) -> Tensor:
    """The biases (number of sources,) that minimize the loss plus `decay` times the sum of their squares."""
    biases = torch.zeros(int(sources.max()) + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([biases], max_iter=200, line_search_fn="strong_wolfe")

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = F.nll_loss(add_biases(logits, biases, sources).log(), labels) + decay * (biases**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(evaluate)  # type: ignore[no-untyped-call]
    return biases.detach()


def score(probabilities: Tensor, labels: Tensor) -> Scores:
    """The errors and the loss of ten-crop predictions (N, num_classes)."""
    served, classes = probabilities.float().numpy(), labels.numpy()
    measured = measure(served, classes, "validation", len(TEN_CROP), {})
    assert measured.top5_error is not None
    loss = negative_log_likelihood(served, classes)
    return Scores(100 * measured.top1_error, 100 * measured.top5_error, loss)


def cross_validate(logits: Tensor, labels: Tensor, sources: Tensor, decay: float) -> Scores:
    """Mean scores on one half of the images with biases fitted on the other, over `NUM_REPEATS` random halvings."""
    generator, scores = torch.Generator().manual_seed(0), list[Scores]()
    for _ in range(NUM_REPEATS):
        order = torch.randperm(len(labels), generator=generator)
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        for fitted, measured in ((first, second), (second, first)):
            biases = fit_biases(logits[fitted], labels[fitted], sources, decay)
            scores.append(score(add_biases(logits[measured], biases, sources), labels[measured]))
    return Scores(*np.mean(scores, axis=0).tolist())


def main(
    data: Annotated[Path, typer.Option(help="Table of the training images with the column source.")],
    artifact: Annotated[Path | None, typer.Option(help="Artifact (default: the bundled network photos).")] = None,
    decay: Annotated[float, typer.Option(min=0, help="Weight of the L2 penalty on the biases.")] = 0.003,
    output: Annotated[Path | None, typer.Option(help="JSON file of the results.")] = None,
) -> None:
    """Measure the errors on the validation half of the gallery without and with a bias per source."""
    loaded = load_network(artifact)
    source_of = sources_of_classes(loaded, read_table(data))
    names = [source for source, _ in Counter(source_of).most_common()]
    sources = torch.tensor([names.index(source) for source in source_of])
    logits, labels = predict_crops(loaded, list_examples(loaded, "validation"))
    without = score(add_biases(logits, torch.zeros(len(names)), sources), labels)
    with_biases = cross_validate(logits, labels, sources, decay)
    biases = dict(zip(names, fit_biases(logits, labels, sources, decay).tolist(), strict=True))
    for name, scores in (("as it is", without), ("with biases, cross-validated", with_biases)):
        typer.echo(f"{name}: top-1 error {scores[0]:.1f} %, top-5 error {scores[1]:.1f} %, loss {scores[2]:.3f}")
    typer.echo("biases, from all images: " + ", ".join(f"{source} {bias:+.2f}" for source, bias in biases.items()))
    if output is not None:
        result: dict[str, Any] = {
            "network": {"version": loaded.manifest.version, "sha256": loaded.network_sha256},
            "images": len(labels),
            "decay": decay,
            "as_it_is": without._asdict(),
            "cross_validated": with_biases._asdict(),
            "biases": biases,
        }
        write_report(output, result)


if __name__ == "__main__":
    command.run(main)
