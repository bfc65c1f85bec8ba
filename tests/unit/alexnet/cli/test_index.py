"""`alexnet index add --shard` and `alexnet index merge`: default places, reports, and resuming."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.artifacts.artifact import Artifact
from tests.helpers.commands import invoke


def test_shards_are_indexed_and_merged(
    few: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["index", "add", "--data", few, "--artifact", artifact.path, "--dtype", "float16"]
    for number in (1, 2, 3):
        invoke(*options, "--shard", f"{number}/3")
    shards = sorted(Path("indexes").glob("*/*-of-3"))
    assert [shard.name for shard in shards] == [f"{artifact.path.name}.{number}-of-3" for number in (1, 2, 3)]
    assert "index merged: 33 images (33 added, " in invoke("index", "merge", *shards, "--index", "merged")
    assert "33 images (0 added, " in invoke("index", "merge", *shards, "--index", "merged")
    assert "0 added, 33 already indexed" in invoke(*options, "--index", "merged")
