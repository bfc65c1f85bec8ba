"""`alexnet quantize`: an artifact gets an int8 form of its network, calibrated and measured on its own images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import NETWORKS, Artifact, Measurement, Precision
from model.artifacts.writer import add
from model.exceptions import InvalidRequestError, QuantizationError
from model.images.crops import TEN_CROP
from model.network.quantization import quantize
from model.runtime import OnnxModel
from training.data import datasets
from training.data.datasets import Dataset, Example
from training.evaluation.ensemble import require_fit
from training.evaluation.evaluate import predict, read, table


def add_int8(
    path: Path,
    data: str,
    archive: Path | None,
    images: int,
    max_loss: float,
    device: str,
    say: Callable[[str], None],
) -> Artifact:
    """Calibrate on `images` training images, measure float32 and int8 on the test part (the validation part where
    there is none), and put network.int8.onnx and both errors into the artifact.

    Raises QuantizationError, with the artifact as it was, when int8 has over `max_loss` percentage points more top-1
    errors, ten crops; DatasetError when `data` isn't what the network was trained on.
    """
    artifact, dataset = _opened(path, data, archive)
    if images < 1:
        raise InvalidRequestError(f"expected at least 1 image to calibrate on, found {images}")
    order = np.random.default_rng(0).permutation(len(dataset.train))[:images]
    chosen = [dataset.train[i] for i in order]
    measured: list[Measurement] = []

    def write(target: Path) -> list[Measurement]:
        say(f"measuring the ranges of the activations on {len(chosen):,} training images")
        quantize(artifact, _batches(chosen), target)
        measured.extend(_measured(artifact, dataset, "int8", target, device, say))
        float32, int8 = (m.top1_error for m in measured if m.crops == len(TEN_CROP))
        loss = 100 * (int8 - float32)
        if not loss <= max_loss:
            raise QuantizationError(
                f"expected at most {max_loss:g} percentage points more top-1 errors in int8, found {loss:.2f}: nothing "
                "was written; calibrate with more --images, or allow more with --max-loss"
            )
        return measured

    return add(artifact, NETWORKS["int8"], write)


def _opened(path: Path, data: str, archive: Path | None) -> tuple[Artifact, Dataset]:
    artifact = artifacts.load(path)
    dataset = datasets.load(data, int(artifact.manifest.training.get("split_seed", 0)), archive)
    require_fit(artifact, dataset, data, _part(dataset))
    return artifact, dataset


def _part(dataset: Dataset) -> str:
    return "test" if dataset.test else "validation"


def _measured(
    artifact: Artifact, dataset: Dataset, precision: Precision, network: Path, device: str, say: Callable[[str], None]
) -> list[Measurement]:
    """The errors of the artifact's float32 network and of the new one."""
    part, measured = _part(dataset), list[Measurement]()
    held_out = dataset.parts()[part]
    forms: tuple[tuple[Precision, Path], ...] = (("float32", artifact.network), (precision, network))
    for form, file in forms:
        say(f"measuring the errors of {form}")
        predictions = predict(OnnxModel(file, device), read(held_out), len(held_out))
        found = predictions.scores(f"{dataset.split}, {part}", dataset.groupings)
        measured += [m.model_copy(update={"precision": form}) for m in found]
    say(table(measured))
    return measured


def _batches(examples: Sequence[Example]) -> Iterator[NDArray[np.uint8]]:
    return (pixels for pixels, _ in read(examples))
