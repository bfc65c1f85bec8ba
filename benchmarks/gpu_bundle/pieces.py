"""Write a bundle: an archive in pieces of limited size, a manifest with checksums, and the script that unpacks it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_bundle import install
from benchmarks.gpu_bundle.wheels import BundleError

PIECE_BYTES = 24_000_000
SCRIPT = "install.py"


class PieceWriter:
    """A writable file that is split into pieces piece-0001, piece-0002, ... of at most `piece_bytes`."""

    def __init__(self, folder: Path, piece_bytes: int) -> None:
        self._folder, self._piece_bytes = folder, piece_bytes
        self._buffer = bytearray()
        self.pieces: list[dict[str, Any]] = []

    def write(self, data: bytes) -> int:
        self._buffer += data
        while len(self._buffer) >= self._piece_bytes:
            self._write_piece(self._piece_bytes)
        return len(data)

    def close(self) -> None:
        """Write the last piece."""
        if self._buffer:
            self._write_piece(len(self._buffer))

    def _write_piece(self, size: int) -> None:
        content, name = bytes(self._buffer[:size]), f"piece-{len(self.pieces) + 1:04d}"
        del self._buffer[:size]
        (self._folder / name).write_bytes(content)
        self.pieces.append({"name": name, "bytes": size, "sha256": hashlib.sha256(content).hexdigest()})


def write_bundle(
    output: Path,
    wheels: Sequence[Path],
    data: Sequence[Path],
    facts: Mapping[str, Any],
    piece_bytes: int = PIECE_BYTES,
) -> list[Path]:
    """Write a bundle to a new folder. Returns its files. Raises BundleError.

    `wheels` go to wheels/, the files and folders `data` to data/. `facts`: what else the manifest contains
    (`benchmarks.gpu_bundle.install.Facts`).
    """
    if output.exists() and any(output.iterdir()):
        raise BundleError(f"{output} isn't empty: choose another --output, or delete it")
    output.mkdir(parents=True, exist_ok=True)
    writer, files = PieceWriter(output, piece_bytes), []
    with tarfile.open(fileobj=writer, mode="w|", dereference=True) as archive:  # type: ignore[call-overload]
        for path, name in list_files(wheels, data):
            archive.add(path, name, recursive=False)
            files.append({"name": name, "bytes": path.stat().st_size, "sha256": install.sha256_of(path)})
    writer.close()
    content = dict(facts) | {"pieces": writer.pieces, "files": files}
    manifest = output / install.MANIFEST
    manifest.write_text(json.dumps({"sha256": install.checksum(content), "content": content}, indent=1) + "\n")
    if manifest.stat().st_size > PIECE_BYTES:
        raise BundleError(f"{len(files):,} files are too many for one manifest: put those of --data into an archive")
    shutil.copyfile(install.__file__, output / SCRIPT)
    return sorted(output.iterdir())


def list_files(wheels: Sequence[Path], data: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each file and its name in the bundle. Raises BundleError for a missing path or a duplicate name."""
    names = set()
    for path in data:
        if not path.exists():
            raise BundleError(f"{path} doesn't exist: correct --data")
        if path.resolve().name in names:
            raise BundleError(f"two --data paths have the name {path.resolve().name}: rename one")
        names.add(path.resolve().name)
    yield from ((path, f"wheels/{path.name}") for path in wheels)
    for path in map(Path.resolve, data):
        inside = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        yield from ((file, f"data/{file.relative_to(path.parent)}") for file in inside)
