"""`alexnet pull`: a published file becomes an artifact that answers as the file itself does.

Color order and deviations go into conv1's weights, the mean into the graph's mean image, so that the artifact takes
plain RGB pixels as every other one does, is served, indexed, quantized and fine-tuned like them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import NETWORK, Artifact, Label, Manifest
from model.artifacts.writer import now, publish
from model.download import fetch, verify
from model.exceptions import ArtifactError, DownloadError, ExportError
from model.files import sha256_of
from model.images.crops import CENTER_CROP, TEN_CROP, crop_coordinates
from model.images.preprocess import IMAGE_SIZE
from model.network.spec import Architecture
from model.pretrained.specs import Array, Published, Release, Source
from model.runtime import OnnxModel

SYNSETS = Path(__file__).parents[1] / "imagenet.tsv"
TOLERANCE = 1e-4
"""Largest difference of a probability, and of a feature in units of the largest one. Sums in another order move them by
less than 1e-5; a swapped channel, group, mean or norm by more than 1e-3."""
PROVEN_ON = 2
"""Images."""


def pull(published: Published, root: Path, downloads: Path, mirror: str, say: Callable[[str], None]) -> Artifact:
    """The artifact of a published network, fetched and imported unless it is in `root` already.

    Raises DownloadError, ArtifactError or ExportError, and leaves nothing half-made but a part to go on from.
    """
    release = published.releases[0]
    if (present := _present(published, root, release.sha256, say)) is not None:
        return present
    return take(published, root, fetch(release, downloads, mirror), release, say)


def take(published: Published, root: Path, file: Path, release: Release | None, say: Callable[[str], None]) -> Artifact:
    """The artifact of a file on disk, which is `release`, or (None) not one that its publisher gives a checksum of."""
    checksum = release.sha256 if release is not None else sha256_of(file)
    if (present := _present(published, root, checksum, say)) is not None:
        return present
    say(f"importing {file}")
    return _import(published, root, file, checksum, release)


def _present(published: Published, root: Path, checksum: str, say: Callable[[str], None]) -> Artifact | None:
    for manifest in sorted((root / published.name).glob("*/manifest.json")):
        if artifacts.read_manifest(manifest.parent).training.get("sha256") == checksum:
            say(f"there already, from the same file: {manifest.parent}")
            return artifacts.load(manifest.parent)
    return None


def known(published: Published, file: Path) -> Release:
    """Which release a file is, by size and checksum. Raises DownloadError where it is none of them."""
    if not file.is_file():
        raise DownloadError(f"expected a file at {file}, found none")
    size = file.stat().st_size
    alike = [release for release in published.releases if release.bytes in (0, size)] or list(published.releases[:1])
    errors = []
    for release in alike:
        try:
            verify(file, release)
        except DownloadError as error:
            errors.append(error)
        else:
            return release
    raise errors[0]


def labels() -> tuple[Label, ...]:
    """ImageNet's 1000 classes in the order of their synsets, which is that of all published networks; words of
    WordNet."""
    lines = SYNSETS.read_text(encoding="utf-8").splitlines()
    return tuple(Label(id=synset, name=words) for synset, _, words in (line.partition("\t") for line in lines))


def read(published: Published, file: Path) -> tuple[Architecture, Source]:
    """The file's layers, compared with the architecture they should have. Raises ArtifactError."""
    architecture = published.architecture
    try:
        if file.suffix == ".pth":
            from model.pretrained import torch_reader

            source = torch_reader.read(file, architecture)
        elif file.suffix == ".caffemodel":
            from model.pretrained import caffe_reader

            source = caffe_reader.read(file, architecture)
        else:
            from model.pretrained import onnx_reader

            source = onnx_reader.read(file, architecture)
    except ModuleNotFoundError as error:
        extra = "train" if error.name == "torch" else "pull"
        raise ArtifactError(f"expected {error.name}, found none: pip install -e '.[cpu,{extra}]'") from error
    return replace(architecture, side=source.crop), source  # type: ignore[arg-type]


def _import(published: Published, root: Path, file: Path, checksum: str, release: Release | None) -> Artifact:
    architecture, source = read(published, file)

    def write(folder: Path) -> Manifest:
        difference = convert(published, architecture, source, folder / NETWORK)
        return Manifest(
            name=published.name,
            version=1,
            created=now(),
            classes=architecture.classes,
            feature_dim=architecture.hidden,
            architecture=asdict(architecture),
            parameters=sum(values.size for values in source.weights.values()),
            license=published.license,
            training=_provenance(published, file, checksum, release),
            measurements=[published.measurement()] if release is not None else [],
            export_difference=difference,
        )

    return publish(root, published.name, labels(), write)


def _provenance(published: Published, file: Path, checksum: str, release: Release | None) -> dict[str, Any]:
    order = " ".join(published.colors)
    return {
        "dataset": "ImageNet (ILSVRC 2012)",
        "file": release.file if release else file.name,
        "address": release.address if release else "",
        "sha256": checksum,
        "preprocessing": f"{order}, minus {published.mean} (RGB), over {published.deviation}",
    }


def convert(published: Published, architecture: Architecture, source: Source, target: Path) -> float:
    """Write the served graph and return the largest difference of a probability from the file's own answers.

    Raises ExportError, leaving no file, when they differ.
    """
    import onnx

    from model.network.onnx_graph import build
    from model.network.onnx_layers import Layers

    mean = np.broadcast_to(np.array(published.mean, np.float32), (IMAGE_SIZE, IMAGE_SIZE, 3))
    first = source.weights["conv1.weight"]
    first = first[:, ::-1] if published.colors == "BGR" else first
    first = first / np.array(published.deviation, np.float32)[:, None, None]
    weights = dict(source.weights) | {"conv1.weight": np.ascontiguousarray(first, np.float32)}
    onnx.save(build(Layers(architecture, weights), mean), str(target))
    try:
        return prove_equal(published, source, target)
    except ExportError:
        target.unlink()
        raise


def prove_equal(published: Published, source: Source, network: Path) -> float:
    """Compare the served graph with the published file on random images, the center crop and ten crops."""
    generator = np.random.default_rng()  # unseeded: other images at each import
    blocks = generator.integers(0, 256, (PROVEN_ON, 8, 8, 3)).repeat(32, 1).repeat(32, 2)
    images = (blocks + generator.normal(0, 30, blocks.shape)).clip(0, 255).astype(np.uint8)
    model, worst = OnnxModel(network, "cpu"), 0.0
    for crops in (CENTER_CROP, TEN_CROP):
        expected = answers(published, source, images, crops)
        found = model.run(images, crops)
        difference = float(np.abs(found[0] - expected[0]).max())
        deviation = float(np.abs(found[1] - expected[1]).max() / max(float(expected[1].max()), 1e-6))
        if not (difference <= TOLERANCE and deviation <= TOLERANCE):
            raise ExportError(
                f"expected the artifact to answer as {published.name}'s file to {TOLERANCE:g}, found differences of "
                f"{difference:g} in the probabilities and {deviation:g} in the features (crops {crops})"
            )
        worst = max(worst, difference)
    return worst


def answers(
    published: Published, source: Source, images: NDArray[np.uint8], crops: tuple[int, ...]
) -> tuple[Array, Array]:
    """What the file itself says of (N, 256, 256, 3) images: probabilities and features, means over the crops."""
    rows, columns = crop_coordinates(source.crop)
    pixels = images.astype(np.float32)
    said = [source.answer(published.seen(pixels[:, rows[crop]][:, :, columns[crop]])) for crop in crops]
    probabilities, features = (np.mean(found, axis=0) for found in zip(*said, strict=True))
    return probabilities, features
