"""Boxes of a file, and which of the items' properties belongs to the primary image."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from model.images.boxes import MAX_ASSOCIATIONS, Box, iter_boxes, read_cicp


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def nclx(primaries: int, transfer: int) -> bytes:
    return box(b"colr", b"nclx" + struct.pack(">HHHB", primaries, transfer, 6, 128))


def associations(items: dict[int, list[int]], version: int = 0, is_wide: bool = False) -> bytes:
    """An `ipma` box. All properties are marked as essential; the mark isn't part of their number."""
    content = struct.pack(">B3xI", version, len(items))
    content = content[:3] + bytes([is_wide]) + content[4:]
    for item, places in items.items():
        content += struct.pack(">IB" if version else ">HB", item, len(places))
        content += b"".join(struct.pack(">H", 0x8000 | p) if is_wide else bytes([0x80 | p]) for p in places)
    return box(b"ipma", content)


def image_file(primary: int, properties: list[bytes], *ipma: bytes, version: int = 0) -> bytes:
    pitm = box(b"pitm", struct.pack(">B3x" + ("I" if version else "H"), version, primary))
    iprp = box(b"iprp", box(b"ipco", b"".join(properties)) + b"".join(ipma))
    return box(b"ftyp", b"avif\0\0\0\0") + box(b"meta", bytes(4) + box(b"hdlr", bytes(20)) + pitm + iprp) + box(b"mdat")


PROPERTIES = [box(b"ispe", bytes(12)), nclx(9, 16), box(b"colr", b"prof" + bytes(9)), nclx(12, 13), nclx(1, 8)]


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("is_wide", [False, True])
def test_the_primary_image_has_its_own(version: int, is_wide: bool) -> None:
    """Other items, such as one with its gain map applied, have other code points."""
    items = {7: [1, 2], 8: [1, 3, 4], 9: [5]}
    for primary, expected in ((7, (9, 16)), (8, (12, 13)), (9, (1, 8)), (6, None)):
        data = image_file(primary, PROPERTIES, associations(items, version, is_wide), version=version)
        assert read_cicp(data) == expected


def test_a_second_list_of_properties_counts() -> None:
    data = image_file(2, PROPERTIES, associations({1: [2]}), associations({2: [4]}))
    assert read_cicp(data) == (12, 13)


@pytest.mark.parametrize("places", [[], [1, 3], [99], [0]], ids=["none", "of other kinds", "beyond", "zero"])
def test_an_image_without(places: list[int]) -> None:
    assert read_cicp(image_file(1, PROPERTIES, associations({1: places}))) is None


def test_whatever_is_cut_or_changed_is_no_error() -> None:
    whole = image_file(1, PROPERTIES, associations({1: [4]}))
    assert read_cicp(whole) == (12, 13)
    for end in range(len(whole) - 8):
        read_cicp(whole[:end])
    random = np.random.default_rng(0)
    for _ in range(500):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        read_cicp(bytes(changed))


def test_lengths_of_boxes() -> None:
    long = struct.pack(">I4sQ", 1, b"long", 20) + b"1234"
    rest = struct.pack(">I4s", 0, b"rest") + b"56789"
    assert list(iter_boxes(box(b"free", b"ab") + long + rest)) == [
        Box(b"free", 8, 10),
        Box(b"long", 26, 30),
        Box(b"rest", 38, 43),
    ]
    assert list(iter_boxes(box(b"free") + struct.pack(">I4s", 7, b"bad ") + bytes(20))) == [Box(b"free", 8, 8)]
    assert list(iter_boxes(box(b"a   ") + box(b"b   "), 8)) == [Box(b"b   ", 16, 16)]
    assert list(iter_boxes(box(b"a   ") + box(b"b   "), 0, 8)) == [Box(b"a   ", 8, 8)]
    assert list(iter_boxes(struct.pack(">I4sQ", 1, b"long", 15) + bytes(20))) == []


def test_nothing_is_read_beyond_its_box() -> None:
    """Otherwise each of thousands of small boxes could claim the thousands of entries that follow it."""
    cut = associations({1: [2], 2: [4]})
    shorter = struct.pack(">I", len(cut) - 4) + cut[4:-4]  # without its second entry, which stands behind it
    assert read_cicp(image_file(2, PROPERTIES, cut)) == (12, 13)
    assert read_cicp(image_file(2, PROPERTIES, shorter + cut[-4:])) is None
    cut_color = struct.pack(">I", 14) + nclx(9, 16)[4:14]
    assert read_cicp(image_file(1, [cut_color], associations({1: [1]}))) is None


def test_few_lists_of_associations_are_read() -> None:
    empty = associations({})
    assert read_cicp(image_file(1, PROPERTIES, *[empty] * (MAX_ASSOCIATIONS - 1), associations({1: [4]}))) == (12, 13)
    assert read_cicp(image_file(1, PROPERTIES, *[empty] * MAX_ASSOCIATIONS, associations({1: [4]}))) is None
