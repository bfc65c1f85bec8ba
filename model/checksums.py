"""Checksums of the files included in the package, in a SHA256SUMS file that `sha256sum --check` can read."""

from __future__ import annotations

from pathlib import Path

from model.exceptions import ArtifactError
from model.files import atomic_write, sha256_of

CHECKSUMS = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files below `folder`, with their paths relative to it."""
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    with atomic_write(folder / CHECKSUMS) as target:
        target.writelines(f"{sha256_of(folder / file)}  {file}\n" for file in files if file != CHECKSUMS)


def verify_checksums(folder: Path) -> None:
    """Compare the files of `folder` with their checksums. Raises ArtifactError naming the first damaged file."""
    try:
        lines = (folder / CHECKSUMS).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"can't read {folder / CHECKSUMS}: reinstall the package") from error
    for line in lines:
        expected, _, name = line.partition("  ")
        try:
            actual = sha256_of(folder / name)
        except OSError as error:
            raise ArtifactError(f"can't read {folder / name}, a bundled file: reinstall the package") from error
        if actual != expected:
            raise ArtifactError(
                f"{folder / name}, a bundled file, is damaged: its SHA-256 is {actual} instead of {expected}; "
                "reinstall the package"
            )
