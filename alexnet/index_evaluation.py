"""Evaluation of an index with labeled queries."""

from __future__ import annotations

from pathlib import Path

from index.evaluation import Evaluation, LabeledQuery, evaluate
from index.file_queries import read_queries
from index.protocol import Index, SupportsCodes, intact_entries
from index.search import SEARCHERS
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import IndexStoreError
from model.sampling import draw_sample


def evaluate_index(index: Index, artifact: Artifact, data: Path | None, max_images: int, device: str) -> Evaluation:
    """Search an index with the images below a folder, or with its own, and measure the results by label.

    At most `max_images` queries are drawn at random with a fixed seed. A query that is in the index, even one from the
    folder, isn't its own neighbor. Raises IndexStoreError without labeled images, or if no query has a neighbor.
    """
    index.check_compatible(artifact)
    encoder = Encoder.of(artifact)
    code_bits = None
    if encoder is not None and isinstance(index, SupportsCodes):
        index.set_encoder(encoder)
        code_bits = encoder.bits
    modes = [mode for mode, searcher in SEARCHERS.items() if searcher.works_with(code_bits)]
    queries = (
        _indexed_queries(index, max_images)
        if data is None
        else _file_queries(index, data, max_images, artifact.network_path, device)
    )
    if not queries:
        raise IndexStoreError("no labeled images to search with: label images in the index, or give some with --data")
    return evaluate(index, queries, modes)


def _indexed_queries(index: Index, max_images: int) -> list[LabeledQuery]:
    sample = draw_sample([entry for entry in intact_entries(index) if entry.label], max_images)
    features = index.features([entry.id for entry in sample])
    return [LabeledQuery(feature, entry.label or "", entry.id) for feature, entry in zip(features, sample, strict=True)]


def _file_queries(index: Index, folder: Path, max_images: int, network: Path, device: str) -> list[LabeledQuery]:
    from model.runtime import OnnxModel

    queries = read_queries(index, OnnxModel(network, device), folder, max_images, labeled=True)
    return [LabeledQuery(query.feature, query.image.label or "", query.id) for query in queries]
