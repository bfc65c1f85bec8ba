"""Writing artifacts, atomically and durably.

A new artifact is written beside its place, flushed to the disk and renamed. The files of a published one are never
changed; a file that is added is there before the manifest that lists it.
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
"""In the folder of all versions: held while a version is numbered, and while a manifest is replaced."""


def publish(
    root: Path, name: str, labels: tuple[Label, ...], write: Callable[[Path], Manifest], version: int | None = None
) -> Artifact:
    """Create `root/name/VERSION` in one step and return it.

    `write` puts the files into the folder it is given and returns the manifest, in which name, version and checksums
    are set here. `version`: one more than the highest that exists, or `first_version`, unless given. On failure nothing
    is left behind; what a killed process left is deleted by the next one. Raises ArtifactError, also for a full disk.
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
            folder.chmod(home.stat().st_mode & 0o777)  # as the umask wants it: the temporary one is the user's alone
            with exclusive_lock(home / LOCK, f"publishing {name}"):  # two may not take the same version
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
    """Add the file `name` to a published artifact, or replace it, in one step; the artifact after that.

    `write` writes the file to the path it is given and returns measurements, which replace those of the same split,
    crops and precision in the manifest. On failure nothing changes. Raises ArtifactError, and what `write` raises.
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
                if name in before.files:  # no manifest may ever list another file than the one that is there
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
    """The current time in UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
