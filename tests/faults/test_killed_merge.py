"""kill -9 again and again while indexes are merged: the result equals that of an uninterrupted merge."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from index.backends import IndexUri
from index.entries import NewEntry
from index.folder.store import FolderIndex
from index.merge import merge
from model.artifacts.artifact import Artifact
from tests.helpers.indexes import read_files

SMALL_STEPS = """
import sys
import index.merge
from index.backends import IndexUri
index.merge.BATCH_SIZE = 3
print("begins", flush=True)
index.merge.merge(IndexUri.parse(sys.argv[1]), [IndexUri.parse(other) for other in sys.argv[2:]])
"""


@pytest.mark.slow
def test_a_killed_merge_resumes(artifact: Artifact, tmp_path: Path) -> None:
    moments, draw = random.Random(1), np.random.default_rng(1)
    features = draw.random((900, 64), np.float32)
    parts = [tmp_path / name for name in "abc"]
    for number, part in enumerate(parts):
        index = FolderIndex.create(part, artifact)
        mine = [n for n in range(900) if n % 3 == number or n % 50 == 0]  # every 50th is in all
        index.add(
            features[mine],
            [NewEntry(f"{n:064d}", f"of {number}", Path(f"/{n:03d}.png"), "PNG", 1, 1, b"%d" % n) for n in mine],
        )
        index.close()
    uninterrupted, into = tmp_path / "uninterrupted", tmp_path / "into"
    assert merge(IndexUri(uninterrupted), list(map(IndexUri, parts))).images == 900
    kills = 0
    while True:
        command = [sys.executable, "-c", SMALL_STEPS, str(into), *map(str, parts)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if kills < 5:
                time.sleep(moments.uniform(0.02, 0.1))
                process.kill()
                kills += process.wait() != 0
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert kills >= 3
    assert read_files(into) == read_files(uninterrupted)
