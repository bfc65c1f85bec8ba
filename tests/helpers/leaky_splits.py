"""A trained network whose table has copies of test images in train and validation, which training left out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from model.artifacts.artifact import MANIFEST, Artifact
from training.data.datasets import Dataset
from training.data.folders import write_table
from training.data.loading import load_dataset


def make_leaky(artifact: Artifact, images: Path, folder: Path) -> tuple[Path, Path, Dataset]:
    """The copied artifact and the table with the leaks, both below `folder`, and the data set without the leaks."""
    dataset = load_dataset(str(images))
    trained, validated = (
        example._replace(file=str(shutil.copy(example.file, folder / f"copied-{example.path.name}")))
        for example in dataset.test[:2]
    )
    leaky = replace(dataset, train=(*dataset.train, trained), validation=(*dataset.validation, validated))
    write_table(leaky, folder / "split.csv")
    path = Path(shutil.copytree(artifact.path, folder / artifact.manifest.name / "1"))
    training = artifact.manifest.training | {"split_sha256": leaky.split_sha256()}
    (path / MANIFEST).write_text(artifact.manifest.model_copy(update={"training": training}).model_dump_json())
    return path, folder / "split.csv", dataset
