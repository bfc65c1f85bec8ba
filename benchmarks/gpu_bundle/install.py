"""Install a bundle on its target machine: check the pieces, unpack them, and install the wheels.

    python3 install.py            # in the folder with the pieces and manifest.json
    python3 install.py --check    # only say what is missing or damaged

Uses only Python's standard library and pip, and no network. Wheels are installed without resolving requirements: the
bundle has everything that this machine lacked when it was made; `pip check` at the end reports what is incompatible.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
CHUNK_BYTES = 2**20
Facts = dict[str, Any]
"""The manifest's content. `python`: minor version, such as 3.12. `replaced`: packages to uninstall. `kept`: sentences
about packages that keep a version other than the required one. `pieces`, `files`: name, bytes and sha256 of each."""


class DamagedError(Exception):
    """A file is missing or damaged."""


class PieceReader(io.RawIOBase):
    """Reads the pieces one after the other as one stream."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = list(paths)
        self._file: io.BufferedReader | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._file is None:
                if not self._paths:
                    return 0
                self._file = self._paths.pop(0).open("rb")
            if count := self._file.readinto(buffer):
                return count
            self._file.close()
            self._file = None


def report(line: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def checksum(content: Facts) -> str:
    """SHA-256 of the manifest's content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Facts:
    """The manifest's content. Raises DamagedError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        content: Facts = manifest["content"]
        intact = checksum(content) == manifest["sha256"]
    except FileNotFoundError:
        raise DamagedError(f"{MANIFEST} is missing") from None
    except (ValueError, TypeError, KeyError):
        raise DamagedError(f"{MANIFEST} is damaged") from None
    if not intact:
        raise DamagedError(f"{MANIFEST} is damaged")
    return content


def find_damage(folder: Path, expected: list[dict[str, Any]]) -> list[str]:
    """Which of the expected files are missing or damaged, one sentence each."""
    problems = []
    for item in expected:
        path = folder / item["name"]
        if not path.is_file():
            problems.append(f"{item['name']} is missing")
        elif path.stat().st_size != item["bytes"]:
            problems.append(f"{item['name']} is damaged: expected {item['bytes']:,} bytes, got {path.stat().st_size:,}")
        elif sha256_of(path) != item["sha256"]:
            problems.append(f"{item['name']} is damaged: its checksum differs")
    return problems


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(folder: Path, content: Facts, target: Path) -> None:
    """Unpack the files in the pieces below `target`, and check them. Raises DamagedError."""
    reader = io.BufferedReader(PieceReader([folder / piece["name"] for piece in content["pieces"]]), CHUNK_BYTES)
    with tarfile.open(fileobj=reader, mode="r|") as archive:
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(target)
    if problems := find_damage(target, content["files"]):
        raise DamagedError("\n".join(problems))


def install(wheels: Path, replaced: list[str], target: Path | None) -> None:
    """Install all wheels in a folder, and nothing else. `target`: a folder to install into, for PYTHONPATH.

    Raises subprocess.CalledProcessError.
    """
    pip = [sys.executable, "-m", "pip"]
    in_the_way = [name for name in replaced if is_installed(name)]
    if in_the_way and target is not None:
        report(f"{', '.join(in_the_way)}: uninstall before use, because a package in the bundle has the same files")
    elif in_the_way:
        run([*pip, "uninstall", "--yes", *in_the_way])
    names = ["==".join(path.name.split("-")[:2]) for path in sorted(wheels.glob("*.whl"))]
    options = ["--no-index", "--no-deps", "--find-links", str(wheels), "--disable-pip-version-check"]
    if target is not None:
        options += ["--target", str(target), "--upgrade"]
    if names:
        run([*pip, "install", *options, *names])
    if target is None:
        report("incompatible packages, according to pip:")
        subprocess.run([*pip, "check"], check=False)


def is_installed(name: str) -> bool:
    """Whether this Python has the package `name`."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def run(command: list[str]) -> None:
    """Show a command and run it. Raises subprocess.CalledProcessError."""
    report("$ " + " ".join(command))
    subprocess.run(command, check=True)


def install_bundle(folder: Path, arguments: argparse.Namespace) -> None:
    """Check, unpack and install. Raises DamagedError, subprocess.CalledProcessError."""
    content = read_manifest(folder)
    if problems := find_damage(folder, content["pieces"]):
        raise DamagedError("\n".join(problems))
    report(f"{len(content['pieces'])} pieces are complete")
    for sentence in content["kept"]:
        report(sentence)
    if arguments.check:
        return
    running = "{}.{}".format(*sys.version_info[:2])
    if running != content["python"] and not arguments.no_install:
        needed = f"Python {content['python']}"
        sys.exit(f"error: the wheels are for {needed}, but this is {running}: run install.py with {needed}")
    unpack(folder, content, arguments.into)
    report(f"{len(content['files']):,} files are in {arguments.into}")
    if not arguments.no_install:
        install(arguments.into / "wheels", content["replaced"], arguments.target)


def main() -> None:
    """Install the bundle; exit with status 1 and a message if something is missing, damaged or can't be installed."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Check, unpack and install a bundle, without a network.")
    parser.add_argument("--check", action="store_true", help="only say what is missing or damaged")
    parser.add_argument("--no-install", action="store_true", help="unpack without installing")
    parser.add_argument("--into", type=Path, default=here / "unpacked", help="folder for the files (default: unpacked)")
    parser.add_argument("--target", type=Path, help="install into this folder, for PYTHONPATH; default: this Python")
    try:
        install_bundle(here, parser.parse_args())
    except DamagedError as error:
        sys.exit(f"{error}\nerror: nothing was installed: copy what is named above again")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(error.cmd[:5])} ... ended with status {error.returncode}, see above")


if __name__ == "__main__":
    main()
