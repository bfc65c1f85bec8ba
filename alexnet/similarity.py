"""Similarity search with image files without a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from alexnet.image_files import read_batches
from index.backends import IndexUri, open_readonly
from index.protocol import require_codes
from index.search import SEARCHERS, Neighbor, Query, SearchMode
from model.artifacts.artifact import Artifact
from model.datasets.listing import Skipped
from model.datasets.names import compose
from model.encoder import Encoder
from model.exceptions import IndexStoreError
from model.images.info import WarningKind
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.runtime import OnnxModel


def find_similar(
    names: Sequence[str],
    artifact: Artifact,
    index: IndexUri,
    k: int,
    label: str | None,
    mode: SearchMode,
    device: str,
    warnings: Counter[WarningKind],
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Iterator[tuple[str, list[Neighbor] | Skipped]]:
    """Yield, in the order of `names`, each image's k nearest neighbors in the index, or why it can't be read.

    `names`: paths, or `-` for standard input. `label`: search only images with this label. `mode`: all but
    `exact` need codes in the index. `warnings`: as in `read_batches`. Raises InvalidRequestError,
    IndexStoreError, DeviceError.
    """
    with closing(open_readonly(index)) as store:
        store.check_compatible(artifact)
        if not len(store):
            raise IndexStoreError(
                f"the index at {index} has no images: add some with `alexnet index add --data FOLDER`"
            )
        if SEARCHERS[mode].needs_codes:
            require_codes(store).set_encoder(Encoder.of(artifact))
        model = OnnxModel(artifact.network_path, device, mapped=True)
        for batch in read_batches(names, artifact.image_contract, warnings, limits, "searching"):
            pixels = [image.pixels for _, image in batch if not isinstance(image, Skipped)]
            features = list(model.features(np.stack(pixels), store.crops)) if pixels else []
            results = iter(store.search_many([Query(feature, k, compose(label), mode=mode) for feature in features]))
            for name, image in batch:
                yield name, image if isinstance(image, Skipped) else next(results)
