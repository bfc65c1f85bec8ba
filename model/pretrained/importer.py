"""Import of published networks: a file becomes an artifact that computes what the file does.

Channel order and standard deviations go into conv1's weights, the mean into the graph's mean image, so that the
artifact takes plain RGB pixels and is served, indexed, quantized and fine-tuned like every other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import NETWORK, Artifact, Label, Manifest
from model.artifacts.writer import publish, utc_now
from model.download import RemoteFile, fetch, verify
from model.exceptions import ArtifactError, DownloadError, ExportError
from model.files import sha256_of
from model.images.contract import IMAGE_SIZE
from model.images.crops import CENTER_CROP, TEN_CROP, crop_coordinates
from model.network.registry import build_spec
from model.network.spec import NetworkSpec
from model.pretrained.specs import Array, PretrainedFile, PretrainedSpec
from model.requirements import install_extra

SYNSETS = Path(__file__).parents[1] / "imagenet.tsv"
CAFFE_SUFFIX = ".caffemodel"
UNKNOWN_LICENSE = "unknown: the file isn't one of the published ones"
CASES = ((2, CENTER_CROP), (2, TEN_CROP))
"""Numbers of images, and crops, on which the artifact is compared with the file."""


def pull(pretrained: PretrainedSpec, root: Path, downloads: Path, mirror: str, log: Callable[[str], None]) -> Artifact:
    """The artifact of a published network, downloaded and imported unless it is in `root` already.

    Raises DownloadError, ArtifactError or ExportError; only an incomplete download may be left, to be resumed.
    """
    release = pretrained.releases[0]
    if (existing := _find_imported(pretrained, root, release.sha256, log)) is not None:
        return existing
    return import_file(pretrained, root, fetch(release, downloads, mirror), release, log)


def import_file(
    pretrained: PretrainedSpec,
    root: Path,
    file: Path,
    release: RemoteFile | None,
    log: Callable[[str], None],
    mean: Path | None = None,
) -> Artifact:
    """The artifact of a file on disk. `release`: which of the published files it is; None: another file, whose license
    and errors aren't known. `mean`: the mean image of a Caffe model (`model.pretrained.caffe_mean`).

    Raises ArtifactError, ExportError.
    """
    if mean is not None and file.suffix != CAFFE_SUFFIX:
        raise ArtifactError(f"only {CAFFE_SUFFIX} files take a mean image: leave out --mean for {file.name}")
    checksum = release.sha256 if release is not None else sha256_of(file)
    if (existing := _find_imported(pretrained, root, checksum, log, mean)) is not None:
        return existing
    log(f"importing {file}")
    return _import(pretrained, root, file, checksum, release, mean)


def identify_release(pretrained: PretrainedSpec, file: Path) -> RemoteFile:
    """The published file that `file` is, by size and checksum. Raises DownloadError if it is none of them."""
    if not file.is_file():
        raise DownloadError(f"{file} doesn't exist")
    size = file.stat().st_size
    candidates = [release for release in pretrained.releases if release.bytes in (0, size)]
    errors = []
    for release in candidates or pretrained.releases[:1]:
        try:
            verify(file, release)
        except DownloadError as error:
            errors.append(error)
        else:
            return release
    raise errors[0]


def read_imagenet_labels() -> tuple[Label, ...]:
    """ImageNet's 1000 classes in the order of their synsets, as in all published networks; names from WordNet."""
    lines = SYNSETS.read_text(encoding="utf-8").splitlines()
    return tuple(Label(id=synset, name=words) for synset, _, words in (line.partition("\t") for line in lines))


def read_file(pretrained: PretrainedSpec, file: Path, mean: Path | None = None) -> tuple[NetworkSpec, PretrainedFile]:
    """Read a file, and compare its layers with the network's. `mean`: see `import_file`. Raises ArtifactError."""
    spec = build_spec(pretrained.network)
    try:
        if file.suffix == ".pth":
            from model.pretrained import torch_reader

            contents = torch_reader.read(file, spec)
        elif file.suffix == CAFFE_SUFFIX:
            from model.pretrained import caffe_reader

            contents = caffe_reader.read(file, spec)
            if mean is not None:
                from model.pretrained.caffe_mean import read_mean

                contents = contents._replace(mean=read_mean(mean), mean_name=f"image {mean.name}")
        else:
            from model.pretrained import onnx_reader

            contents = onnx_reader.read(file, spec)
    except ModuleNotFoundError as error:
        extra = install_extra("train" if error.name == "torch" else "pull")
        raise ArtifactError(f"{error.name} is needed to read {file}: {extra}") from error
    config = replace(pretrained.network, input_size=contents.input_size)
    return build_spec(config), contents


def _find_imported(
    pretrained: PretrainedSpec, root: Path, checksum: str, log: Callable[[str], None], mean: Path | None = None
) -> Artifact | None:
    """An earlier version imported from the same file; errors of unusable versions are logged."""
    checksums = checksum, _mean_checksum(mean)
    for manifest in sorted((root / pretrained.name).glob("*/manifest.json")):
        try:
            provenance = artifacts.read_manifest(manifest.parent).training
            if (provenance.get("sha256"), provenance.get("mean_sha256", "")) == checksums:
                artifact = artifacts.load(manifest.parent)
                log(f"already imported from the same file: {manifest.parent}")
                return artifact
        except ArtifactError as error:
            log(f"an earlier version can't be used: {error}")
    return None


def _mean_checksum(mean: Path | None) -> str:
    """Raises ArtifactError."""
    try:
        return "" if mean is None else sha256_of(mean)
    except OSError as error:
        raise ArtifactError(f"can't read the mean image {mean}: {error.strerror or error}") from error


def _import(
    pretrained: PretrainedSpec,
    root: Path,
    file: Path,
    checksum: str,
    release: RemoteFile | None,
    mean: Path | None,
) -> Artifact:
    spec, contents = read_file(pretrained, file, mean)

    def write(folder: Path) -> Manifest:
        from model.artifacts.weights import write_kernels

        difference = convert(pretrained, spec, contents, folder / NETWORK)
        write_kernels(folder)
        return Manifest(
            name=pretrained.name,
            version=1,
            created=utc_now(),
            num_classes=spec.config.num_classes,
            feature_dim=spec.config.hidden,
            network=spec.config,
            parameters=sum(values.size for values in contents.weights.values()),
            license=pretrained.license if release is not None else UNKNOWN_LICENSE,
            training={
                "dataset": "ImageNet (ILSVRC 2012)" if release is not None else "unknown",
                "file": release.name if release is not None else file.name,
                "url": release.url if release is not None else "",
                "sha256": checksum,
                "mean_sha256": _mean_checksum(mean),
                "preprocessing": describe_preprocessing(pretrained, contents),
            },
            measurements=[pretrained.measurement()] if release is not None else [],
            export_difference=difference,
        )

    return publish(root, pretrained.name, read_imagenet_labels(), write)


def describe_preprocessing(pretrained: PretrainedSpec, contents: PretrainedFile) -> str:
    """A description of how an image is prepared for an imported network, and of the images that it was trained on."""
    values = pretrained.mean if contents.mean is None else contents.mean
    mean = contents.mean_name
    if np.ndim(values) == 1:
        mean = f"{_format_numbers(values)} ({f'RGB {mean}'.strip()})"
    std = "" if set(pretrained.std) == {1.0} else f", over {_format_numbers(pretrained.std)}"
    side = contents.input_size
    return (
        f"center 256 x 256 after the shorter side is resized to 256; crops of {side} x {side}, "
        f"{' '.join(pretrained.channel_order)}, minus the mean {mean}{std}; its publisher trained on "
        f"{pretrained.training_images}"
    )


def _format_numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def convert(pretrained: PretrainedSpec, spec: NetworkSpec, contents: PretrainedFile, target: Path) -> float:
    """Write the served graph, and return the largest difference of a probability from what the file computes.

    Raises ExportError, leaving no file, when they differ.
    """
    import onnx

    from model.network.equivalence import check_equivalence
    from model.network.onnx_graph import build_graph

    mean = _mean_image(pretrained, contents)
    conv1 = contents.weights["conv1.weight"]
    conv1 = conv1[:, ::-1] if pretrained.channel_order == "BGR" else conv1
    conv1 = conv1 / np.array(pretrained.std, np.float32)[:, None, None]
    weights = dict(contents.weights) | {"conv1.weight": np.ascontiguousarray(conv1, np.float32)}
    onnx.save(build_graph(spec, weights, mean), str(target))
    try:
        return check_equivalence(target, lambda images, crops: run_file(pretrained, contents, images, crops), CASES)
    except ExportError:
        target.unlink()
        raise


def run_file(
    pretrained: PretrainedSpec, contents: PretrainedFile, images: NDArray[np.uint8], crops: tuple[int, ...]
) -> tuple[Array, Array]:
    """What the file itself computes from (N, 256, 256, 3) images: probabilities and features, means over the crops."""
    rows, columns = crop_coordinates(contents.input_size)
    pixels, mean = images.astype(np.float32), _mean_image(pretrained, contents)

    def run(crop: int) -> tuple[Array, Array]:
        seen = pixels[:, rows[crop]][:, :, columns[crop]]
        return contents.run(pretrained.preprocess(seen, mean[rows[crop]][:, columns[crop]]))

    results = [run(crop) for crop in crops]
    probabilities, features = (np.mean(values, axis=0) for values in zip(*results, strict=True))
    return probabilities, features


def _mean_image(pretrained: PretrainedSpec, contents: PretrainedFile) -> Array:
    """The mean that is subtracted from an image, (256, 256, 3) in RGB."""
    mean = np.array(pretrained.mean, np.float32) if contents.mean is None else contents.mean
    return np.broadcast_to(mean, (IMAGE_SIZE, IMAGE_SIZE, 3))
