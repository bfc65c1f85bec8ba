"""The artifact: the folder that training writes and everything else reads.

    artifacts/NAME/VERSION/
      manifest.json       what it is, how it was made, what was measured, and the sha256 of every other file
      network.onnx        uint8 images and crop ids -> probabilities and features (`model.network.onnx_graph`)
      labels.json         class index -> {"id", "name"}
      kernels.npy         the kernels of conv1, for Figure 3 (`model.artifacts.kernels`); optional
      history.json        loss and errors of its training (`model.artifacts.history`); optional
      network.int8.onnx   the network in int8 (`model.network.quantization`); optional, from `alexnet quantize`
      encoder.onnx        features -> binary codes (`model.encoder`); optional, from `alexnet codes train`
      familiarity.npz     how familiar an image is, from its features (`model.artifacts.familiarity`); optional

`model.artifacts.writer` writes it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from model.artifacts.held_out import check_splits
from model.artifacts.intervals import Interval, wilson_interval
from model.artifacts.names import ClassName, PathName, PlainText
from model.exceptions import ArtifactError
from model.files import sha256_of
from model.images.contract import DEFAULT_CONTRACT, ImageContract
from model.network.spec import NetworkConfig
from model.shell_command import Command

SCHEMA_VERSION: Literal[2] = 2
MANIFEST, NETWORK, LABELS = "manifest.json", "network.onnx", "labels.json"
ENCODER = "encoder.onnx"
MAX_MANIFEST_BYTES, MAX_JSON_BYTES = 2**22, 2**24
MAX_FILE_BYTES, MAX_NETWORK_BYTES = 2**26, 2**31
"""Limits of an artifact's other files. Larger ones are refused before they are read; ONNX allows no larger networks."""

logger = logging.getLogger(__name__)

Precision = Literal["float32", "int8"]
"""Numeric precision of a served network."""
NETWORK_FILES: dict[Precision, str] = {"float32": NETWORK, "int8": "network.int8.onnx"}
PRECISION_COMMANDS: dict[Precision, str] = {"int8": "quantize"}
"""The commands that add networks in other precisions."""
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
"""At most what a float, and the numbers of JSON in a browser, hold exactly."""


class Label(BaseModel):
    """A class: `id` as in the dataset (a folder or a synset), and a `name` to show."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: ClassName
    name: ClassName


def _top1_interval(fields: dict[str, Any]) -> Interval:
    return wilson_interval(fields["top1_error"], fields["num_images"])


def _top5_interval(fields: dict[str, Any]) -> Interval | None:
    error = fields["top5_error"]
    return None if error is None else wilson_interval(error, fields["num_images"])


class Measurement(BaseModel):
    """Errors on one split. `crops` is 1 (center) or 10. `groups`: accuracy of coarser classes, by grouping.

    `top1_interval`, `top5_interval`: 95 % intervals by Wilson's method, from the number of images unless given.
    `top5_error`: None with five classes or fewer, where it says nothing. `balanced_accuracy`: mean recall of the
    classes that have images; None if the recalls aren't known. `calibration_error`: the expected calibration error of
    the probabilities (`training.evaluation.calibration`); `uncalibrated_error`: the same at temperature 1; None if they
    weren't measured.
    `published`: reported by the network's publisher, not measured here."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    split: PlainText
    num_images: Count
    crops: int
    precision: Precision = "float32"
    top1_error: Share
    top1_interval: Interval = Field(default_factory=_top1_interval)
    top5_error: Share | None
    top5_interval: Interval | None = Field(default_factory=_top5_interval)
    balanced_accuracy: Share | None = None
    balanced_accuracy_interval: Interval | None = None
    groups: dict[PlainText, Share] = {}
    calibration_error: float | None = None
    uncalibrated_error: float | None = None
    published: bool = False


class Calibration(BaseModel):
    """The temperature in the network's graph, and the images that it and the familiarity were fitted on.

    `temperature`: divisor of the logits. `split`, `num_images`: the held-out images that the temperature was fitted on
    and that familiarity compares with; None and 0 if there were none: then the temperature is 1, and there is no
    familiarity. `crops`: number of crops whose mean probability was fitted. `num_training_images`: number of images
    whose features define what is familiar.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    temperature: float = Field(gt=0)
    split: PlainText | None
    num_images: Count
    crops: int
    num_training_images: Count


class FileRecord(BaseModel):
    """Size in bytes and checksum of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """The contents of manifest.json. `network`: the options of the network; None if it isn't one of ours.
    `calibration`: None if its probabilities were never calibrated."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    schema_version: Literal[2] = SCHEMA_VERSION
    name: PathName
    version: Count
    created: AwareDatetime
    num_classes: Count
    feature_dim: Count
    network: NetworkConfig | None = None
    parameters: Count
    image_contract: PlainText = DEFAULT_CONTRACT.name
    license: PlainText
    training: dict[str, Any]
    measurements: list[Measurement] = []
    calibration: Calibration | None = None
    export_difference: float
    files: dict[PathName, FileRecord] = {}

    @field_validator("training")
    @classmethod
    def _check_training(cls, training: dict[str, Any]) -> dict[str, Any]:
        check_splits(training)
        return training

    @property
    def main_measurement(self) -> Measurement | None:
        """The float32 measurement with the most crops, which is the last; None if the network was never measured."""
        return next((m for m in reversed(self.measurements) if m.precision == "float32"), None)


@dataclass(frozen=True)
class Artifact:
    """A verified artifact: every file has the size and checksum in its manifest. `precision`: of the network to use."""

    path: Path
    manifest: Manifest
    labels: tuple[Label, ...]
    precision: Precision = "float32"

    @property
    def network_path(self) -> Path:
        """The ONNX file of the network."""
        return self.path / NETWORK_FILES[self.precision]

    def default_index_path(self, indexes: Path) -> Path:
        """Default path of the index of this network's features: each network has its own index."""
        version = str(self.manifest.version) + ("" if self.precision == "float32" else f"-{self.precision}")
        return indexes / self.manifest.name / version

    @property
    def image_contract(self) -> ImageContract:
        """How images are decoded for this network."""
        return ImageContract.parse(self.manifest.image_contract)

    @property
    def network_sha256(self) -> str:
        return self.manifest.files[NETWORK_FILES[self.precision]].sha256


class _SchemaVersion(BaseModel):
    schema_version: int


def read_manifest(path: Path) -> Manifest:
    """Parse the manifest in the folder `path`. Raises ArtifactError."""
    try:
        content = read_json(path / MANIFEST, MAX_MANIFEST_BYTES)
        if _SchemaVersion.model_validate_json(content).schema_version != SCHEMA_VERSION:
            raise ArtifactError(f"{path} was made by another version of this program: train or pull it again")
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the top level"
        shown = where if where.isprintable() else ascii(where)
        raise ArtifactError(f"invalid {path / MANIFEST}, at {shown}: {problem['msg']}") from error


def load(path: Path, precision: Precision = "float32", served: Path | None = None) -> Artifact:
    """Read and verify the artifact at `path`, or the newest in it (`artifacts/NAME` or `artifacts`).

    Raises ArtifactError naming the missing or damaged file, or for an unknown precision. If `path` holds several
    artifacts, an unusable one is skipped with a warning and the next newest is loaded. If that one is `served` (the
    folder of the artifact in use), the error of a skipped one is raised instead.
    """
    if precision not in NETWORK_FILES:
        raise ArtifactError(f"unknown precision {precision!r}: use {' or '.join(NETWORK_FILES)}")
    artifact = _load_folder(path) if (path / MANIFEST).is_file() else _load_newest(path, served)
    if NETWORK_FILES[precision] not in artifact.manifest.files:
        command = Command(PRECISION_COMMANDS[precision], "--artifact", artifact.path, "--data")
        raise ArtifactError(
            f"{artifact.path} has no {precision} network: choose --precision float32 (ALEXNET_PRECISION), or add one "
            f"with `{command} DATA`, where DATA is the data set that it was trained on"
        )
    return replace(artifact, precision=precision)


def list_artifacts(path: Path) -> tuple[list[tuple[Path, Manifest]], list[ArtifactError]]:
    """The artifacts in `path` (`artifacts/NAME` or `artifacts`), newest first, and the errors of unreadable ones.

    Only their manifests are read.
    """
    files = [file for depth in ("*", "*/*") for file in path.glob(f"{depth}/{MANIFEST}") if file.is_file()]
    errors, listed = list[ArtifactError](), list[tuple[Path, Manifest]]()
    for folder in (file.parent for file in files if not file.parent.name.startswith(".")):
        try:
            listed.append((folder, read_manifest(folder)))
        except ArtifactError as error:
            errors.append(error)
    listed.sort(key=lambda entry: (entry[1].created, entry[1].version, entry[0]), reverse=True)
    return listed, errors


def _load_newest(path: Path, served: Path | None) -> Artifact:
    listed, errors = list_artifacts(path)
    for folder, _ in listed:
        if errors and folder == served:
            break
        try:
            artifact = _load_folder(folder)
        except ArtifactError as error:
            errors.append(error)
            continue
        for skipped in errors:
            logger.warning("skipped an artifact in %s: %s", path, skipped)
        return artifact
    raise errors[0] if errors else ArtifactError(f"no artifact in {path}: train one, or choose another folder")


def _load_folder(path: Path) -> Artifact:
    manifest = read_manifest(path)
    try:
        ImageContract.parse(manifest.image_contract)
    except ArtifactError as error:
        raise ArtifactError(f"{path} isn't supported by this version: {error}; train or pull it again") from error
    for name in (NETWORK, LABELS):
        if name not in manifest.files:
            raise ArtifactError(f"the manifest in {path} doesn't list {name}: the artifact is incomplete")
    for name, record in manifest.files.items():
        _verify(path / name, record)
    labels = read_labels(path)
    if len(labels) != manifest.num_classes:
        raise ArtifactError(f"expected {manifest.num_classes} labels in {path / LABELS}, got {len(labels)}")
    return Artifact(path, manifest, labels)


def read_labels(path: Path) -> tuple[Label, ...]:
    """The labels in the folder `path`. Raises ArtifactError."""
    try:
        return tuple(TypeAdapter(list[Label]).validate_json(read_json(path / LABELS)))
    except ValidationError as error:
        raise ArtifactError(f"{path / LABELS} isn't a list of labels: {error.errors()[0]['msg']}") from error


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The bytes of a JSON file. Raises ArtifactError, also if it isn't a regular file or exceeds `max_bytes`."""
    try:
        if not path.is_file() or path.stat().st_size > max_bytes:
            raise ArtifactError(f"{path} is missing, not a regular file, or larger than {max_bytes:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"can't read {path}: {error.strerror}") from error


def _verify(path: Path, record: FileRecord) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: the artifact is incomplete")
    size = path.stat().st_size
    if size != record.bytes:
        raise ArtifactError(f"{path} is damaged: expected {record.bytes:,} bytes, got {size:,}")
    limit = MAX_NETWORK_BYTES if path.suffix == ".onnx" else MAX_FILE_BYTES
    if size > limit:
        raise ArtifactError(f"{path} has {size:,} bytes: the limit for such a file of an artifact is {limit:,}")
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise ArtifactError(f"can't read {path}: {error.strerror}") from error
    if sha256 != record.sha256:
        raise ArtifactError(f"{path} is damaged: its SHA-256 is {sha256}, not {record.sha256} as in the manifest")
