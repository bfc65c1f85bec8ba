"""`alexnet quantize`: an int8 network for an artifact, calibrated on training images, accepted or refused by the
validation images, and measured on the test images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import NETWORK_FILES, Artifact, Measurement, Precision
from model.artifacts.measurements import format_measurements
from model.artifacts.weights import read_folded_weights, read_spec
from model.artifacts.writer import add_file
from model.exceptions import DatasetError, InvalidRequestError, QuantizationError
from model.images.contract import ImageContract
from model.images.crops import TEN_CROP
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.network.quantization import quantize
from model.network.temperature import read_temperature
from model.runtime import OnnxModel
from model.sampling import draw_sample
from training.data.datasets import Dataset, Example
from training.data.training_data import check_same_split, drop_copies_as_in_training, load_training_dataset
from training.evaluation.evaluate import decode_batches, predict


def add_int8(
    path: Path,
    data: str,
    archive: Path | None,
    max_images: int,
    max_error_increase: float,
    device: str,
    log: Callable[[str], None],
    exclude: Sequence[str] = (),
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Artifact:
    """Calibrate on at most `max_images` training images, compare int8 with float32 on the validation split, and put
    network.int8.onnx into the artifact, with the errors of both on the held-out split.

    The test split decides nothing, so that its errors stay unbiased. Raises QuantizationError, and leaves the artifact
    unchanged, if the top-1 error of int8 with ten crops is over `max_error_increase` percentage points higher on the
    validation split; DatasetError if `data` isn't what the network was trained on.
    """
    if max_images < 1:
        raise InvalidRequestError(f"invalid --max-images {max_images}: at least 1 image is needed for calibration")
    artifact = artifacts.load(path)
    dataset = load_training_dataset(artifact, data, archive, exclude)
    log(str(dataset.summary()))
    check_same_split(artifact, dataset, data, dataset.held_out_split)
    dataset = drop_copies_as_in_training(dataset, artifact.manifest.training, artifact.image_contract, limits, log)
    examples = draw_sample(dataset.train, max_images)

    def write(target: Path) -> list[Measurement]:
        log(f"calibrating the activation ranges on {len(examples):,} training images")
        weights, mean = read_folded_weights(artifact)
        images = _images(examples, artifact.image_contract, limits)
        quantize(read_spec(artifact.manifest), weights, mean, images, target, read_temperature(artifact.network_path))
        networks: dict[Precision, Path] = {"float32": artifact.network_path, "int8": target}
        decisive = _measure(artifact, dataset, "validation", networks, device, log, limits)
        float32, int8 = (m.top1_error for m in decisive if m.crops == len(TEN_CROP))
        increase = 100 * (int8 - float32)
        if not increase <= max_error_increase:
            more_images = "raise --max-images, or " if len(examples) < len(dataset.train) else ""
            raise QuantizationError(
                f"the top-1 error of int8 on the validation images is {increase:.2f} percentage points higher, above "
                f"the {max_error_increase:g} allowed: nothing was written; {more_images}allow more with "
                "--max-error-increase"
            )
        if dataset.held_out_split == "validation":
            return decisive
        return _measure(artifact, dataset, dataset.held_out_split, networks, device, log, limits)

    return add_file(artifact, NETWORK_FILES["int8"], write)


def _measure(
    artifact: Artifact,
    dataset: Dataset,
    split: str,
    networks: Mapping[Precision, Path],
    device: str,
    log: Callable[[str], None],
    limits: ImageLimits,
) -> list[Measurement]:
    """The errors on one split of the artifact's networks, by precision."""
    examples, measurements = dataset.splits()[split], list[Measurement]()
    for precision, file in networks.items():
        log(f"measuring the errors of {precision} on the {split} images")
        batches = decode_batches(examples, artifact.image_contract, limits)
        predictions = predict(OnnxModel(file, device), batches, len(examples))
        errors = predictions.measurements(f"{dataset.split_description}, {split}", dataset.groupings)
        measurements += [
            m.model_copy(update={"precision": precision} | _copy_uncalibrated_error(artifact, precision, m))
            for m in errors
        ]
    log(format_measurements(measurements))
    return measurements


def _copy_uncalibrated_error(
    artifact: Artifact, precision: Precision, measurement: Measurement
) -> dict[str, float | None]:
    """The calibration error before temperature scaling, copied from the artifact: it can't be measured here."""
    key = (precision, measurement.split, measurement.crops)
    for known in artifact.manifest.measurements:
        if (known.precision, known.split, known.crops) == key:
            return {"uncalibrated_error": known.uncalibrated_error}
    return {}


def _images(examples: Sequence[Example], contract: ImageContract, limits: ImageLimits) -> Iterator[NDArray[np.uint8]]:
    """Pixels (N, 256, 256, 3), batch by batch. Raises DatasetError if there are none."""
    empty = True
    for batch in decode_batches(examples, contract, limits):
        empty = False
        yield batch.images
    if empty:
        raise DatasetError("no image to calibrate on can be decoded")
