"""Section 4.1: crops at 33 x 33 offsets, mirrors, the colour shift, and the mean that belongs to each pixel."""

from __future__ import annotations

import numpy as np
import pytest

from training.augment import ColourShift, centre_batch, training_batch
from training.cache import PictureCache

NONE = ColourShift(np.zeros((3, 3)), 0.1)


@pytest.fixture(scope="module")
def cache() -> PictureCache:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)
    mean = np.random.default_rng(1).uniform(100, 140, (256, 256, 3)).astype(np.float32)
    return PictureCache(pictures, mean, np.eye(3), {})


def test_reproducible_and_different_each_epoch(cache: PictureCache) -> None:
    rows = np.array([2, 0])
    first = training_batch(cache, rows, NONE, seed=3, epoch=1)
    np.testing.assert_array_equal(first, training_batch(cache, rows, NONE, seed=3, epoch=1))
    np.testing.assert_array_equal(first[::-1], training_batch(cache, rows[::-1], NONE, seed=3, epoch=1))
    assert not np.array_equal(first, training_batch(cache, rows, NONE, seed=3, epoch=2))


def test_all_offsets_and_both_directions_occur(cache: PictureCache) -> None:
    y, x = np.mgrid[:256, :256].astype(np.float32)
    ramp = PictureCache(np.zeros((1, 256, 256, 3), np.uint8), -np.stack([y, x, x], -1), np.eye(3), {})
    tops, lefts, mirrored = set(), set(), 0
    for epoch in range(600):
        crop = training_batch(ramp, np.array([0]), NONE, 0, epoch)[0]
        tops.add(int(crop[0, 0, 0]))
        lefts.add(int(crop[0, :, 1].min()))
        mirrored += int(crop[0, 0, 1] > crop[0, 1, 1])
    assert tops == lefts == set(range(33))
    assert 240 < mirrored < 360


def test_pictures_without_an_up_are_turned(cache: PictureCache) -> None:
    row = np.array([0])
    seen = set()
    for epoch in range(40):
        upright = training_batch(cache, row, NONE, 0, epoch)[0]
        turned = training_batch(cache, row, NONE, 0, epoch, turned=True)[0]
        seen.add(next(turns for turns in range(4) if np.array_equal(np.rot90(upright, turns), turned)))
    assert seen == {0, 1, 2, 3}


def test_centre_view(cache: PictureCache) -> None:
    expected = cache.pictures[1, 16:240, 16:240] - cache.mean[16:240, 16:240]
    np.testing.assert_array_equal(centre_batch(cache, np.array([1]))[0], expected)


def test_colour_shift_has_the_paper_s_spread() -> None:
    covariance = np.diag([100.0, 400.0, 255.0**2 * 0.2])
    colour = ColourShift.from_covariance(covariance, 0.1)
    generator = np.random.default_rng(0)
    shifts = np.stack([colour.draw(generator) for _ in range(4000)])
    # deviation x eigenvalue for pixels of 0..1, scaled back to 0..255
    expected = 0.1 * np.array([100, 400, 255**2 * 0.2]) / 255
    np.testing.assert_allclose(shifts.std(0), expected, rtol=0.1)


def test_colour_shift_is_one_vector_a_picture(cache: PictureCache) -> None:
    plain = training_batch(cache, np.array([0]), NONE, 0, 0)
    shifted = training_batch(cache, np.array([0]), ColourShift(50 * np.eye(3), 0.1), 0, 0)
    difference = (shifted - plain)[0].reshape(-1, 3)
    assert np.ptp(difference, axis=0).max() < 1e-3
    assert np.abs(difference[0]).max() > 0.5
