"""Choose the artifact to use: the named one, else the user's newest, else the bundled network for photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model.artifacts.artifact import MANIFEST
from model.artifacts.bundled import DEFAULT_NETWORK, is_bundled
from model.artifacts.packed import bundled_folder, unpacked_megabytes
from model.exceptions import ArtifactError


def choose_artifact(named: Path | None, home: Path, notify: Callable[[str], None], served: Path | None = None) -> Path:
    """The folder `named`, or the folder of the bundled network of that name; `default_artifact` if `named` is None.

    A folder of artifacts takes precedence over a bundled network of the same name; a folder of images doesn't. Raises
    ArtifactError, also if a bundled network is needed but the folder `home` doesn't exist.
    """
    if named is None:
        return default_artifact(home, notify, served)
    if not is_bundled(str(named)) or _holds_artifact(named):
        return named
    _require_home(home)
    cache = networks_folder(home)
    if not (cache / named).is_dir():
        notify(f"unpacking the bundled network {named} in {cache} ({unpacked_megabytes(str(named))} MB)")
    return bundled_folder(str(named), cache)


def default_artifact(home: Path, notify: Callable[[str], None], served: Path | None = None) -> Path:
    """The folder of the artifacts below `home`, of which the newest is used; if it has none, the folder of the bundled
    network `photos`, which is unpacked below `home` at first use.

    `notify` gets a message in the latter case. `served`: the folder of the network in use, for a reload. If that is a
    user's network and all of the user's are gone, as when a disk isn't mounted, the bundled one doesn't replace it.
    Raises ArtifactError, also in that case, or if the folder `home` doesn't exist.
    """
    _require_home(home)
    folder = home / "artifacts"
    if _holds_artifact(folder):
        return folder
    if served is not None and served.is_relative_to(folder):
        raise ArtifactError(f"no artifact left in {folder}: {served} stays in use")
    cache = networks_folder(home)
    unpacked = ""
    if not (cache / DEFAULT_NETWORK).is_dir():
        unpacked = f", unpacked in {cache} ({unpacked_megabytes(DEFAULT_NETWORK)} MB)"
    notify(
        f"no network of your own in {folder}: using the bundled network {DEFAULT_NETWORK}{unpacked}; choose another "
        "with --artifact FOLDER"
    )
    return bundled_folder(DEFAULT_NETWORK, cache)


def _require_home(home: Path) -> None:
    if not home.is_dir():
        raise ArtifactError(f"there is no folder {home}: create it, or correct --home (ALEXNET_HOME)")


def _holds_artifact(folder: Path) -> bool:
    manifests = (file for pattern in ("", "*/", "*/*/") for file in folder.glob(pattern + MANIFEST))
    return any(not file.parent.name.startswith(".") for file in manifests)


def networks_folder(home: Path) -> Path:
    """Where bundled networks are unpacked, and codes and int8 networks added to them; it can be deleted at any time."""
    return home / "cache" / "networks"


def is_unpacked_bundled(artifact: Path, home: Path) -> bool:
    """Whether this is the folder of a bundled network that was unpacked below `home`."""
    return networks_folder(home).resolve() in artifact.resolve().parents
