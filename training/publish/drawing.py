"""`alexnet draw`: Figure 3 and the left half of Figure 4 of the paper, for any artifact whose data is at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from model.artifacts import artifact as artifacts
from model.artifacts.kernels import read_kernels
from model.artifacts.weights import read_spec
from model.exceptions import ArtifactError, DatasetError
from model.figures import save_figure
from model.images.crops import TEN_CROP
from model.runtime import OnnxModel
from training.data.earlier_split import EARLIER
from training.data.training_data import (
    check_training_data,
    has_other_split,
    load_training_dataset,
    with_labels_of,
)
from training.evaluation.evaluate import decode_batches
from training.publish import figures


def draw_figures(
    path: Path, data: str, archive: Path | None, output: Path, max_images: int, seed: int, log: Callable[[str], None]
) -> list[Path]:
    """Write kernels.png and predictions.png, the latter with images of the held-out split; their paths.

    `log`: takes a note if training images may be among them.

    Raises DatasetError if the data has a class that the network doesn't know, or if its training kept an earlier split,
    which can't be drawn again, and the data has another; ArtifactError if the artifact has no kernels.
    """
    artifact = artifacts.load(path)
    dataset = with_labels_of(load_training_dataset(artifact, data, archive), artifact, data)
    if artifact.manifest.training.get("split_method") == EARLIER:  # other images would be taken for held-out ones
        check_training_data(artifact, dataset, data)
    if has_other_split(artifact, dataset):
        log(
            f"note: {data} is split differently than in the network's training: the images drawn may be among its "
            "training images"
        )
    held_out = dataset.splits()[dataset.held_out_split]
    examples = [held_out[place] for place in np.random.default_rng(seed).permutation(len(held_out))[:max_images]]
    batches = list(decode_batches(examples, artifact.image_contract))
    images = [image for batch in batches for image in batch.images]
    labels = [int(label) for batch in batches for label in batch.labels]
    if not images:
        raise DatasetError(f"none of the {len(examples):,} images drawn from {data} can be decoded")
    probabilities, _ = OnnxModel(artifact.network_path).run(np.stack(images), TEN_CROP)
    kernels = read_kernels(artifact)
    if kernels is None:
        raise ArtifactError(f"{artifact.path} has no first-layer kernels: publish it again")
    drawn = {
        "kernels": figures.draw_kernels(kernels, read_spec(artifact.manifest).towers),
        "predictions": figures.draw_predictions(
            images, labels, probabilities, [label.name for label in artifact.labels]
        ),
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        save_figure(figure, output / f"{name}.png", dpi=110)
    return [output / f"{name}.png" for name in drawn]
