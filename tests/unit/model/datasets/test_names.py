"""Names as they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.datasets.names import path_shower


def test_absolute_and_relative_paths_are_shown_below_the_folder_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ["cats/1.jpg", str(tmp_path / "cats" / "young" / "2.jpg")]
    assert list(map(path_shower(files), files)) == ["1.jpg", "young/2.jpg"]
