"""Whether an earlier version of a network made fewer errors on the same images."""

from __future__ import annotations

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, Manifest, Measurement
from model.exceptions import ArtifactError

SPLIT = "split_sha256"


def better_version_note(artifact: Artifact) -> str:
    """A sentence that names the earlier version with the lowest top-1 error, if it is lower than this one's.

    Empty otherwise, and where no version of the same name was trained with the same split and measured on the same
    images. Versions that can't be read are left out.
    """
    current = _main_measurement(artifact.manifest)
    if current is None:
        return ""
    errors = dict[int, float]()
    for folder in artifact.path.parent.iterdir():
        if not folder.name.isdecimal() or int(folder.name) >= artifact.manifest.version:
            continue
        try:
            manifest = artifacts.read_manifest(folder)
        except ArtifactError:
            continue
        earlier = _main_measurement(manifest)
        if earlier is not None and _same_images(manifest, artifact.manifest) and _comparable(earlier, current):
            errors[manifest.version] = earlier.top1_error
    best = min(errors, key=lambda version: (errors[version], -version), default=None)
    if best is None or errors[best] >= current.top1_error:
        return ""
    return (
        f"version {best} makes fewer errors on these images, {100 * errors[best]:.2f} % top-1 instead of "
        f"{100 * current.top1_error:.2f} %, but commands without --artifact now use this one: to use version {best}, "
        f"add --artifact {artifact.path.parent / str(best)}, or delete {artifact.path}"
    )


def _main_measurement(manifest: Manifest) -> Measurement | None:
    """In float32, with the most crops."""
    own = [m for m in manifest.measurements if m.precision == "float32" and not m.published]
    return max(own, key=lambda measurement: measurement.crops, default=None)


def _same_images(first: Manifest, second: Manifest) -> bool:
    return SPLIT in first.training and first.training[SPLIT] == second.training.get(SPLIT)


def _comparable(first: Measurement, second: Measurement) -> bool:
    return (first.split, first.num_images, first.crops) == (second.split, second.num_images, second.crops)
