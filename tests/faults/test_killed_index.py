"""kill -9 while images are added and removed: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.catalog import NewEntry
from index.search import Query
from index.store import ImageIndex
from model.artifacts.artifact import Artifact

WRITER = """
import sys
from pathlib import Path
from index.store import ImageIndex
from tests.faults.test_killed_index import entry, feature
index = ImageIndex(Path(sys.argv[1]), writable=True)
number = int(sys.argv[2])
while True:
    added = index.add(feature(number), [entry(number)])
    print("added", added[0].id, number, flush=True)
    if number % 5 == 0:
        index.remove(added[0].id)
        print("removed", added[0].id, number, flush=True)
    if number % 97 == 0:
        index.compact()
        print("compacted", flush=True)
    number += 1
"""


def entry(number: int) -> NewEntry:
    return NewEntry(f"{number:064d}", f"label {number % 3}", None, "PNG", 1, 1, b"jpeg")


def feature(number: int) -> NDArray[np.float32]:
    return np.random.default_rng(number).random((1, 64), np.float32)


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_what_was_acknowledged_is_there(artifact: Artifact, tmp_path: Path, rounds: int) -> None:
    ImageIndex.create(tmp_path / "i", artifact).close()
    moments = random.Random(0)
    present: dict[int, int] = {}
    removed: set[int] = set()
    number = 0
    for turn in range(rounds):
        before = set(present)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "i"), str(number)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        ) as writer:  # fmt: skip
            assert writer.stdout is not None
            said = [writer.stdout.readline()]  # it has begun
            time.sleep(moments.uniform(0, 0.4))
            writer.kill()
            said += writer.stdout.read().splitlines()
        for line in said:
            word, *numbers = line.split()
            if word == "added" and len(numbers) == 2:  # a line that was cut off was no acknowledgement
                present[int(numbers[0])] = int(numbers[1])
            elif word == "removed" and len(numbers) == 2:
                removed.add(int(numbers[0]))
        last = max(present, key=lambda image_id: present[image_id])
        if present[last] % 5 == 0:  # it may have been removed, or not, without a word
            removed.add(last)
        number = present[last] + 2  # another one may have been added without a word
        index = ImageIndex.open(tmp_path / "i")
        assert index.damaged == {}
        looked_at = set(present) if turn == rounds - 1 else set(present) - before
        for image_id in looked_at - removed:
            nearest = index.search(Query(feature(present[image_id])[0], 1))[0]
            assert (nearest.entry.id, nearest.distance) == (image_id, 0)
        assert len(set(present) - removed) <= len(index) <= len(set(present) - removed) + 2 * rounds
        index.close()
    assert len(present) > 10 * rounds
