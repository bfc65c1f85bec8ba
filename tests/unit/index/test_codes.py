"""Binary codes: kept beside the features, searched by Hamming distance and hash lookup, repaired after damage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from index.codes import Codes
from index.folder.store import FolderIndex
from index.scanning.scanners import SearchPool
from index.search import Position, Query, SearchMode
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import ArtifactError, IndexStoreError, InvalidRequestError
from tests.helpers.indexes import make_entry
from training.hashing.binary_encoder import BinaryEncoder

Array = NDArray[np.float32]
DIM = 64


def clusters(count: int, seed: int) -> Array:
    """`count` rectified features around 20 centers."""
    draw = np.random.default_rng(seed)
    centers = np.random.default_rng(9).normal(0, 2, (20, DIM))
    return np.maximum(centers[draw.integers(20, size=count)] + draw.normal(0, 1, (count, DIM)), 0).astype(np.float32)


def make_encoder(path: Path, bits: int, dim: int = DIM) -> Encoder:
    """An encoder whose bits are signs of random projections, centered at the mean of `clusters`."""
    directions = np.random.default_rng(3).normal(size=(dim, bits)).astype(np.float32)
    bias = -clusters(500, 0).mean(0)[:dim] @ directions
    onnx.save(BinaryEncoder("random", directions, bias).to_onnx(), path)
    return Encoder(path)


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return make_encoder(tmp_path / "encoder.onnx", 28)


@pytest.fixture
def index(artifact: Artifact, tmp_path: Path) -> Iterator[FolderIndex]:
    created = FolderIndex.create(tmp_path / "i", artifact)
    created.add(clusters(300, 1), [make_entry(n, "ab"[n % 2]) for n in range(300)])
    yield created
    created.close()


def test_a_reader_reads_the_codes_that_a_writer_has_stored_and_writes_none(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, path = clusters(300, 1), tmp_path / "codes.u8"
    stored = Codes(encoder, rows[:200], path).matrix().copy()
    content = path.read_bytes()
    partly = Codes(encoder, rows, path, writable=False)
    np.testing.assert_array_equal(partly.matrix(), encoder.encode(rows))
    partly.append(encoder.encode(rows[:1]))
    assert path.read_bytes() == content
    monkeypatch.setattr(encoder, "encode", lambda features: pytest.fail("the codes are stored"))
    np.testing.assert_array_equal(Codes(encoder, rows[:200], path, writable=False).matrix(), stored)


def test_a_shortlist_and_a_radius_search_are_by_hamming_distance(encoder: Encoder, tmp_path: Path) -> None:
    rows = clusters(3000, 1)
    codes, query = Codes(encoder, rows, tmp_path / "codes.u8"), clusters(1, 2)[0]
    distances = np.unpackbits(encoder.encode(rows) ^ encoder.encode(query[None]), axis=1).sum(1)
    even = np.arange(3000) % 2 == 0
    with SearchPool() as pool:
        for mask in (None, even):
            shortlist = codes.shortlist(query, 50, len(codes), pool, mask)
            selected = distances if mask is None else distances[mask]
            np.testing.assert_array_equal(np.sort(distances[shortlist]), np.sort(selected)[:50])
            assert mask is None or mask[shortlist].all()
    np.testing.assert_array_equal(codes.radius_search(query, 2, len(codes), None), np.flatnonzero(distances <= 2))
    np.testing.assert_array_equal(
        codes.radius_search(query, 2, len(codes), even), np.flatnonzero((distances <= 2) & even)
    )


def test_a_shortlist_by_several_threads_is_that_of_one(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, queries = Codes(encoder, clusters(3000, 1), tmp_path / "codes.u8"), clusters(5, 2)
    distances = np.unpackbits(codes.matrix()[None] ^ encoder.encode(queries)[:, None], axis=2).sum(2)
    monkeypatch.setattr("index.codes.MIN_CODES_PER_THREAD", 1000)
    with SearchPool() as pool:
        pool.num_threads = 3
        for query, expected in zip(queries, distances, strict=True):
            shortlist = codes.shortlist(query, 50, len(codes), pool, None)
            np.testing.assert_array_equal(expected[shortlist], np.sort(expected)[:50])


@pytest.mark.slow
def test_codes_without_features_yet_are_not_searched(encoder: Encoder, tmp_path: Path) -> None:
    """An addition appends codes before features, and a search that has begun must not get rows that it doesn't know."""
    rows, num_rows = clusters(300, 1), 200
    codes = Codes(encoder, rows[:num_rows], tmp_path / "codes.u8")
    codes.append(encoder.encode(rows[num_rows:]))
    every = np.ones(num_rows, bool)
    with SearchPool() as pool:
        for row in rows[num_rows:]:
            for mask in (None, every):
                assert codes.shortlist(row, 300, num_rows, pool, mask).max() < num_rows
                assert codes.radius_search(row, 4, num_rows, mask).max(initial=0) < num_rows


def test_long_codes_have_no_hash_lookup(tmp_path: Path) -> None:
    long = make_encoder(tmp_path / "long.onnx", 40)
    with pytest.raises(InvalidRequestError, match="at most 32 bits, but these have 40"):
        Codes(long, clusters(10, 0), tmp_path / "codes.u8").radius_search(clusters(1, 0)[0], 2, 10, None)


def test_binary_and_exact_agree_where_the_shortlist_holds_all(index: FolderIndex, encoder: Encoder) -> None:
    query = clusters(1, 3)[0]
    with pytest.raises(InvalidRequestError, match="needs binary codes"):
        index.search(Query(query, mode="binary"))
    index.set_encoder(encoder)
    exact = index.search(Query(query, 20))
    assert index.search(Query(query, 20, mode="binary")) == exact
    labeled = index.search(Query(query, 4, "b"))
    after = Position(4, labeled[3].distance, labeled[3].entry.id)
    next_page = index.search(Query(query, 5, "b", after))
    assert next_page == index.search(Query(query, 9, "b"))[4:]
    assert index.search(Query(query, 5, "b", after, mode="binary")) == next_page


def test_hash_lookup_ranks_all_images_whose_codes_differ_in_two_bits_at_most(
    index: FolderIndex, encoder: Encoder
) -> None:
    index.set_encoder(encoder)
    rows = clusters(300, 1)
    codes = encoder.encode(rows)
    for query in rows[[10, 21, 29]]:
        bits = np.unpackbits(codes ^ encoder.encode(query[None]), axis=1).sum(1)
        near = set(np.flatnonzero(bits <= 2) + 1)
        exact = [neighbor for neighbor in index.search(Query(query, 300)) if neighbor.entry.id in near]
        assert index.search(Query(query, 20, mode="hash_lookup")) == exact
        assert len(exact) >= 3


def test_hash_lookup_finds_what_was_added_since_the_last_one(index: FolderIndex, encoder: Encoder) -> None:
    index.set_encoder(encoder)
    (added,) = clusters(1, 5)
    before = {neighbor.entry.id for neighbor in index.search(Query(added, 20, mode="hash_lookup"))}
    index.add(added[None], [make_entry(300)])
    after = index.search(Query(added, 20, mode="hash_lookup"))
    assert after[0].entry.id == 301
    assert {neighbor.entry.id for neighbor in after} == before | {301}


def test_queries_of_all_modes_together_equal_single_ones(index: FolderIndex, encoder: Encoder) -> None:
    index.set_encoder(encoder)
    modes: tuple[SearchMode, ...] = ("exact", "binary", "hash_lookup")
    queries = [Query(row, 300, mode=mode) for row in clusters(300, 1)[:3] for mode in modes]
    together = index.search_many(queries)
    assert together == [index.search(query) for query in queries]
    assert len(together[2]) < len(together[1]) == 300


def test_codes_follow_the_index(index: FolderIndex, encoder: Encoder, artifact: Artifact) -> None:
    index.set_encoder(encoder)
    index.add(clusters(1500, 4), [make_entry(n) for n in range(300, 1800)])
    for number in range(1, 1000, 3):
        index.remove(number)
    query = clusters(1, 5)[0]
    before = index.search(Query(query, 300, mode="binary"))
    index.compact()
    assert index.search(Query(query, 300, mode="binary")) == before
    assert len(list(index.path.glob("codes-*"))) == 1
    index.add(clusters(5, 6), [make_entry(n) for n in range(2000, 2005)])
    index.close()
    (file,) = index.path.glob("codes-*")
    stored = file.read_bytes()
    for damaged in (stored[:-10], stored[:100] + bytes([stored[100] ^ 1]) + stored[101:], b""):
        file.write_bytes(damaged)
        again = FolderIndex.open(index.path, writable=True)
        again.set_encoder(encoder)
        assert file.read_bytes() == stored  # rebuilt from the features
        again.close()


def test_a_compaction_leaves_no_moment_without_codes(
    index: FolderIndex, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.set_encoder(encoder)
    index.remove(1)
    query, seen = Query(clusters(1, 5)[0], 20, mode="binary"), list[int]()
    encode = Encoder.encode

    def search_meanwhile(self: Encoder, features: Array) -> NDArray[np.uint8]:
        if len(features) > 1:
            seen.append(len(index.search(query)))
        return encode(self, features)

    monkeypatch.setattr(Encoder, "encode", search_meanwhile)
    index.compact()
    assert seen == [20]


def test_codes_that_an_interrupted_compaction_left_are_not_read(index: FolderIndex, encoder: Encoder) -> None:
    index.set_encoder(encoder)
    (first,) = index.path.glob("codes-*")
    (index.path / first.name.replace("-1-", "-2-")).write_bytes(first.read_bytes())
    index.remove(1)
    index.compact()
    assert index.codes is not None
    np.testing.assert_array_equal(index.codes.matrix(), encoder.encode(clusters(300, 1)[1:]))


def test_codes_are_of_the_features_that_are_stored(artifact: Artifact, encoder: Encoder, tmp_path: Path) -> None:
    """Even if features are stored in float16, so that rebuilt codes are the same."""
    index = FolderIndex.create(tmp_path / "half", artifact, dtype="float16")
    index.set_encoder(encoder)
    index.add(clusters(2000, 1), [make_entry(n) for n in range(2000)])
    index.close()
    (file,) = index.path.glob("codes-*")
    stored = file.read_bytes()
    file.unlink()
    again = FolderIndex.open(index.path, writable=True)
    again.set_encoder(encoder)
    again.close()
    assert file.read_bytes() == stored


def test_an_addition_that_is_interrupted_has_its_codes(
    index: FolderIndex, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes after the catalog's commit, but before the codes are kept: the next change makes them."""
    index.set_encoder(encoder)
    codes = index.codes
    assert codes is not None

    def interrupt(new: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(codes, "append", interrupt)
    with pytest.raises(KeyboardInterrupt):
        index.add(clusters(1, 5), [make_entry(300)])
    index.add(clusters(1, 6), [make_entry(301)])
    for seed, image_id in ((5, 301), (6, 302)):
        assert index.search(Query(clusters(1, seed)[0], 1, mode="binary"))[0].entry.id == image_id


def test_codes_left_after_the_last_row_are_not_taken_for_those_of_later_rows(encoder: Encoder, tmp_path: Path) -> None:
    """As in a folder whose catalog and features were restored from a backup, and whose codes are newer."""
    path, rows, others = tmp_path / "codes.u8", clusters(20, 1), clusters(20, 2)
    Codes(encoder, rows[:10], path).append(encoder.encode(rows[10:]))
    Codes(encoder, rows[:10], path).append(encoder.encode(others[10:11]))
    stored = np.concatenate([rows[:10], others[10:]])
    np.testing.assert_array_equal(Codes(encoder, stored, path).matrix(), encoder.encode(stored))


def test_a_full_disk_stores_no_codes_and_loses_nothing(index: FolderIndex, encoder: Encoder, tmp_path: Path) -> None:
    """Added images are there and found by their codes, which are rebuilt after a restart."""
    index.set_encoder(encoder)
    (file,) = index.path.glob("codes-*")
    before = file.read_bytes()
    file.unlink()
    file.symlink_to("/dev/full")
    more = clusters(5, 6)
    assert [added.id for added in index.add(more, [make_entry(n) for n in range(300, 305)])] == list(range(301, 306))
    assert [added.id for added in index.add(clusters(1, 7), [make_entry(305)])] == [306]
    assert index.search(Query(more[0], 1, mode="binary"))[0].entry.id == 301
    index.close()
    file.unlink()
    file.write_bytes(before)
    again = FolderIndex.open(index.path, writable=True)
    again.set_encoder(encoder)
    assert not again.damaged
    assert len(file.read_bytes()) // 306 * 300 == len(before)
    assert again.search(Query(more[0], 1, mode="binary"))[0].entry.id == 301
    again.close()


def test_an_encoder_of_other_features_is_rejected(index: FolderIndex, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"broken\.onnx isn't a complete ONNX file"):
        Encoder(tmp_path / "broken.onnx")
    other = make_encoder(tmp_path / "other.onnx", 8, dim=32)
    with pytest.raises(IndexStoreError, match="expected an encoder of 64-dimensional features, got one of 32"):
        index.set_encoder(other)
