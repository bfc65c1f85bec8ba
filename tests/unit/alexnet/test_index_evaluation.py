"""An index is evaluated with a folder's images, some of which are in the index."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

from PIL import Image

from alexnet.index_evaluation import evaluate_index
from index.evaluation import format_table
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.runtime import OnnxModel
from tests.helpers.indexes import build_index


def test_an_image_of_the_folder_is_not_its_own_neighbor(
    artifact: Artifact, model: OnnxModel, few: Path, tmp_path: Path
) -> None:
    """Each image has a label of its own, so the only neighbor with its label is the image itself."""
    folder = tmp_path / "photos"
    for number, file in enumerate(sorted(few.rglob("*.jpg"))[:4]):
        (folder / f"label {number}").mkdir(parents=True)
        shutil.copy(file, folder / f"label {number}" / "indexed.jpg")
    build_index(tmp_path / "index", artifact, model, folder)
    with closing(FolderIndex.open(tmp_path / "index", writable=True)) as index:
        result = evaluate_index(index, artifact, folder, 500, "cpu")
        assert result.precision[1] == result.mean_average_precision == 0
        assert (result.num_queries, result.num_indexed) == (4, 4)
        assert format_table(result).startswith("4 queries, 4 of them in the index; ")
        index.remove(4)
        result = evaluate_index(index, artifact, folder, 500, "cpu")
        assert (result.num_queries, result.num_indexed) == (4, 3)
        with Image.open(folder / "label 0" / "indexed.jpg") as image:
            image.save(folder / "label 0" / "indexed.jpg", quality=95)  # other bytes: another image
        result = evaluate_index(index, artifact, folder, 500, "cpu")
        assert (result.num_indexed, result.precision[1]) == (2, 1 / 4)
