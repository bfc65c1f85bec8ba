"""Limits on images: the largest that is allowed passes, and one pixel more doesn't."""

from __future__ import annotations

import pytest

from model.exceptions import ImageTooLargeError, InvalidImageError
from model.images.limits import ImageLimits, check_memory, check_size

LIMITS = ImageLimits(max_pixels=200, max_side=40)


@pytest.mark.parametrize(("width", "height"), [(20, 10), (40, 5), (5, 40), (1, 1)])
def test_an_image_at_the_limit_is_allowed(width: int, height: int) -> None:
    check_size(width, height, LIMITS.max_pixels, LIMITS)


@pytest.mark.parametrize(("width", "height"), [(21, 10), (41, 1), (1, 41), (10, 21)])
def test_one_pixel_more_is_too_large(width: int, height: int) -> None:
    with pytest.raises(ImageTooLargeError, match="at most 200 pixels and 40 per side are allowed"):
        check_size(width, height, LIMITS.max_pixels, LIMITS)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_an_empty_image_is_invalid(width: int, height: int) -> None:
    with pytest.raises(InvalidImageError, match="it has"):
        check_size(width, height, LIMITS.max_pixels, LIMITS)


def test_memory_may_be_eight_bytes_per_allowed_pixel() -> None:
    check_memory("a PNG", 20, 10, 1600, LIMITS)
    with pytest.raises(ImageTooLargeError, match="a PNG of 20 x 10 pixels"):
        check_memory("a PNG", 20, 10, 1601, LIMITS)
