"""The networks that are included in the package (`model.artifacts.packed` unpacks them)."""

from __future__ import annotations

from pathlib import Path

from model.artifacts.artifact import read_manifest

BUNDLED = Path(__file__).parents[1] / "bundled"
DEFAULT_NETWORK = "photos"
"""The bundled network that is used if there is no other."""


def is_bundled(name: str) -> bool:
    """Whether the package includes a network of this name."""
    return any(folder.name == name for folder in BUNDLED.iterdir())


def first_version(name: str) -> int:
    """The version of the first network that is published under this name.

    Under the default network's name it follows the bundled version: with the same version, the new network would find
    the bundled network's index at its own index path.
    """
    return 1 + read_manifest(BUNDLED / name).version if name == DEFAULT_NETWORK else 1
