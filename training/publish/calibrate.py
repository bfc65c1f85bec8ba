"""Calibration of a network before it is published: its temperature, and the model of how familiar an image is.

`alexnet train` does it for each network, `alexnet calibrate` for one that is published already.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import LABELS, NETWORK, NETWORK_FILES, Artifact, Calibration, Manifest
from model.artifacts.familiarity import FAMILIARITY, MIN_HELD_OUT
from model.artifacts.measurements import format_measurements
from model.artifacts.writer import publish, utc_now
from model.exceptions import ArtifactError, DatasetError
from model.images.contract import ImageContract
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.network.temperature import read_temperature, write_temperature, write_with_logits
from model.plurals import count_of
from model.runtime import OnnxModel
from model.sampling import draw_sample
from training.data.datasets import Example
from training.data.training_data import check_training_data, drop_copies_as_in_training, load_training_dataset
from training.evaluation.calibration import NUM_BINS, fit_temperature
from training.evaluation.evaluate import decode_batches, predict
from training.evaluation.familiarity import fit_familiarity
from training.loop.status import stage

MAX_VALIDATION_IMAGES, MAX_TRAINING_IMAGES = 1_000, 10_000
"""Maximum numbers of images, so that calibration takes minutes even for a million."""
_NOT_FLAGGED = f"unfamiliar images aren't flagged: this needs {MIN_HELD_OUT} validation images"


def calibrate(
    folder: Path,
    training: Sequence[Example],
    validation: Sequence[Example],
    split: str,
    contract: ImageContract,
    ten_crop: bool,
    max_images: int = MAX_VALIDATION_IMAGES,
    device: str = "auto",
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Calibration:
    """Write the temperature into the graph of `folder`'s network, and familiarity.npz beside it.

    The temperature is fitted to the probabilities of at most `max_images` `validation` images, as they are served: from
    ten crops, or from the center crop without `ten_crop`. Familiarity is learned from the features of at most 10,000
    `training` images, with the same validation images as its reference. `split`: their name in the manifest. Without
    validation images the temperature is 1, and there is no familiarity.npz.
    """
    network, crops = folder / NETWORK, TEN_CROP if ten_crop else CENTER_CROP
    before = read_temperature(network)
    validation = draw_sample(validation, max_images)
    if not validation:
        if before != 1:
            write_temperature(network, 1.0)
        return Calibration(temperature=1, split=None, num_images=0, crops=len(crops), num_training_images=0)
    training = draw_evenly(training, MAX_TRAINING_IMAGES)
    text = f"calibrating the network on {len(validation):,} validation and {len(training):,} training images"
    with stage(text), open_with_logits(network, device) as model:
        held_out = _run(model, validation, contract, crops, limits)
        known = _run(model, training, contract, None, limits)
        temperature = fit_temperature(held_out.logits * np.float32(before), held_out.labels)
        fit_familiarity(known.features[1], known.labels, held_out.features).write(folder / FAMILIARITY)
    if warning := few_images_warning(len(held_out.labels)):
        tqdm.write(warning)
    write_temperature(network, temperature)
    return Calibration(
        temperature=read_temperature(network),
        split=split,
        num_images=len(held_out.labels),
        crops=len(crops),
        num_training_images=len(known.labels),
    )


def describe_calibration(manifest: Manifest) -> str:
    """The temperature, what it was fitted to, and the calibration error before and after it, in float32, as text."""
    calibration = manifest.calibration
    if calibration is None:
        return "The probabilities aren't calibrated: run `alexnet calibrate`."
    if calibration.split is None:
        return "The probabilities aren't calibrated, since there are no validation images: the temperature is 1."
    errors = [
        f"{m.uncalibrated_error:.3f} before and {m.calibration_error:.3f} after with {count_of(m.crops, 'crop')}"
        for m in manifest.measurements
        if m.precision == "float32" and m.uncalibrated_error is not None and m.calibration_error is not None
    ]
    return (
        f"The logits are divided by the temperature {calibration.temperature:.3f}, which was fitted to "
        f"{count_of(calibration.num_images, 'validation image')}. Expected calibration error, in {NUM_BINS} bins: "
        f"{'; '.join(errors)}."
        + (f" {_NOT_FLAGGED[0].upper()}{_NOT_FLAGGED[1:]}." if calibration.num_images < MIN_HELD_OUT else "")
    )


def few_images_warning(num_images: int) -> str:
    """A warning about too few validation images; empty if there are enough."""
    if num_images >= MIN_HELD_OUT:
        return ""
    return (
        f"warning: calibrated on {count_of(num_images, 'validation image')}: probabilities may be overconfident or "
        f"underconfident, and {_NOT_FLAGGED}; add images"
    )


@contextmanager
def open_with_logits(network: Path, device: str = "auto") -> Iterator[OnnxModel]:
    """The network with its logits as an additional output, from a temporary copy beside it."""
    with tempfile.TemporaryDirectory(dir=network.parent) as folder:
        write_with_logits(network, Path(folder) / NETWORK)
        yield OnnxModel(Path(folder) / NETWORK, device)


def calibrate_artifact(
    path: Path,
    data: str,
    archive: Path | None,
    exclude: Sequence[str],
    max_images: int,
    device: str,
    log: Callable[[str], None],
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Artifact:
    """Publish the artifact at `path` again, calibrated on the data that it was trained on.

    It uses at most `max_images` validation images. Calibration and errors are measured on as many held-out images, and
    replace those that were measured with the previous temperature. The new version has the same weights, so features
    and codes stay the same; the int8 network, if any, is left out. Raises DatasetError if `data` has other classes or
    another split, and ArtifactError if the artifact isn't in a folder of its name.
    """
    artifact = artifacts.load(path)
    root = _artifacts_folder(artifact)
    dataset = load_training_dataset(artifact, data, archive, exclude)
    log(str(dataset.summary()))
    held_out = dataset.held_out_split
    check_training_data(artifact, dataset, data)
    dataset = drop_copies_as_in_training(dataset, artifact.manifest.training, artifact.image_contract, limits, log)

    def write(folder: Path) -> Manifest:
        for name in artifact.manifest.files:
            if name not in (LABELS, FAMILIARITY, NETWORK_FILES["int8"]):
                shutil.copyfile(artifact.path / name, folder / name)
        split = f"{dataset.split_description}, validation"
        examples = dataset.train, dataset.validation
        calibration = calibrate(folder, *examples, split, artifact.image_contract, True, max_images, device, limits)
        images = draw_sample(dataset.splits()[held_out], max_images)
        with open_with_logits(folder / NETWORK, device) as model:
            batches = decode_batches(images, artifact.image_contract, limits)
            predictions = predict(model, batches, len(images), temperature=calibration.temperature)
        drawn = "" if len(images) == len(dataset.splits()[held_out]) else f", {len(images):,} drawn at random"
        measured = predictions.measurements(f"{dataset.split_description}, {held_out}{drawn}", dataset.groupings)
        kept = [m for m in artifact.manifest.measurements if m.published]
        update = {"created": utc_now(), "measurements": [*kept, *measured], "calibration": calibration}
        return artifact.manifest.model_copy(update=update)

    calibrated = publish(root, artifact.manifest.name, artifact.labels, write)
    if before := [m for m in artifact.manifest.measurements if not m.published]:
        measurements = count_of(len(before), "measurement")
        version = artifact.manifest.version
        log(f"dropped {measurements} made with the previous temperature; version {version} still has them")
    if NETWORK_FILES["int8"] in artifact.manifest.files:
        log("the int8 network is left out: add it again with `alexnet quantize`")
    log(format_measurements(calibrated.manifest.measurements))
    return calibrated


def _artifacts_folder(artifact: Artifact) -> Path:
    """The folder that has the artifact as NAME/VERSION, for its next version. Raises ArtifactError if there is none."""
    home, name = artifact.path.resolve().parent, artifact.manifest.name
    if home.name != name:
        raise ArtifactError(
            f"can't publish the next version beside {artifact.path}: its folder must be in one named {name}, but is in "
            f"{home}; copy it to {name}/{artifact.manifest.version} and calibrate that"
        )
    return home.parent


class _Outputs(NamedTuple):
    """Of M images: classes (M,), logits divided by the temperature (M, crops, classes), and number of crops -> their
    mean features (M, dim)."""

    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    features: dict[int, NDArray[np.float32]]


def _run(
    model: OnnxModel,
    examples: Sequence[Example],
    contract: ImageContract,
    crops: tuple[int, ...] | None,
    limits: ImageLimits,
) -> _Outputs:
    """Outputs of the center crop and of `crops`; None: only features of the center crop.

    Files that can't be decoded are left out.
    """
    labels = list[NDArray[np.int64]]()
    logits = list[NDArray[np.float32]]()
    features: dict[int, list[NDArray[np.float32]]] = {}
    with tqdm(total=len(examples), desc="calibrating", unit="image", disable=None, leave=False) as bar:
        for batch in decode_batches(examples, contract, limits):
            labels.append(batch.labels)
            for these in {CENTER_CROP, crops or CENTER_CROP}:
                if these == crops:
                    _, feature, logit = model.run_with_logits(batch.images, these)
                    logits.append(logit)
                else:
                    feature = model.features(batch.images, these)
                features.setdefault(len(these), []).append(feature)
            bar.update(len(batch.files))
    if not labels:
        raise DatasetError("no image to calibrate on can be decoded")
    return _Outputs(
        np.concatenate(labels),
        np.concatenate(logits) if logits else np.zeros((0, 0, 0), np.float32),
        {count: np.concatenate(values) for count, values in features.items()},
    )


def draw_evenly(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` of the examples at random, spread over the classes as evenly as possible."""
    if len(examples) <= count:
        return list(examples)
    order = np.random.default_rng(0).permutation(len(examples))
    labels = np.array([examples[place].label for place in order])
    rank = np.zeros(len(order), np.int64)  # how many images of its class come before it
    for label in np.unique(labels):
        own = labels == label
        rank[own] = np.arange(int(own.sum()))
    drawn = order[np.argsort(rank, kind="stable")[:count]]
    return [examples[place] for place in sorted(drawn)]
