"""`alexnet draw`: Figure 3 and the left half of Figure 4, of any artifact whose data is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.artifacts import artifact as artifacts
from model.artifacts.kernels import read_kernels
from model.artifacts.weights import architecture_of
from model.exceptions import DatasetError
from model.images.crops import TEN_CROP
from model.runtime import OnnxModel
from training.data import datasets
from training.evaluation.evaluate import read
from training.publish import figures


def draw(path: Path, data: str, archive: Path | None, output: Path, count: int, seed: int) -> list[Path]:
    """The files kernels.png and answers.png. The images are of the test part, or of the validation part.

    Raises DatasetError when the data has other classes than the network.
    """
    artifact = artifacts.load(path)
    dataset = datasets.load(data, int(artifact.manifest.training.get("split_seed", 0)), archive)
    if dataset.labels != artifact.labels:
        raise DatasetError(f"expected the artifact's classes, found others in {data}")
    held_out = dataset.test or dataset.validation
    chosen = [held_out[place] for place in np.random.default_rng(seed).permutation(len(held_out))[:count]]
    batches = list(read(chosen))
    images, truth = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    probabilities, _ = OnnxModel(artifact.network).run(images, TEN_CROP)
    kernels = {"conv1.weight": read_kernels(artifact.network).transpose(0, 3, 1, 2)}
    drawn = {
        "kernels": figures.kernels(kernels, architecture_of(artifact.manifest)),
        "answers": figures.answers(
            list(images), truth.tolist(), probabilities, [label.name for label in dataset.labels]
        ),
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(output / f"{name}.png", dpi=110)
    return [output / f"{name}.png" for name in drawn]
