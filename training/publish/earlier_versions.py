"""Whether an earlier version of a network made fewer errors on the same images."""

from __future__ import annotations

from model.artifacts.artifact import Artifact, Manifest, list_artifacts
from model.artifacts.held_out import may_know_held_out


def better_version_note(artifact: Artifact) -> str:
    """A sentence that names the earlier version with the lowest top-1 error, if it is lower than this one's.

    Empty otherwise, and if no version of the same name was trained with the same split and measured on the same images.
    Versions that can't be read, or that may have been trained on these images, are left out.
    """
    current = artifact.manifest.main_measurement
    if current is None:
        return ""
    errors = [
        (measured.top1_error, folder, manifest.version)
        for folder, manifest in list_artifacts(artifact.path.parent)[0]
        if manifest.version < artifact.manifest.version
        and not may_know_held_out(manifest.training)
        and _measured_images(manifest) == _measured_images(artifact.manifest)
        and (measured := manifest.main_measurement) is not None
    ]
    error, folder, version = min(errors, key=lambda entry: entry[0], default=(1.0, artifact.path, 0))
    if error >= current.top1_error:
        return ""
    return (
        f"version {version} makes fewer errors on these images, {100 * error:.2f} % top-1 instead of "
        f"{100 * current.top1_error:.2f} %, but commands without --artifact now use this one: to use version "
        f"{version}, add --artifact {folder}, or delete {artifact.path}"
    )


def _measured_images(manifest: Manifest) -> tuple[object, ...]:
    """A key that two versions share if they were measured on the same images in the same way."""
    measured = manifest.main_measurement
    images = None if measured is None else (measured.split, measured.num_images, measured.crops)
    return manifest.training.get("split_sha256"), images
