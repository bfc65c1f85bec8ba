"""Names as they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.datasets.names import name_of_data, path_formatter, to_text


def test_absolute_and_relative_paths_are_shown_below_the_folder_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ["cats/1.jpg", str(tmp_path / "cats" / "young" / "2.jpg")]
    assert list(map(path_formatter(files), files)) == ["1.jpg", "young/2.jpg"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("birds.v1/", "birds.v1"), ("birds", "birds"), ("birds.csv", "birds"), ("b.v2.tar.gz", "b.v2"), ("b.zip", "b")],
)
def test_data_is_called_by_its_folder_or_by_its_file_without_suffix(tmp_path: Path, path: str, name: str) -> None:
    """`birds.v1` and `birds.v2` are two data sets, and not two versions of one artifact."""
    if "." not in path or path.endswith("/"):
        (tmp_path / path).mkdir()
    assert name_of_data(tmp_path / path) == name


@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "\u200b", "\ufeff"])
def test_blanks_that_nobody_sees_are_no_part_of_a_label(blank: str) -> None:
    assert to_text(f"{blank}red fox{blank}") == "red fox"
