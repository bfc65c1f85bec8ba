"""The perceptual hash: copies are near, other images far, and uniform ones never alike."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from model.images.preprocess import decode_image
from tests.helpers.drawings import CLASSES, draw, encode
from training.data.perceptual_hash import MAX_DISTANCE, WORDS, difference_hash, near_pairs


def hash_file(data: bytes) -> NDArray[np.uint64]:
    return difference_hash(decode_image(data).pixels)


def save(image: Image.Image, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.mark.parametrize("change", ["smaller", "compressed", "brighter", "gray", "marked"])
def test_changed_copies_are_near(change: str) -> None:
    pixels = [draw(CLASSES[n % 3], np.random.default_rng(n)) for n in range(6)]
    before = np.stack([hash_file(encode(p)) for p in pixels])
    after = []
    for p in pixels:
        image = Image.fromarray(p)
        if change == "smaller":
            image = image.resize((image.width // 2, image.height // 2))
        elif change == "brighter":
            image = ImageEnhance.Brightness(image).enhance(1.15)
        elif change == "gray":
            image = image.convert("L")
        elif change == "marked":
            image.paste((255, 255, 255), (250, 280, 330, 300))
        after.append(hash_file(save(image, 30 if change == "compressed" else 85)))
    assert near_pairs(before, np.stack(after)).tolist() == [[n, n] for n in range(6)]


def test_uniform_images_are_not_alike() -> None:
    flat = np.full((256, 256, 3), 200, np.uint8)
    spot, other = flat.copy(), flat.copy()
    spot[100:140, 100:140] = 0
    other[20:60, 180:220] = 0
    hashes = np.stack([difference_hash(pixels) for pixels in (flat, spot, other)])
    assert len(near_pairs(hashes)) == 0


def test_pairs_are_those_of_a_plain_search() -> None:
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, (5000, WORDS), np.uint64)
    for place in range(0, 300, 3):  # distant rows with up to 42 bits changed
        bits = np.unpackbits(hashes[place].view(np.uint8))
        bits[generator.permutation(256)[: place // 7]] ^= 1
        hashes[-1 - place] = np.packbits(bits).view(np.uint64)
    pairs = {tuple(pair) for pair in near_pairs(hashes).tolist()}
    ones = np.bitwise_count(hashes).sum(1)
    allowed = np.minimum(np.minimum(ones, ones[::-1]) // 5, MAX_DISTANCE)
    assert pairs == {(place, 4999 - place) for place in range(0, 300, 3) if place // 7 <= allowed[place]}
    assert len(pairs) > 50
    across = near_pairs(hashes[:300], hashes[300:])
    assert {(i, j + 300) for i, j in across.tolist()} == pairs


@pytest.mark.exclusive
def test_ten_thousand_images_take_seconds() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, (10_000, WORDS), np.uint64)
    started = time.monotonic()
    assert len(near_pairs(hashes)) == 0
    assert time.monotonic() - started < 5
