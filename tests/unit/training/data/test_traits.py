"""The file of image traits."""

from __future__ import annotations

from pathlib import Path

from training.data.traits import TRAITS, open_traits


def test_the_space_of_all_records_is_taken_at_once(tmp_path: Path) -> None:
    """A write to a hole of a mapped file would end the process when the disk is full."""
    traits, existed = open_traits(tmp_path / "traits.bin", 100_000)
    assert not existed
    assert not traits["digest"].any()
    assert 512 * (tmp_path / "traits.bin").stat().st_blocks >= 100_000 * TRAITS.itemsize
    traits["bytes"][7] = 3
    traits.flush()
    again, existed = open_traits(tmp_path / "traits.bin", 100_000)
    assert existed
    assert again["bytes"][7] == 3
    assert not open_traits(tmp_path / "traits.bin", 50_000)[1]
