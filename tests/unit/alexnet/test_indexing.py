"""`alexnet index add` and `alexnet index sync`: the summary, what is skipped, and an index that follows its folder."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alexnet.cli import app as cli
from index.store import ImageIndex
from model.artifacts.artifact import Artifact
from model.datasets.attribution import Attribution
from tests.helpers.commands import invoke


@pytest.fixture
def photos(few: Path, tmp_path: Path) -> Path:
    """Two classes of four images, a text, a broken link and thumbnails."""
    for folder in ("checks", "stripes"):
        (tmp_path / "photos" / folder / "@eaDir").mkdir(parents=True)
        for path in sorted((few / folder).iterdir())[:4]:
            shutil.copy(path, tmp_path / "photos" / folder)
    (tmp_path / "photos" / "checks" / "notes.txt").write_text("x")
    (tmp_path / "photos" / "stripes" / "gone.jpg").symlink_to("/nowhere.jpg")
    return tmp_path / "photos"


def test_an_index_is_built_and_follows_its_folder(
    photos: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--artifact", artifact.path, "--index", "i"]
    output = invoke("index", "add", "--data", photos, "--list-skipped", "skipped.tsv", *options)
    skipped = "2 system files and folders, 1 broken links, 1 not images"
    assert f"photos: 12 found, 8 used, 4 skipped ({skipped})\n  2 classes\n" in output
    assert "index i: 8 images (8 added, 0 already indexed, 1 unreadable)" in output
    assert "has changed" not in output
    rows = [line.split("\t") for line in Path("skipped.tsv").read_text().splitlines()]
    assert sorted((Path(path).name, reason) for path, reason, _ in rows) == [
        ("@eaDir", "system files and folders"),
        ("@eaDir", "system files and folders"),
        ("gone.jpg", "broken links"),
        ("notes.txt", "not images"),
    ]
    (photos / "checks" / "00.jpg").rename(photos / "stripes" / "moved.jpg")
    (photos / "checks" / "01.jpg").unlink()
    output = invoke("index", "add", "--data", photos, "--exclude", "notes.txt", *options)
    assert "the folder has changed since: 1 moved, 1 gone; `alexnet index sync` brings" in output
    planned = json.loads(invoke("index", "sync", photos, "--dry-run", "--prune", "--json", *options))
    assert (planned["counts"]["moved"], planned["counts"]["gone"], planned["dry_run"]) == (1, 1, True)
    output = invoke("index", "sync", photos, "--prune", *options)
    assert "moved: stripes/moved.jpg (from checks/00.jpg, checks -> stripes)\n" in output
    assert "gone: checks/01.jpg\n" in output
    assert "index i: 6 unchanged, 0 copies, 0 added, 0 restored, 1 moved," in output
    listed = invoke("index", "list", "--index", "i")
    assert len(listed.splitlines()) == 7
    assert "stripes  " + str(photos / "stripes" / "moved.jpg") in listed


def test_a_folder_is_followed_only_if_it_is_there(
    photos: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--artifact", artifact.path, "--index", "i"]
    invoke("index", "add", "--data", photos, *options)
    shutil.rmtree(photos)
    result = CliRunner().invoke(cli.app, ["index", "sync", str(photos), "--prune", *map(str, options)])
    assert "no folder at" in str(result.exception)
    assert len(invoke("index", "list", "--index", "i").splitlines()) == 8


def test_an_attribution_stays_with_its_image(
    photos: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--artifact", artifact.path]
    row = "photos/checks/00.jpg,checks,Ann,https://a.example/ann,https://a.example/1,CC BY 2.0"
    Path("table.csv").write_text(
        f"path,label,author,author_page,page,license\n{row}\nphotos/stripes/00.jpg,stripes,,,,\n"
    )
    invoke("index", "add", "--data", "table.csv", "--index", "i", *options)
    (photos / "checks" / "00.jpg").rename(photos / "stripes" / "moved.jpg")
    invoke("index", "sync", photos, "--index", "i", *options)
    invoke("index", "merge", "i", "--index", "merged")
    with closing(ImageIndex.open(tmp_path / "merged")) as index:
        entries = list(index.catalog.iter_entries())
    assert {entry.source.name: entry.attribution for entry in entries if entry.source and entry.attribution} == {
        "moved.jpg": Attribution("Ann", "https://a.example/ann", "https://a.example/1", "CC BY 2.0")
    }
    assert len(entries) == 8
