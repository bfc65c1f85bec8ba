"""Draw an index, with queries from its own images or from a folder."""

from __future__ import annotations

from pathlib import Path

from index.drawing import draw, folder_queries, indexed_queries
from index.protocol import Index
from model.artifacts.artifact import Artifact
from model.runtime import OnnxModel


def draw_index(
    index: Index,
    artifact: Artifact | None,
    queries: Path | None,
    num_queries: int,
    output: Path,
    max_images: int,
    seed: int,
    device: str,
) -> list[Path]:
    """Draw `num_queries` images, from the folder `queries` or else from the index, with their neighbors, and a map.

    `artifact`: the index's network, required with `queries`. Raises IndexStoreError, DatasetError.
    """
    if artifact is not None:
        index.check_compatible(artifact)
    if queries is None:
        drawn = indexed_queries(index, num_queries, seed)
    else:
        assert artifact is not None
        drawn = folder_queries(index, OnnxModel(artifact.network_path, device), queries, num_queries, seed)
    return draw(index, output, drawn, max_images, seed)
