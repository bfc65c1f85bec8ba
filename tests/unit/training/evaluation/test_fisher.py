"""Baseline of Table 1: descriptors by their definition, Fisher vectors of the right form, a classifier that learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.exceptions import DatasetError, InvalidRequestError
from tests.helpers.drawn_files import make_image, write_files
from training.evaluation import fisher
from training.evaluation.fisher import FisherVectors, dense_sift


def gradient(down: float, right: float) -> np.ndarray:
    """A gray image that gets lighter in one direction."""
    y, x = np.mgrid[:256, :256]
    gray = 128 + 0.4 * (down * (y - 128) + right * (x - 128))
    return np.repeat(gray[:, :, None], 3, 2).clip(0, 255).astype(np.uint8)


def test_a_descriptor_says_where_it_gets_lighter() -> None:
    for direction, expected in (((0, 1), 0), ((1, 0), 2), ((0, -1), 4), ((-1, 0), 6)):
        result = dense_sift(gradient(*direction))
        assert result.shape == (sum(len(range(2 * side, 256 - 2 * side, 8)) ** 2 for side in fisher.CELL_SIZES), 128)
        strongest = result.reshape(len(result), 16, 8).sum(1).argmax(1)
        assert (strongest == expected).mean() > 0.99
        np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, atol=1e-5)


def test_contrast_makes_no_difference_and_a_blank_image_no_nan() -> None:
    noise = np.random.default_rng(0).integers(0, 100, (256, 256, 3)).astype(np.uint8)
    np.testing.assert_allclose(dense_sift(noise), dense_sift(2 * noise), atol=1e-4)
    assert np.isfinite(dense_sift(np.zeros((256, 256, 3), np.uint8))).all()


def test_a_vector_has_square_roots_and_unit_length() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    vectors = FisherVectors(dense_sift(noise))
    result = vectors.encode(noise)
    assert result.shape == (64 + 2 * 64 * 64,)
    assert np.linalg.norm(result) == pytest.approx(1, abs=1e-4)
    np.testing.assert_array_equal(result, vectors.encode(noise))


def test_a_split_of_which_nothing_can_be_decoded(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for label in ("a", "b"):
            file = tmp_path / split / label / "1.jpg"
            file.parent.mkdir(parents=True)
            file.write_bytes(f"no image {split} {label}".encode())
    with pytest.raises(DatasetError, match="no image of the train split can be decoded"):
        fisher.evaluate_fisher(str(tmp_path), "test", None, lambda _: None)


@pytest.mark.slow
def test_it_learns(few: Path) -> None:
    (measured,) = fisher.evaluate_fisher(str(few), "test", None, lambda _: None)
    assert measured.split.endswith("SIFT and Fisher vectors")
    assert (measured.num_images, measured.crops) == (6, 1)
    assert measured.top1_error < 0.4  # guessing: 0.67
    assert measured.top5_error is None  # three classes
    with pytest.raises(InvalidRequestError, match="measure it on --split test or validation"):
        fisher.evaluate_fisher(str(few), "all", None, print)
    with pytest.raises(DatasetError, match="no images in the split 'none'"):
        fisher.evaluate_fisher(str(few), "none", None, lambda _: None)


@pytest.mark.slow
def test_it_does_not_learn_from_copies_of_test_images(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/{n}.png": make_image(n + 10 * len(split) + 100 * len(kind))
             for split in ("train", "test") for kind in ("elm", "maple") for n in range(4)}  # fmt: skip
    files |= {f"train/elm/copy-{n}.png": files[f"test/elm/{n}.png"] for n in range(4)}
    lines = list[str]()
    fisher.evaluate_fisher(str(write_files(tmp_path / "d", files)), "test", None, lines.append)
    assert "left out: 4 copies of held-out images" in lines
    assert "learning a vocabulary from 6 images" in lines  # the other two are for validation
