"""A damaged checkpoint is never loaded: damage to any of its data is noticed, and the previous one takes its place."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from model.exceptions import TrainingError
from training.loop.checkpoint_file import previous_path, read_checkpoint, read_latest_checkpoint, write_checkpoint


def state(value: float) -> dict[str, object]:
    return {"weights": {"a": torch.full((300,), float(value)), "b": torch.arange(50)}, "epoch": int(value), "name": "x"}


def same(first: dict[str, object], second: dict[str, object]) -> bool:
    weights, others = first["weights"], second["weights"]
    assert isinstance(weights, dict)
    assert isinstance(others, dict)
    return first["epoch"] == second["epoch"] and all(torch.equal(weights[name], others[name]) for name in others)


@pytest.mark.parametrize("kind", ["bit", "zeros", "others", "cut"])
def test_damage_is_never_loaded(tmp_path: Path, kind: str) -> None:
    path, generator = tmp_path / "checkpoint.pt", random.Random(0)
    write_checkpoint(path, state(1))
    content, refused = path.read_bytes(), 0
    for _ in range(60):
        damaged, place = bytearray(content), generator.randrange(len(content))
        if kind == "bit":
            damaged[place] ^= 1 << generator.randrange(8)
        elif kind == "cut":
            del damaged[place:]
        else:
            size = min(64, len(content) - place)
            damaged[place : place + size] = bytes(size) if kind == "zeros" else generator.randbytes(size)
        path.write_bytes(damaged)
        try:
            assert same(read_checkpoint(path), state(1))  # damage between members, where no data is
        except TrainingError:
            refused += 1
    assert refused > 10
    path.write_bytes(content)
    place = content.index(torch.full((20,), 1.0).numpy().tobytes())
    path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    with pytest.raises(TrainingError, match=r"is damaged: the checksum of .* in it doesn't match"):
        read_checkpoint(path)


def test_the_one_before_is_kept_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "checkpoint.pt"
    for value in (1, 2, 3):
        write_checkpoint(path, state(value), keep_previous=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]
    assert same(read_latest_checkpoint(path), state(3))
    assert capsys.readouterr().out == ""
    path.write_bytes(path.read_bytes()[:-100])
    assert same(read_latest_checkpoint(path), state(2))
    assert f"{path} is damaged: resuming from the previous one, checkpoint.previous.pt" in capsys.readouterr().out
    path.rename(previous_path(path))  # as if killed between two renamings
    assert same(read_latest_checkpoint(path), state(2))
    path.write_bytes(b"x")
    previous_path(path).write_bytes(b"x")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is damaged"):
        read_latest_checkpoint(path)


def test_the_one_before_is_not_lost_when_the_next_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for value in (1, 2):
        write_checkpoint(path, state(value), keep_previous=True)
    path.write_bytes(path.read_bytes()[:-100])
    assert same(read_latest_checkpoint(path), state(1))
    (tmp_path / "checkpoint.pt.partial").symlink_to("/dev/full")
    with pytest.raises((OSError, RuntimeError)):
        write_checkpoint(path, state(3), keep_previous=True)
    assert same(read_latest_checkpoint(path), state(1))


def test_one_of_another_version_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, state(1), keep_previous=True)
    write_checkpoint(path, state(2) | {"format": 99}, keep_previous=True)
    content = path.read_bytes()
    with pytest.raises(TrainingError, match="written by another version"):
        read_latest_checkpoint(path)
    assert path.read_bytes() == content


def test_a_full_disk_keeps_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, state(1), keep_previous=True)
    (tmp_path / "checkpoint.pt.partial").symlink_to("/dev/full")
    with pytest.raises((OSError, RuntimeError)):
        write_checkpoint(path, state(2), keep_previous=True)
    assert same(read_checkpoint(path), state(1))
