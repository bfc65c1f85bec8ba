"""Check, before anything else is imported, that this program's packages are its own and intact.

Imports only the standard library: `server`, `model`, `index` and `training` are common names that may be anybody's.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION = "alexnet-server"
"""As in `model.requirements`, which may be somebody else's."""
PACKAGES = ("index", "model", "server", "training")
ROOT = Path(__file__).resolve().parents[1]
AGAIN = "reinstall alexnet-server in its own environment (uv tool, pipx, or a new venv)"
RUNTIMES = {
    "onnxruntime": (
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-directml",
        "onnxruntime-migraphx",
        "onnxruntime-openvino",
        "onnxruntime-qnn",
        "onnxruntime-rocm",
        "onnxruntime-training",
    ),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss-gpu-cuvs"),
}
"""Modules that several distributions provide; each distribution overwrites the files of the others."""


class InstallationError(ImportError):
    """This program's packages are hidden, missing or overwritten, or packages it needs are missing or overwritten."""


def check_installation() -> None:
    """Raise InstallationError, which says what to do, unless this program's packages and its `RUNTIMES` are intact."""
    for name in PACKAGES:
        _check_place(name)
    _check_files()
    for module, names in RUNTIMES.items():
        _check_runtime(module, names)


def exit_if_damaged() -> None:
    """End the program with one line on standard error unless the installation is whole."""
    try:
        check_installation()
    except InstallationError as error:
        sys.exit(f"error: {error}")


def _check_place(name: str) -> None:
    """Raise InstallationError unless the package that Python would import is the one beside `alexnet`."""
    spec = find_spec(name)
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())]
    if not places:
        raise InstallationError(f"the package {name!r} of alexnet-server is missing in {ROOT}: {AGAIN}")
    place = Path(places[0]).resolve()
    if place == ROOT / name:
        return
    here = place.parent == Path.cwd().resolve()
    remedy = f"run alexnet from another folder, or rename {place.name}" if here else AGAIN
    raise InstallationError(f"{place} shadows the package {name!r} of alexnet-server in {ROOT}: {remedy}")


def _check_files() -> None:
    """Raise InstallationError if an installed file is missing, or if another package has overwritten it."""
    try:
        own = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return  # run from its source
    if Path(str(own.locate_file(""))).resolve() != ROOT:
        return  # the installed copy is elsewhere
    for path, size in _recorded_files(own):
        try:
            intact = (ROOT / path).stat().st_size == size
        except OSError:
            raise InstallationError(
                f"{path} of alexnet-server is missing in {ROOT}; another package's removal may have deleted it: {AGAIN}"
            ) from None
        if not intact and (owner := _other_owner(path)):  # without an owner, the user has changed it
            raise InstallationError(f"{owner} has overwritten {path} of alexnet-server: {AGAIN}")


def _recorded_files(installed: Distribution) -> Iterator[tuple[str, int]]:
    """Path and size of each file of our packages in the installer's RECORD; none when run from source."""
    own = ("alexnet", *PACKAGES)
    for path, _, size in csv.reader((installed.read_text("RECORD") or "").splitlines()):
        if size and path.partition("/")[0] in own:
            yield path, int(size)


def _other_owner(path: str) -> str | None:
    """The name of another distribution that has a file at this path, or None."""
    for other in distributions():
        name: str = other.metadata["Name"]
        rows = csv.reader((other.read_text("RECORD") or "").splitlines())
        if name != DISTRIBUTION and any(row[0] == path for row in rows):
            return name
    return None


def _check_runtime(module: str, names: tuple[str, ...]) -> None:
    """Raise InstallationError if several distributions of a module are installed, or if it is missing or incomplete."""
    installed = [name for name in names if _is_installed(name)]
    if len(installed) > 1:
        raise InstallationError(
            f"{' and '.join(installed)} are both installed and overwrite each other's files: create a new environment "
            "with only one of them"
        )
    spec = find_spec(module)
    if spec is None or spec.origin is None:  # a folder with leftover files has no origin
        name = (installed or names)[0]
        raise InstallationError(f"{module} is missing or incomplete: pip install --force-reinstall --no-deps {name}")


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
