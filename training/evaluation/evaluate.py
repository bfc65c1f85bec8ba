"""Top-1 and top-5 error of an exported network as it is served, with the center crop and with ten crops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.datasets.image_files import read_image_file
from model.datasets.names import show_path
from model.exceptions import DatasetError, InvalidImageError
from model.images.contract import ImageContract
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from model.thread_pool import ordered_map
from training.data.cache import ImageCache, batches
from training.data.datasets import Dataset, Example
from training.evaluation.calibration import mean_softmax
from training.evaluation.predictions import Predictions

BATCH_SIZE = 8


class LabeledBatch(NamedTuple):
    """Images (B, 256, 256, 3), their classes (B,), and their files."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    files: tuple[str, ...]


def predict(
    model: OnnxModel,
    batches: Iterable[LabeledBatch],
    total: int,
    ten_crop: bool = True,
    temperature: float | None = None,
) -> Predictions:
    """Run a served network on all `batches`, of `total` images. Raises DatasetError if there are none.

    `temperature`: that of a network with logits (`model.network.temperature.write_with_logits`), to also compute its
    probabilities before temperature scaling.
    """
    labels, files = list[NDArray[np.int64]](), list[str]()
    results: dict[tuple[int, ...], list[NDArray[np.float32]]] = {CENTER_CROP: []} | ({TEN_CROP: []} if ten_crop else {})
    uncalibrated: dict[tuple[int, ...], list[NDArray[np.float32]]] = {crops: [] for crops in results}
    with tqdm(total=total, desc="measuring", unit="image", disable=None) as bar:
        for batch in batches:
            labels.append(batch.labels)
            files += batch.files
            for crops in results:
                if temperature is None:
                    results[crops].append(model.run(batch.images, crops)[0])
                else:
                    probabilities, _, logits = model.run_with_logits(batch.images, crops)
                    results[crops].append(probabilities)
                    uncalibrated[crops].append(mean_softmax(logits, 1 / temperature))
            bar.update(len(batch.files))
    if not labels:
        raise DatasetError("no image to measure on can be decoded")
    served, before = ({c: np.concatenate(v) for c, v in kind.items() if v} for kind in (results, uncalibrated))
    return Predictions(
        labels=np.concatenate(labels),
        files=tuple(files),
        center=served[CENTER_CROP],
        ten_crop=served.get(TEN_CROP),
        uncalibrated_center=before.get(CENTER_CROP),
        uncalibrated_ten_crop=before.get(TEN_CROP),
    )


def predict_split(
    model: OnnxModel,
    dataset: Dataset,
    cache: ImageCache,
    split: str,
    ten_crop: bool = True,
    temperature: float | None = None,
) -> Predictions:
    """Run a served network on one split of a dataset, read from its cache. Raises DatasetError.

    `temperature`: see `predict`.
    """
    rows = cache.rows(dataset, split)
    examples = dataset.examples

    def read(batch: NDArray[np.int64]) -> LabeledBatch:
        files, labels, _ = zip(*(examples[row] for row in batch), strict=True)
        return LabeledBatch(cache.images.read(batch), np.array(labels), files)

    return predict(model, map(read, batches(rows, BATCH_SIZE)), len(rows), ten_crop, temperature)


def decode_batches(
    examples: Sequence[Example], contract: ImageContract, limits: ImageLimits = DEFAULT_LIMITS
) -> Iterator[LabeledBatch]:
    """Decode files batch by batch, ahead of their use; files that can't be decoded are named, counted and left out."""
    images, used, skipped = list[NDArray[np.uint8]](), list[Example](), 0
    decoded = ordered_map(partial(decode_or_skip, contract=contract, limits=limits), examples, ahead=2 * BATCH_SIZE)
    for number, (example, pixels) in enumerate(zip(examples, decoded, strict=True), 1):
        if pixels is None:
            skipped += 1
        else:
            images.append(pixels)
            used.append(example)
        if images and (number % BATCH_SIZE == 0 or number == len(examples)):
            yield LabeledBatch(np.stack(images), np.array([e.label for e in used]), tuple(e.file for e in used))
            images, used = [], []
    if skipped:
        tqdm.write(f"skipped {skipped:,} of {len(examples):,} files, which can't be decoded")


def decode_or_skip(
    example: Example, contract: ImageContract, limits: ImageLimits = DEFAULT_LIMITS
) -> NDArray[np.uint8] | None:
    """(256, 256, 3) pixels; None, with a line that names the file, if it can't be decoded."""
    try:
        return decode_image(read_image_file(example.file, limits.max_file_bytes), limits, contract).pixels
    except (InvalidImageError, OSError) as error:
        tqdm.write(f"skipped {show_path(example.file)}: {error}")
        return None
