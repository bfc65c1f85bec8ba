"""Flip a bit in each column of one row of the catalog, in the row's cells of SQLite's indexes, and in the metadata, six
times each: what damage is noticed, and what is silently wrong?
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from index.backends import IndexUri, open_for_serving
from index.folder.store import FolderIndex
from index.search import Query
from model.artifacts import artifact as artifacts
from model.exceptions import AlexNetError
from tests.cases.attack.harness import ARTIFACTS, HOME, INDEX, report

IMAGE_ID = 100
QUERY_ID = 60
TRIES = 6
COLUMNS = "row, checksum, sha256, label, source, format, thumbnail_checksum, entry_checksum, thumbnail"
METADATA = ("network_sha256", "crops", "feature_dim", "dtype", "generation", "format")
ARTIFACT = artifacts.load(ARTIFACTS)
Place = tuple[int, int]
"""Offset and length in catalog.sqlite."""


def find_places(content: bytes) -> dict[str, Place]:
    """Where the row's parts, its index cells and the metadata are in `content`: SQLite writes a row's header, and then
    its columns without gaps."""
    with closing(sqlite3.connect(INDEX / "catalog.sqlite")) as database:
        row, checksum, sha256, label, source, image_format, *checksums, thumbnail = database.execute(
            f"SELECT {COLUMNS} FROM images WHERE id = ?", (IMAGE_ID,)
        ).fetchone()
        metadata = dict(database.execute("SELECT key, value FROM metadata"))
    texts = {"sha256": sha256, "label": label, "source": source, "format": image_format}
    start = content.find("".join(texts.values()).encode())
    checksum_length, *lengths = (6 if value >= 2**31 else 4 for value in (checksum, *checksums))
    row_start = start - checksum_length - 1
    assert int.from_bytes(content[row_start + 1 : start], "big", signed=True) == checksum
    assert content[row_start] == row
    header = next(n for n in range(24, 12, -1) if content[row_start - n] == n)
    places = {
        "header (types and lengths)": (row_start - header, header),
        "row": (row_start, 1),
        "checksum": (row_start + 1, checksum_length),
    }
    end = start
    for name, text in texts.items():
        places[name] = (end, len(text))
        end += len(text)
    places |= {"width": (end, 2), "height": (end + 2, 2)}
    end += 4  # `removed`, 0 or 1, is stored in the header
    for name, length in zip(("thumbnail_checksum", "entry_checksum"), lengths, strict=True):
        places[name] = (end, length)
        end += length
    places["thumbnail"] = (end, len(thumbnail))
    sha_cells = [offset for offset in find_all(content, sha256.encode()) if offset != start]
    places["sha256 in its index"] = (sha_cells[0], len(sha256))
    label_cells = find_all(content, label.encode() + bytes([IMAGE_ID]))
    if label_cells:
        places["label in by_label"] = (label_cells[0], len(label))
        places["id in by_label"] = (label_cells[0] + len(label), 1)
    for name in METADATA:
        offset = content.find((name + metadata[name]).encode())
        assert offset > 0, name
        places[f"metadata: {name}"] = (offset + len(name), len(metadata[name]))
    return places


def find_all(content: bytes, text: bytes) -> list[int]:
    offsets, offset = [], content.find(text)
    while offset >= 0:
        offsets.append(offset)
        offset = content.find(text, offset + 1)
    return offsets


def inspect(path: Path) -> dict[str, Any]:
    """Everything that an intact index returns; of a damaged one, only what is damaged."""
    index, _ = open_for_serving(IndexUri(path), ARTIFACT, read_only=False)
    with closing(index):
        assert isinstance(index, FolderIndex)
        if damaged := index.verify():
            return {"damaged": dict(damaged)}
        entry = index.entry(IMAGE_ID)
        neighbors = index.search(Query(index.feature(QUERY_ID), 240))
        sha256 = index.catalog.sha256(IMAGE_ID)
        return {
            "damaged": {},
            "size": len(index),
            "crops": index.crops,
            "labels": index.labels(),
            "entries": [
                (e.id, e.label, str(e.source), e.format, e.width, e.height) for e in index.catalog.iter_entries()
            ],
            "entries of its label": [e.id for e in index.catalog.iter_entries(entry.label)],
            "similar": [(n.entry.id, round(n.distance, 6), n.entry.label) for n in neighbors],
            "thumbnail": index.catalog.thumbnail(IMAGE_ID).hex(),
            "sha256": sha256,
            "found by sha256": [stored.id for stored in index.catalog.find([sha256]).values()],
        }


def in_process(path: Path) -> dict[str, Any]:
    """The result of `inspect` in a process of its own, or how it failed."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(read_end)
        signal.alarm(60)
        try:
            result = inspect(path)
        except AlexNetError as error:
            result = {"refused": str(error)[-90:]}
        except BaseException as error:
            result = {"exception": repr(error)[:120]}
        with os.fdopen(write_end, "w") as file:
            json.dump(result, file, default=str)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as file:
        text = file.read()
    status = os.waitpid(child, 0)[1]
    parsed: dict[str, Any] = json.loads(text) if text else {"crash": status}
    return parsed


def compare(intact: dict[str, Any], result: dict[str, Any]) -> tuple[str, str]:
    """What a flipped bit did, in a few words, and an example."""
    for outcome in ("refused", "exception", "crash"):
        if outcome in result:
            return outcome, f"{outcome}: {result[outcome]}"
    if result["damaged"]:
        return "named as damaged", ""
    different = [name for name, value in intact.items() if result[name] != value]
    if not different:
        return "no difference", ""
    before, after = intact[different[0]], result[different[0]]
    texts = json.dumps(before), json.dumps(after)
    same = next((number for number, (b, a) in enumerate(zip(*texts, strict=False)) if b != a), len(texts[1]))
    start = max(0, same - 20)
    before_text, after_text = (text[start : start + 40] for text in texts)
    return f"SILENT: {', '.join(different)}", f"{different[0]}: {before_text} -> {after_text}"


def passes_integrity_check(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        try:
            return bool(database.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
        except sqlite3.Error:
            return False


def main() -> None:
    random.seed(11)
    content = (INDEX / "catalog.sqlite").read_bytes()
    intact = in_process(INDEX)
    totals: Counter[str] = Counter()
    for name, (start, length) in find_places(content).items():
        outcomes, example, noticed, copy = Counter[str](), "", 0, HOME / "index_bits"
        for _ in range(TRIES):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(INDEX, copy)
            damaged = bytearray(content)
            damaged[start + random.randrange(length)] ^= 1 << random.randrange(8)
            (copy / "catalog.sqlite").write_bytes(damaged)
            noticed += not passes_integrity_check(copy / "catalog.sqlite")
            outcome, text = compare(intact, in_process(copy))
            outcomes[outcome] += 1
            totals[outcome.partition(":")[0]] += 1
            example = text if outcome.startswith("SILENT") or not example else example
        report(f"{name:28} {dict(outcomes)} [integrity_check would see {noticed} of {TRIES}] {example}")
    report(dict(totals))


if __name__ == "__main__":
    main()
