"""Write artifacts, atomically and durably.

A new artifact is written beside its final folder, flushed to disk and renamed. The files of a published one are never
modified in place; an added file is written before the manifest that lists it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from model.artifacts.artifact import (
    LABELS,
    MANIFEST,
    Artifact,
    FileRecord,
    Label,
    Manifest,
    Measurement,
    load,
    read_manifest,
)
from model.artifacts.bundled import first_version
from model.artifacts.names import check_path_name
from model.artifacts.unpublished import unpublished_folder
from model.exceptions import ArtifactError
from model.files import atomic_write, exclusive_lock, fsync, move_durably, sha256_of

LOCK = ".lock"
"""Lock file in the folder of all versions, held while a version is numbered or a manifest is replaced."""


def publish(
    root: Path, name: str, labels: tuple[Label, ...], write: Callable[[Path], Manifest], version: int | None = None
) -> Artifact:
    """Create `root/name/VERSION` in one step and return it.

    `write` puts the files into the given folder and returns the manifest; name, version and checksums are set here.
    `version`: if None, one more than the highest existing version, or `first_version`. On failure nothing is left
    behind; what a killed process left is deleted by the next one. Raises ArtifactError, also for a full disk.
    """
    home = root / name
    try:
        check_path_name(name)
    except ValueError as error:
        raise ArtifactError(f"can't publish {name!r}: {error}") from error
    try:
        home.mkdir(parents=True, exist_ok=True)
        with unpublished_folder(home) as folder:
            (folder / LABELS).write_text(json.dumps([label.model_dump() for label in labels], indent=1) + "\n")
            manifest = write(folder)
            files = {
                file.name: FileRecord(bytes=file.stat().st_size, sha256=sha256_of(file))
                for file in sorted(folder.iterdir())
            }
            for file in folder.iterdir():
                fsync(file)
            folder.chmod(home.stat().st_mode & 0o777)  # by the umask: a temporary folder is the user's alone
            with exclusive_lock(home / LOCK, f"publishing {name}"):  # no two may take the same version
                versions = [int(path.name) for path in home.iterdir() if path.name.isdecimal()]
                if version is None:
                    version = max((1 + number for number in versions), default=first_version(name))
                manifest = manifest.model_copy(update={"name": name, "version": version, "files": files})
                (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")
                fsync(folder / MANIFEST)
                fsync(folder)
                target = home / str(version)
                folder.rename(target)
                fsync(home)
    except OSError as error:
        raise ArtifactError(f"can't publish in {home.absolute()}: {error.strerror or error}") from error
    return load(target)


def add_file(artifact: Artifact, name: str, write: Callable[[Path], list[Measurement]]) -> Artifact:
    """Add the file `name` to a published artifact, or replace it, in one step; return the new artifact.

    `write` writes the file to the given path and returns measurements, which replace those of the same split, crops
    and precision in the manifest. On failure nothing changes. Raises ArtifactError, and what `write` raises.
    """
    try:
        with unpublished_folder(artifact.path) as folder:
            new = folder / name
            measurements = write(new)
            record = FileRecord(bytes=new.stat().st_size, sha256=sha256_of(new))
            with exclusive_lock(artifact.path.parent / LOCK, f"adding a file to {artifact.path}"):
                before = read_manifest(artifact.path)  # others may have added files since `artifact` was loaded
                others = {file: record for file, record in before.files.items() if file != name}
                kept = [m for m in before.measurements if _subject(m) not in map(_subject, measurements)]
                if name in before.files:  # a manifest must never list a file other than the one on disk
                    _replace_manifest(artifact.path, before.model_copy(update={"files": others}))
                move_durably(new, artifact.path / name)
                update = {"files": others | {name: record}, "measurements": kept + measurements}
                _replace_manifest(artifact.path, before.model_copy(update=update))
    except OSError as error:
        raise ArtifactError(f"can't add {name} to {artifact.path}: {error.strerror or error}") from error
    return load(artifact.path)


def _replace_manifest(path: Path, manifest: Manifest) -> None:
    fsync(path)
    with atomic_write(path / MANIFEST) as file:
        file.write(manifest.model_dump_json(indent=1) + "\n")


def _subject(measurement: Measurement) -> tuple[str, int, str]:
    return measurement.split, measurement.crops, measurement.precision


def utc_now() -> datetime:
    """The current time in UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
