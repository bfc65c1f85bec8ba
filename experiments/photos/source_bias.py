"""How much of the error on photographs from elsewhere is a bias towards collections that training images are from.

    python -m experiments.photos.source_bias --data photos.csv --output build/source-bias.json

A number per collection is added to the logits of its classes (those most of whose training images are from it). The
numbers are fitted on one half of the choosing half of the gallery and measured on the other, several times, since a
fit looks better on its own images. Nothing is written into a network.
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

from experiments import command
from experiments.photos.measure import list_examples, load_network, sources_of_classes
from experiments.results import write_report
from model.artifacts.artifact import Artifact
from model.datasets.reader import read_images
from model.images.crops import TEN_CROP
from model.runtime import OnnxModel
from training.data.datasets import Example
from training.evaluation.evaluate import decode_batches

NUM_REPEATS = 20
SMALLEST = 1e-12
"""Added to probabilities before their logarithm."""


class Scores(NamedTuple):
    """Of some images: errors in percent, and the mean of -log of the right class's probability."""

    top1_error: float
    top5_error: float
    loss: float


def predict_crops(artifact: Artifact, examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Log-probabilities (N, 10, num_classes) of each of ten crops, float64, and the classes (N,) of the images."""
    model, logs, labels = OnnxModel(artifact.network), list[NDArray[np.float64]](), list[NDArray[np.int64]]()
    for batch in decode_batches(examples, artifact.image_contract):
        crops = [model.run(batch.images, (crop,))[0] for crop in TEN_CROP]
        logs.append(np.log(np.stack(crops, 1).astype(np.float64) + SMALLEST))
        labels.append(batch.labels)
    return torch.from_numpy(np.concatenate(logs)), torch.from_numpy(np.concatenate(labels))


def add_biases(log_probabilities: Tensor, biases: Tensor, members: Tensor) -> Tensor:
    """Ten-crop probabilities (N, num_classes). `members`: (num_classes, sources), 1 where a class is of a source."""
    return torch.softmax(log_probabilities + members @ biases, -1).mean(1)


def fit_biases(log_probabilities: Tensor, labels: Tensor, members: Tensor, decay: float) -> Tensor:
    """The biases (sources,) with the least loss plus `decay` times their squares."""
    biases = torch.zeros(members.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([biases], max_iter=200, line_search_fn="strong_wolfe")

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        probabilities = add_biases(log_probabilities, biases, members)
        loss = -probabilities[torch.arange(len(labels)), labels].log().mean() + decay * (biases**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(evaluate)  # type: ignore[no-untyped-call]
    return biases.detach()


def score(probabilities: Tensor, labels: Tensor) -> Scores:
    """The errors and the loss of predictions (N, num_classes)."""
    of_labels = probabilities[torch.arange(len(labels)), labels]
    rank = (probabilities > of_labels[:, None]).sum(1)
    top1_error, top5_error = (100 * float((rank >= top).double().mean()) for top in (1, 5))
    return Scores(top1_error, top5_error, float(-(of_labels + SMALLEST).log().mean()))


def cross_validate(log_probabilities: Tensor, labels: Tensor, members: Tensor, decay: float) -> Scores:
    """Mean scores of halves of the images with biases fitted on the others, `NUM_REPEATS` random halvings."""
    generator, scores = torch.Generator().manual_seed(0), list[Scores]()
    for _ in range(NUM_REPEATS):
        order = torch.randperm(len(labels), generator=generator)
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        for fitted, measured in ((first, second), (second, first)):
            biases = fit_biases(log_probabilities[fitted], labels[fitted], members, decay)
            scores.append(score(add_biases(log_probabilities[measured], biases, members), labels[measured]))
    return Scores(*np.mean(scores, axis=0).tolist())


def main(
    data: Annotated[Path, typer.Option(help="Table of the training images with the column source.")],
    artifact: Annotated[Path | None, typer.Option(help="Artifact (default: the bundled network photos).")] = None,
    decay: Annotated[float, typer.Option(min=0, help="Weight of the squares of the biases.")] = 0.003,
    output: Annotated[Path | None, typer.Option(help="JSON file of the results.")] = None,
) -> None:
    """Measure the errors on the choosing half of the gallery without and with a bias per source."""
    loaded = load_network(artifact)
    source_of = sources_of_classes(loaded, read_images(data))
    sources = [source for source, _ in Counter(source_of).most_common()]
    members = torch.tensor([[float(source == other) for other in sources] for source in source_of]).double()
    log_probabilities, labels = predict_crops(loaded, list_examples(loaded, "choosing"))
    without = score(add_biases(log_probabilities, torch.zeros(len(sources)).double(), members), labels)
    with_biases = cross_validate(log_probabilities, labels, members, decay)
    biases = dict(zip(sources, fit_biases(log_probabilities, labels, members, decay).tolist(), strict=True))
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
