"""kill -9 while images are added and removed: acknowledged changes are kept, and none is half done."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from index.folder.store import FolderIndex
from index.search import Query
from model.artifacts.artifact import Artifact
from tests.helpers.indexes import random_feature

WRITER = """
import sys
from pathlib import Path
from index.folder.store import FolderIndex
from tests.helpers.indexes import make_entry, random_feature
index = FolderIndex.open(Path(sys.argv[1]), writable=True)
number = int(sys.argv[2])
while True:
    added = index.add(random_feature(number), [make_entry(number)])
    print("added", added[0].id, number, flush=True)
    if number % 5 == 0:
        index.remove(added[0].id)
        print("removed", added[0].id, number, flush=True)
    if number % 97 == 0:
        index.compact()
        print("compacted", flush=True)
    number += 1
"""


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_what_was_acknowledged_is_there(artifact: Artifact, tmp_path: Path, rounds: int) -> None:
    FolderIndex.create(tmp_path / "i", artifact).close()
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
            lines = [writer.stdout.readline() for _ in range(15)]  # more than ten images, however slow the machine
            time.sleep(moments.uniform(0, 0.4))
            writer.kill()
            lines += writer.stdout.read().splitlines()
        for line in lines:
            word, *numbers = line.split()
            if word == "added" and len(numbers) == 2:  # a line that was cut off acknowledges nothing
                present[int(numbers[0])] = int(numbers[1])
            elif word == "removed" and len(numbers) == 2:
                removed.add(int(numbers[0]))
        last = max(present, key=lambda image_id: present[image_id])
        if present[last] % 5 == 0:  # it may have been removed without an acknowledgment
            removed.add(last)
        number = present[last] + 2  # another one may have been added without an acknowledgment
        index = FolderIndex.open(tmp_path / "i")
        assert index.damaged == {}
        checked = set(present) if turn == rounds - 1 else set(present) - before
        for image_id in checked - removed:
            nearest = index.search(Query(random_feature(present[image_id])[0], 1))[0]
            assert (nearest.entry.id, nearest.distance) == (image_id, 0)
        assert len(set(present) - removed) <= len(index) <= len(set(present) - removed) + 2 * rounds
        index.close()
    assert len(present) > 10 * rounds
