"""Tensors: pixels as numbers in a JSON document."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from model.exceptions import InvalidRequestError
from server.open_inference.tensors import decode_pixels

SHAPE = (1, 256, 256, 3)
PIXELS = np.arange(196_608).astype(np.uint8).reshape(SHAPE)


@pytest.mark.parametrize("data", [PIXELS.tolist(), PIXELS.ravel().tolist()], ids=["nested", "flat"])
def test_numbers_may_be_nested_or_flat(data: list[Any]) -> None:
    np.testing.assert_array_equal(decode_pixels(None, data, SHAPE), PIXELS)


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        {},
        [],
        [[]],
        [7] * 196_607,
        [7] * 196_607 + [-1],
        [7] * 196_607 + [256],
        [7] * 196_607 + [10**400],
        [7] * 196_607 + [7.0],
        [7] * 196_607 + [True],
        [7] * 196_607 + [[7]],
        [7] * 196_607 + ["7"],
        [[7] * 196_606, [7, 7]],
        [[[[[7] * 196_608]]]],
        ["7" * 196_608],
    ],
    ids=[
        "none",
        "number",
        "object",
        "empty",
        "nested empty",
        "too few",
        "-1",
        "256",
        "10**400",
        "float",
        "boolean",
        "list at the end",
        "text at the end",
        "ragged",
        "too deep",
        "text",
    ],
)
def test_anything_but_as_many_integers_is_refused(data: Any) -> None:
    with pytest.raises(InvalidRequestError, match="`data` must be 196,608 integers from 0 to 255"):
        decode_pixels(None, data, SHAPE)


def test_text_is_refused_before_it_takes_memory() -> None:
    """In a NumPy array, all elements would take as much as the longest: 80 MB here, 7 GB for a body of 1 MB."""
    data = ["a" * 20_000, *["b"] * 1_000]
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequestError, match="integers from 0 to 255"):
            decode_pixels(None, data, SHAPE)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
