"""Similarity search with image files without a server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from index.backends import IndexUri, open_readonly
from index.protocol import require_codes
from index.search import SEARCHERS, Neighbor, Query, parse_search_mode
from model.artifacts.artifact import Artifact
from model.datasets.image_files import decode_file
from model.encoder import Encoder
from model.runtime import OnnxModel


def find_similar(
    image: Path, artifact: Artifact, index: IndexUri, k: int, label: str | None, search: str, device: str
) -> Sequence[Neighbor]:
    """The `k` nearest indexed images of an image file, by a search mode of `index.search`. Raises AlexNetError."""
    mode = parse_search_mode(search)
    with closing(open_readonly(index)) as store:
        store.check_compatible(artifact)
        if SEARCHERS[mode].needs_codes:
            require_codes(store).set_encoder(Encoder.of(artifact))
        pixels = decode_file(image, contract=artifact.image_contract).pixels
        feature = OnnxModel(artifact.network, device).features(pixels[None], store.crops)[0]
        return store.search(Query(feature, k, label, mode=mode))
