"""Images of a folder as queries: a sample of them, read and turned into features as the index's own images are."""

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
    """An image file and its (dim,) feature. `id`: of the same image in the index; 0 if it isn't indexed."""

    image: NewEntry
    feature: NDArray[np.float32]
    id: int


def read_queries(
    index: Index, model: OnnxModel, folder: Path, max_images: int, seed: int = 0, labeled: bool = False
) -> list[FileQuery]:
    """At most `max_images` images of a folder, chosen at random, in the order of their paths; with `labeled` only those
    in a folder of a label. What can't be read is named and left out. Raises DatasetError if there are no images."""
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
