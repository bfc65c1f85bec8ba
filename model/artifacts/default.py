"""The artifact that is used where none is named: the user's newest, or the network for photographs that is included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model.artifacts.artifact import MANIFEST
from model.artifacts.bundled import DEFAULT_NETWORK
from model.artifacts.packed import bundled_folder
from model.exceptions import ArtifactError


def default_artifact(home: Path, notify: Callable[[str], None], served: Path | None = None) -> Path:
    """The folder of the artifacts below `home`, whose newest is used; or, where there are none, the folder of the
    bundled network `photos`, which is unpacked below `home` at first use.

    `notify` is told so in the latter case. `served`: the folder of the network in use, for a reload. One of the user's
    isn't replaced by the bundled one where all are gone, as when a disk isn't mounted. Raises ArtifactError, also where
    there is no folder `home`.
    """
    if not home.is_dir():
        raise ArtifactError(f"there is no folder {home}: create it, or correct --home (ALEXNET_HOME)")
    folder = home / "artifacts"
    manifests = (file for pattern in ("", "*/", "*/*/") for file in folder.glob(pattern + MANIFEST))
    if any(not file.parent.name.startswith(".") for file in manifests):
        return folder
    if served is not None and served.is_relative_to(folder):
        raise ArtifactError(f"no artifact in {folder} any more: {served} stays in use")
    cache = networks_folder(home)
    unpacked = "" if (cache / DEFAULT_NETWORK).is_dir() else f", unpacked in {cache}"
    notify(
        f"no network of yours in {folder}: using the bundled network {DEFAULT_NETWORK}{unpacked}; --artifact FOLDER "
        "names another"
    )
    return bundled_folder(DEFAULT_NETWORK, cache)


def networks_folder(home: Path) -> Path:
    """Where bundled networks are unpacked: it can be deleted at any time."""
    return home / "cache" / "networks"
