"""The artifact: the folder that training writes and everything else reads.

    artifacts/NAME/VERSION/
      manifest.json   what it is, how it was made, what was measured, and the sha256 of every other file
      network.onnx    uint8 images + crop ids -> probabilities, features (see `model.network.onnx_graph`)
      labels.json     class index -> {"id", "name"}
      history.json    how its training went, for people (see `model.artifacts.history`)
      network.int8.onnx   the same in whole numbers (see `model.network.quantization`); where `alexnet quantize` made it
      encoder.onnx    features -> binary codes (see `model.encoder`); where `alexnet codes train` made it

`model.artifacts.writer` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from model.exceptions import ArtifactError
from model.files import sha256_of
from model.images.preprocess import IMAGE_CONTRACT

MANIFEST, NETWORK, LABELS = "manifest.json", "network.onnx", "labels.json"
ENCODER = "encoder.onnx"

Precision = Literal["float32", "int8"]
"""In which form a network is used."""
NETWORKS: dict[Precision, str] = {"float32": NETWORK, "int8": "network.int8.onnx"}
MAKERS: dict[Precision, str] = {"int8": "quantize"}
"""Commands that add the other forms."""


class Label(BaseModel):
    """One class: `id` as in the data set (a folder or a synset), `name` for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    name: str


class Measurement(BaseModel):
    """Errors on one split. `crops` is 1 (center) or 10; `groups` holds accuracies of coarser classes by grouping;
    `published`: by others, not measured here."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    split: str
    images: int
    crops: int
    precision: Precision = "float32"
    top1_error: float
    top5_error: float
    groups: dict[str, float] = {}
    published: bool = False


class FileRecord(BaseModel):
    """Size in bytes and checksum of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What stands in manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: Literal[1] = 1
    name: str
    version: int
    created: datetime
    classes: int
    feature_dim: int
    architecture: dict[str, Any] = {}
    parameters: int
    image_contract: str = IMAGE_CONTRACT
    license: str
    training: dict[str, Any]
    measurements: list[Measurement] = []
    export_difference: float
    files: dict[str, FileRecord] = {}


@dataclass(frozen=True)
class Artifact:
    """A verified artifact: every file has the size and checksum that its manifest names. `precision`: of the network
    that is to be used."""

    path: Path
    manifest: Manifest
    labels: tuple[Label, ...]
    precision: Precision = "float32"

    @property
    def network(self) -> Path:
        return self.path / NETWORKS[self.precision]

    def default_index_path(self, indexes: Path) -> Path:
        """Where the index of this network's features is, unless told otherwise: one network, one index."""
        version = str(self.manifest.version) + ("" if self.precision == "float32" else f"-{self.precision}")
        return indexes / self.manifest.name / version

    @property
    def network_sha256(self) -> str:
        return self.manifest.files[NETWORKS[self.precision]].sha256


def find(path: Path) -> Path:
    """The artifact at `path`, or the newest one in it (`artifacts/NAME` or `artifacts`). Raises ArtifactError."""
    if (path / MANIFEST).is_file():
        return path
    folders = [file.parent for depth in ("*", "*/*") for file in path.glob(f"{depth}/{MANIFEST}")]
    published = [folder for folder in folders if not folder.name.startswith(".")]
    if not published:
        raise ArtifactError(f"expected an artifact in {path}, found none: train one, or name another folder")

    def age(folder: Path) -> tuple[datetime, int]:
        manifest = read_manifest(folder)
        return manifest.created, manifest.version

    return max(published, key=age)


def read_manifest(path: Path) -> Manifest:
    """Parse the manifest in the folder `path`. Raises ArtifactError."""
    try:
        return Manifest.model_validate_json((path / MANIFEST).read_bytes())
    except OSError as error:
        raise ArtifactError(f"expected {MANIFEST} in {path}, found: {error.strerror}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ArtifactError(
            f"expected a valid {MANIFEST} in {path}, found a fault at {where}: {problem['msg']}"
        ) from error


def load(path: Path, precision: Precision = "float32") -> Artifact:
    """Find, read and verify. Raises ArtifactError naming the file that is missing, damaged or made for other code."""
    path = find(path)
    manifest = read_manifest(path)
    if manifest.image_contract != IMAGE_CONTRACT:
        raise ArtifactError(
            f"expected an artifact for images read as {IMAGE_CONTRACT}, found {manifest.image_contract} in {path}"
        )
    for name in (NETWORK, LABELS):
        if name not in manifest.files:
            raise ArtifactError(f"expected {name} among the files of the manifest in {path}, found it missing")
    if NETWORKS[precision] not in manifest.files:
        raise ArtifactError(
            f"expected a network in {precision} in {path}, found none: make it with `alexnet {MAKERS[precision]}`"
        )
    for name, record in manifest.files.items():
        _verify(path / name, record)
    labels = read_labels(path)
    if len(labels) != manifest.classes:
        raise ArtifactError(f"expected {manifest.classes} labels in {path}, found {len(labels)}")
    return Artifact(path, manifest, labels, precision)


def read_labels(path: Path) -> tuple[Label, ...]:
    """The labels in the folder `path`. Raises ArtifactError."""
    try:
        return tuple(TypeAdapter(list[Label]).validate_json((path / LABELS).read_bytes()))
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"expected a list of labels in {path / LABELS}, found none") from error


def _verify(path: Path, record: FileRecord) -> None:
    if not path.is_file():
        raise ArtifactError(f"expected the file {path.name} in {path.parent}, found none")
    size = path.stat().st_size
    if size != record.bytes:
        raise ArtifactError(f"expected {record.bytes:,} bytes in {path}, found {size:,}")
    if sha256_of(path) != record.sha256:
        raise ArtifactError(f"expected {path} to have the checksum of its manifest, found another: the file is damaged")
