"""Shards: a rule that never changes, and parts that are disjoint, complete and even."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.shards import Shard
from model.exceptions import InvalidRequestError


def test_the_rule() -> None:
    """Spelled out once, since data must still be divided as it was for indexes built years ago."""
    for root in (Path("/data"), Path("/mnt/here")):
        for name, number in (("cats/1.jpg", 5), ("é.jpg", 13)):
            assert [shard for shard in range(1, 17) if Shard(shard, 16).contains(root / name, root)] == [number]
    assert Shard(1, 1).contains(Path("/data/cats/1.jpg"), Path("/data"))
    assert Shard.parse("3/16").index_path(Path("indexes/cats/1")) == Path("indexes/cats/1.3-of-16")


def test_shards_are_disjoint_complete_and_even() -> None:
    paths = [Path(f"/data/{number}.jpg") for number in range(4_000)]
    shards = [[path for path in paths if Shard(number, 4).contains(path, Path("/data"))] for number in range(1, 5)]
    assert sorted(path for shard in shards for path in shard) == sorted(paths)
    assert all(900 < len(shard) < 1_100 for shard in shards)


def test_an_image_elsewhere_has_a_shard() -> None:
    """A table may name such an image; its path from the table's folder decides."""
    root, path = Path("/data/tables"), Path("/data/photos/1.jpg")
    assert sum(Shard(number, 4).contains(path, root) for number in range(1, 5)) == 1
    assert [n for n in range(1, 5) if Shard(n, 4).contains(path, root)] == [
        n for n in range(1, 5) if Shard(n, 4).contains(Path("/mnt/photos/1.jpg"), Path("/mnt/tables"))
    ]


@pytest.mark.parametrize("name", ["0/4", "5/4", "1", "1/", "-1/4", "1/4/4", "a/b", "1/0", "²/4"])
def test_an_invalid_shard(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="invalid shard"):
        Shard.parse(name)
