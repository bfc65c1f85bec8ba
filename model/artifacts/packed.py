"""Write and unpack bundles: the folders of packed networks that are included in the package.

A bundle has network.pack (`model.network.compression`), the other files of the artifact, and their checksums.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import MANIFEST, NETWORK, NETWORK_FILES, Artifact, Manifest
from model.artifacts.bundled import BUNDLED
from model.artifacts.writer import publish
from model.checksums import verify_checksums, write_checksums
from model.exceptions import ArtifactError
from model.files import exclusive_lock, sha256_of
from model.network.compression import pack, unpack

PACKED = "network.pack"


def write_bundle(artifact: Artifact, output: Path) -> None:
    """Write the bundle of an artifact whose weights `pack` has rounded, such as one that `unpack_bundled` unpacked.

    Raises ArtifactError if its weights aren't rounded. Needs the onnx package.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / NETWORK
        shutil.copyfile(artifact.path / NETWORK, network)
        pack(network, output / PACKED)
        if sha256_of(network) != artifact.manifest.files[NETWORK].sha256:
            raise ArtifactError(f"the weights of {artifact.path} aren't rounded: pack its run with `alexnet pack`")
    complete_bundle(artifact, output)


def complete_bundle(artifact: Artifact, output: Path) -> None:
    """Copy the other files of an artifact beside its packed network in `output`, and write the checksums of all."""
    for name in (MANIFEST, *_small_files(artifact.manifest)):
        shutil.copyfile(artifact.path / name, output / name)
    write_checksums(output)


def unpack_bundled(name: str, root: Path) -> Artifact:
    """The artifact `name` of the package, unpacked to `root/name/VERSION` at first use and verified.

    Raises ArtifactError; for a damaged file, with its checksum.
    """
    return artifacts.load(bundled_folder(name, root))


def bundled_folder(name: str, root: Path) -> Path:
    """The folder that `unpack_bundled` loads. If it exists already it isn't verified here: loading it does that.

    Raises ArtifactError; for a damaged file of the package, with its checksum.
    """
    source, manifest = BUNDLED / name, _read_bundled_manifest(name)
    target = root / name / str(manifest.version)
    if target.is_dir():
        return _check_unpacked(target, name, manifest)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(root / f".{name}.lock", f"unpacking the network {name}"):
            if not target.is_dir():
                _unpack_to(target, source, manifest)
    except OSError as error:
        raise ArtifactError(
            f"can't unpack the network {name} ({unpacked_megabytes(name)} MB) in {root.absolute()}: "
            f"{error.strerror or error}"
        ) from error
    return _check_unpacked(target, name, manifest)


def unpacked_megabytes(name: str) -> int:
    """Disk space that a bundled network takes once it is unpacked. Raises ArtifactError."""
    return round(sum(file.bytes for file in _read_bundled_manifest(name).files.values()) / 1e6)


def _read_bundled_manifest(name: str) -> Manifest:
    """Raises ArtifactError; for a damaged file, with its checksum."""
    try:
        return artifacts.read_manifest(BUNDLED / name)
    except ArtifactError:
        verify_checksums(BUNDLED / name)  # which names the damaged file
        raise


def _check_unpacked(target: Path, name: str, manifest: Manifest) -> Path:
    existing = artifacts.read_manifest(target).files.get(NETWORK)
    if existing is None or existing.sha256 != manifest.files[NETWORK].sha256:
        raise ArtifactError(f"{target} isn't the bundled network {name}: move it elsewhere")
    return target


def _unpack_to(target: Path, source: Path, manifest: Manifest) -> None:
    name, root = target.parent.name, target.parents[1]
    verify_checksums(source)
    labels = artifacts.read_labels(source)

    def write(folder: Path) -> Manifest:
        (folder / NETWORK).write_bytes(unpack((source / PACKED).read_bytes()))
        if sha256_of(folder / NETWORK) != manifest.files[NETWORK].sha256:
            raise ArtifactError(f"the bundled network {name} is damaged: its checksum doesn't match the manifest")
        for file in _small_files(manifest):
            shutil.copyfile(source / file, folder / file)
        return manifest

    try:
        publish(root, name, labels, write, manifest.version)
    except ArtifactError as error:
        raise error.__cause__ if isinstance(error.__cause__, OSError) else error from None


def _small_files(manifest: Manifest) -> list[str]:
    """The files of an artifact that a bundle stores unchanged."""
    return [name for name in manifest.files if name not in NETWORK_FILES.values()]
