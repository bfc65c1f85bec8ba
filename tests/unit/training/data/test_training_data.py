"""Measuring a network on its own data leaves out what its training left out."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from model.images.contract import ImageContract
from model.images.limits import DEFAULT_LIMITS
from tests.helpers.drawn_files import encode, make_image, write_files
from training.data.folders import load_folder
from training.data.training_data import drop_copies_as_in_training


def test_what_training_left_out_is_left_out_again(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/{n}.png": make_image(1000 * seed + n)
             for seed, (split, kind) in enumerate(product(("train", "val", "test"), ("elm", "oak")))
             for n in range(3)}  # fmt: skip
    files["val/elm/tested.png"] = files["test/elm/0.png"]
    with Image.open(io.BytesIO(files["test/oak/0.png"])) as image:
        files["train/oak/similar.jpg"] = encode(np.asarray(image.convert("RGB")), quality=80)
    dataset, lines = load_folder(write_files(tmp_path / "d", files)), list[str]()

    def leave_out(images: dict[str, int], reasons: dict[str, int]) -> list[int]:
        training = {"images": images, "data": {"skipped": reasons}}
        used = drop_copies_as_in_training(dataset, training, ImageContract(), DEFAULT_LIMITS, lines.append)
        return [len(part) for part in used.splits().values()]

    assert leave_out({"train": 7, "validation": 6, "test": 6}, {"copies of held-out images": 1}) == [7, 6, 6]
    assert lines.pop() == "left out as in training: 1 copy of a held-out image"
    assert leave_out({"train": 6, "validation": 6}, {"near-duplicates of held-out images": 1}) == [6, 6, 6]
    assert leave_out({"train": 7, "validation": 7}, {}) == leave_out({}, {}) == [7, 7, 6]
    assert leave_out({"train": 6, "validation": 6}, {"damaged images": 2}) == [7, 6, 6]
