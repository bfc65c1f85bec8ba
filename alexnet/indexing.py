"""Indexing of a data set: its images are read, their features computed and added to an index."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from index.backends import IndexUri, open_writable
from index.build import BuildReport, ImageSource, build, find_images
from index.metadata import parse_dtype
from index.shards import Shard
from model.artifacts.artifact import Artifact
from model.exceptions import StoppedError
from model.runtime import OnnxModel
from training.data.archives import NAMED_DATASETS
from training.data.loading import load_dataset


def index_dataset(
    data: str,
    artifact: Artifact,
    index: IndexUri,
    *,
    archive: Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
    shard: Shard | None = None,
) -> tuple[BuildReport, int]:
    """Add the images of a data set to an index, which is created if it doesn't exist; what was done, and its size.

    Raises StoppedError on Ctrl-C: what was added is kept. Raises AlexNetError.
    """
    sources = _sources(data, archive, shard)
    with closing(open_writable(index, artifact, parse_dtype(dtype))) as store:
        try:
            return build(store, OnnxModel(artifact.network, device), sources), len(store)
        except KeyboardInterrupt:
            raise StoppedError("stopped; what was added is kept: run the same command to resume") from None


def _sources(data: str, archive: Path | None, shard: Shard | None) -> Sequence[ImageSource]:
    if data not in NAMED_DATASETS and not data.endswith(".csv"):
        return find_images(Path(data), shard)
    dataset = load_dataset(data, archive=archive)
    examples = list(dataset.examples)
    if shard:
        root = Path(os.path.commonpath([example.path.absolute() for example in examples]))
        examples = [example for example in examples if shard.contains(example.path.absolute(), root)]
    return [ImageSource(example.path, dataset.labels[example.label].name) for example in examples]
