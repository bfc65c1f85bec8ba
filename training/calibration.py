"""`alexnet quantize`: an artifact gets its network in int8, if that is as good on held-out pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model import artifact as artifacts
from model.artifact import NETWORKS, Artifact, Measurement
from model.errors import InvalidRequestError, QuantisationError
from model.publication import add
from model.quantisation import quantise
from model.runtime import OnnxModel
from model.views import TEN
from training import datasets
from training.datasets import Example
from training.ensemble import require_fit
from training.evaluate import predict, read, table


def add_int8(
    path: Path,
    data: str,
    archive: Path | None,
    pictures: int,
    max_loss: float,
    device: str,
    say: Callable[[str], None],
) -> Artifact:
    """Calibrate on `pictures` training pictures, measure float32 and int8 on the test part (the validation part where
    there is none), and put network.int8.onnx and both errors into the artifact.

    Raises QuantisationError, with the artifact as it was, when int8 has over `max_loss` percentage points more top-1
    errors, ten views; DatasetError when `data` isn't what the network was trained on.
    """
    artifact = artifacts.load(path)
    dataset = datasets.load(data, int(artifact.manifest.training.get("split_seed", 0)), archive)
    part = "test" if dataset.test else "validation"
    require_fit(artifact, dataset, data, part)
    if pictures < 1:
        raise InvalidRequestError(f"expected at least 1 picture to calibrate on, found {pictures}")
    order = np.random.default_rng(0).permutation(len(dataset.train))[:pictures]
    chosen = [dataset.train[i] for i in order]
    measured: list[Measurement] = []

    def write(target: Path) -> list[Measurement]:
        say(f"measuring the ranges of the activations on {len(chosen):,} training pictures")
        quantise(artifact, _batches(chosen), target)
        for precision, network in (("float32", artifact.network), ("int8", target)):
            say(f"measuring the errors of {precision}")
            held_out = dataset.parts()[part]
            predictions = predict(OnnxModel(network, device), read(held_out), len(held_out))
            found = predictions.scores(f"{dataset.split}, {part}", dataset.groupings)
            measured.extend(m.model_copy(update={"precision": precision}) for m in found)
        say(table(measured))
        float32, int8 = (m.top1_error for m in measured if m.views == len(TEN))
        loss = 100 * (int8 - float32)
        if not loss <= max_loss:
            raise QuantisationError(
                f"expected at most {max_loss:g} percentage points more top-1 errors in int8, found {loss:.2f}: nothing "
                "was written; calibrate with more --pictures, or allow more with --max-loss"
            )
        return measured

    return add(artifact, NETWORKS["int8"], write)


def _batches(examples: Sequence[Example]) -> Iterator[NDArray[np.uint8]]:
    return (pixels for pixels, _ in read(examples))
