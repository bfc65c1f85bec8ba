"""Images of a folder as queries: a random sample, with features computed as for the index's own images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.build import find_images
from index.entries import NewEntry
from index.protocol import Index, find_ids
from index.reading import ReadImage, read_image
from model.runtime import OnnxModel
from model.sampling import draw_sample


class FileQuery(NamedTuple):
    """An image file and its (dim,) feature. `id`: id of the same image in the index; 0 if it isn't indexed."""

    image: NewEntry
    feature: NDArray[np.float32]
    id: int


def read_queries(
    index: Index, model: OnnxModel, folder: Path, max_images: int, seed: int = 0, labeled: bool = False
) -> list[FileQuery]:
    """At most `max_images` random images of a folder, in the order of their paths; if `labeled`, only labeled ones.
    Files that can't be read are reported and left out. Raises DatasetError if there are no images."""
    sources = [source for source in find_images(folder) if source.label or not labeled]
    read: list[tuple[NewEntry, NDArray[np.float32]]] = []
    for source in draw_sample(sources, max_images, seed):
        image = read_image(source, index.image_contract)
        if isinstance(image, ReadImage):
            read.append((image.entry, model.features(image.pixels[None], index.crops)[0]))
        else:
            tqdm.write(f"skipped {image}")
    ids = find_ids(index, [entry.sha256 for entry, _ in read])
    return [FileQuery(entry, feature, ids.get(entry.sha256, 0)) for entry, feature in read]
