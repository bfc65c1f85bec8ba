"""Cursors say where a page begins, and of which query; anything else is refused."""

from __future__ import annotations

import pytest

from index.search import Position
from model.exceptions import InvalidRequestError
from server.routes.search_cursor import decode_cursor, encode_cursor, query_fingerprint

POSITION = Position(6, 12.3456789012345678, 2**53 - 1)
FINGERPRINT = query_fingerprint(["network", ("image",), [("label", None)]])


def test_there_and_back() -> None:
    cursor = encode_cursor(FINGERPRINT, POSITION)
    assert decode_cursor(cursor, FINGERPRINT) == POSITION
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_another_query_s_cursor_is_refused() -> None:
    for parts in (["network", ("image",), [("label", "a")]], ["other", ("image",), [("label", None)]]):
        with pytest.raises(InvalidRequestError, match="belongs to another query"):
            decode_cursor(encode_cursor(FINGERPRINT, POSITION), query_fingerprint(parts))


@pytest.mark.parametrize("cursor", ["", "x", "é", "a" * 37, "a" * 39, "a" * 1000, "+" * 38])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequestError, match="cursor"):
        decode_cursor(cursor, FINGERPRINT)


@pytest.mark.parametrize(
    "position",
    [
        Position(2**31, 1.0, 1),
        Position(10_000_001, 1.0, 1),
        Position(0, 1.0, 1),
        Position(1, float("nan"), 1),
        Position(1, float("inf"), 1),
        Position(1, -1.0, 1),
        Position(1, 1.0, 0),
    ],
)
def test_forged_positions_are_refused(position: Position) -> None:
    with pytest.raises(InvalidRequestError, match="invalid cursor"):
        decode_cursor(encode_cursor(FINGERPRINT, position), FINGERPRINT)


def test_the_last_position_and_a_distance_of_0_are_no_forgery() -> None:
    last = Position(10_000_000, 0.0, 1)
    assert decode_cursor(encode_cursor(FINGERPRINT, last), FINGERPRINT) == last


def test_a_cursor_with_other_characters_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="unchanged"):
        decode_cursor("!" + encode_cursor(FINGERPRINT, POSITION), FINGERPRINT)
