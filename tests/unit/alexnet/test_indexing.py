"""`alexnet index add` and `alexnet index sync`: the summary, what is skipped, and an index that follows its folder."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alexnet.cli import app as cli
from alexnet.indexing import list_image_files
from index import reading
from index.folder.store import FolderIndex
from index.shards import Shard
from model.artifacts.artifact import Artifact
from model.datasets.attribution import Attribution
from model.datasets.image_files import read_image_file
from model.shell_command import alexnet_command
from tests.helpers.commands import invoke, run_alexnet


@pytest.fixture
def photos(few: Path, tmp_path: Path) -> Path:
    """Two classes of four images with empty thumbnail folders, a text and a broken link."""
    for folder in ("checks", "stripes"):
        (tmp_path / "photos" / folder / "@eaDir").mkdir(parents=True)
        for path in sorted((few / folder).iterdir())[:4]:
            shutil.copy(path, tmp_path / "photos" / folder)
    (tmp_path / "photos" / "checks" / "notes.txt").write_text("x")
    (tmp_path / "photos" / "stripes" / "gone.jpg").symlink_to("/nowhere.jpg")
    return tmp_path / "photos"


def test_one_image_is_one_image(photos: Path, artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(next((photos / "checks").glob("*.*g")), tmp_path / "one")
    output = invoke("index", "add", "--data", tmp_path / "one", "--artifact", artifact.path, "--index", tmp_path / "i")
    assert ": 1 image (1 added, 0 already indexed, 0 unreadable)" in output


def test_data_of_which_no_image_is_readable_is_an_error(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "notes.jpg").write_bytes(b"no image")
    words = ["index", "add", "--data", tmp_path / "d", "--artifact", artifact.path, "--index", tmp_path / "i"]
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert result.exit_code == 1
    assert "could be read, so nothing was indexed; skipped: 1 not an image" in str(result.exception)


def test_an_index_is_built_and_follows_its_folder(
    photos: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--artifact", artifact.path, "--index", "i"]
    output = invoke("index", "add", "--data", photos, "--list-skipped", "skipped.tsv", *options)
    skipped = "2 system files and folders, 1 broken link, 1 not an image"
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
    sync = f"{alexnet_command()} index sync --artifact {artifact.path} --index i --exclude notes.txt {photos}"
    assert f"the data has changed since: 1 moved, 1 gone; `{sync}` brings" in output
    output = invoke("index", "add", "--data", photos / "checks", *options)
    assert (
        "the index keeps its labels for these images, the names of folders above them (checks): --data must be"
        in output
    )
    planned = json.loads(invoke("index", "sync", photos, "--dry-run", "--prune", "--json", *options))
    assert (planned["counts"]["moved"], planned["counts"]["gone"], planned["dry_run"]) == (1, 1, True)
    output = invoke("index", "sync", photos, "--prune", *options)
    assert "moved: stripes/moved.jpg (from checks/00.jpg, checks -> stripes)\n" in output
    assert "gone: checks/01.jpg (image 2)\n" in output
    assert "index i: 6 unchanged, 0 copies, 0 added, 0 restored, 1 moved," in output
    listed = invoke("index", "list", "--index", "i")
    assert len(listed.splitlines()) == 7
    assert "stripes  " + str(photos / "stripes" / "moved.jpg") in listed


def test_a_folder_may_be_named_as_a_table_is(
    photos: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos.rename("photos.csv")
    options = ["--artifact", artifact.path, "--index", "i"]
    assert "index i: 8 images (8 added" in invoke("index", "add", "--data", "photos.csv", *options)
    assert "index i: 8 unchanged, 0 copies, 0 added" in invoke("index", "sync", "photos.csv", *options)


def test_an_index_follows_a_table(
    photos: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the table's rows count: unlisted files and deleted rows change nothing."""
    monkeypatch.chdir(tmp_path)
    options = ["--artifact", artifact.path, "--index", "i"]
    rows = [f"photos/checks/0{n}.jpg,checks" for n in range(4)] + ["photos/stripes/00.jpg,stripes"]
    Path("table.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    invoke("index", "add", "--data", photos, "--exclude", "checks", *options)
    assert "has changed" not in invoke("index", "add", "--data", "table.csv", *options)
    (photos / "checks" / "01.jpg").unlink()
    (photos / "checks" / "02.jpg").rename(photos / "moved.jpg")
    rows = ["photos/checks/01.jpg,checks", "photos/moved.jpg,checks", "photos/checks/03.jpg,other", rows[-1]]
    Path("table.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    output = invoke("index", "add", "--data", "table.csv", *options)
    same = f"--artifact {artifact.path} --index i"
    sync = f"{alexnet_command()} index sync {same} table.csv"
    assert f"the data has changed since: 1 moved, 1 relabeled, 1 gone; `{sync}`" in output
    output = invoke("index", "sync", "table.csv", "--prune", *options)
    assert "relabeled: photos/checks/03.jpg (checks -> other)\n" in output
    assert "gone: photos/checks/01.jpg (image 6)\n" in output
    assert "index i: 1 unchanged, 0 copies, 0 added, 0 restored, 1 moved, 1 relabeled, 0 edited, 1 gone," in output
    listed = invoke("index", "list", "--index", "i")
    assert len(listed.splitlines()) == 7
    assert "other  " + str(photos / "checks" / "03.jpg") in listed


def test_shards_of_a_table_do_not_depend_on_other_rows(photos: Path, tmp_path: Path) -> None:
    """Machines with different files, and tables that grew, agree on an image's shard."""
    rows = [f"photos/checks/0{n}.jpg" for n in range(4)]
    for name, more in (("part.csv", []), ("whole.csv", [f"photos/stripes/0{n}.jpg" for n in range(4)])):
        (tmp_path / name).write_text("path\n" + "\n".join(rows + more) + "\n")

    def names(table: str, number: int) -> set[str]:
        listing = list_image_files(str(tmp_path / table), None, Shard(number, 2), ())
        return {entry.file for entry in listing.entries}

    for number in (1, 2):
        assert names("part.csv", number) == {file for file in names("whole.csv", number) if "checks" in file}


def test_a_file_that_cannot_be_read_is_not_used(photos: Path, artifact: Artifact, tmp_path: Path) -> None:
    options = ["--artifact", artifact.path, "--index", tmp_path / "i"]
    (photos / "checks" / "00.jpg").write_bytes(b"\xff\xd8\xff no image")
    summary = "photos: 12 found, 7 used, 5 skipped ("
    assert summary in invoke("index", "add", "--data", photos, *options)
    assert summary in invoke("index", "sync", photos, *options)


def test_beside_a_server_a_dry_run_is_possible_and_changes_are_refused(
    photos: Path, artifact: Artifact, tmp_path: Path
) -> None:
    options = ["--artifact", artifact.path, "--index", tmp_path / "i"]
    invoke("index", "add", "--data", photos, *options)
    (photos / "checks" / "00.jpg").unlink()
    with closing(FolderIndex.open(tmp_path / "i", writable=True)) as index:
        index.remove(8)
        output = invoke("index", "sync", photos, "--prune", "--dry-run", *options)
        assert "gone: checks/00.jpg (image 1)\n" in output
        assert "restored: stripes/03.jpg (stripes)\n" in output
        for words in (["add", "--data"], ["sync"]):
            refused = run_alexnet("index", *words, photos, *options)
            assert refused.returncode == 1
            assert refused.stderr.startswith(f"error: another process, such as a server, has the index at {tmp_path}/i")
            assert "POST /images" in refused.stderr
            assert "help:" not in refused.stderr
        assert len(index) == 7


def test_copies_under_another_label_are_counted_and_named(
    photos: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--artifact", artifact.path, "--index", "i"]
    (photos / "stripes" / "copy.jpg").hardlink_to(photos / "checks" / "00.jpg")
    (photos / "checks" / "copy.jpg").hardlink_to(photos / "checks" / "00.jpg")
    output = invoke("index", "add", "--data", photos, *options)
    assert (
        "\ncopies of other images: 1 under another label, such as stripes/copy.jpg; an image has only one label"
        in output
    )
    assert "2 copies (1 under another label, such as stripes/copy.jpg)" in invoke("index", "sync", photos, *options)
    (tmp_path / "elsewhere" / "fox").mkdir(parents=True)
    (tmp_path / "elsewhere" / "fox" / "1.jpg").hardlink_to(photos / "checks" / "00.jpg")
    output = invoke("index", "add", "--data", tmp_path / "elsewhere", *options)
    assert "copies of other images: 1 under another label, such as fox/1.jpg; " in output


def test_files_are_not_read_again_to_compare_them(
    photos: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even files that are new this second, damaged, or copies."""
    (photos / "checks" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    shutil.copy(photos / "checks" / "00.jpg", photos / "checks" / "copy.jpg")
    reads = list[str]()

    def count(path: str, max_bytes: int) -> bytes:
        reads.append(path)
        return read_image_file(path, max_bytes)

    monkeypatch.setattr(reading, "read_image_file", count)
    for _ in range(2):
        reads.clear()
        invoke("index", "add", "--data", photos, "--artifact", artifact.path, "--index", tmp_path / "i")
        assert len(reads) == len(set(reads)) == 11


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
    with closing(FolderIndex.open(tmp_path / "merged")) as index:
        entries = list(index.catalog.iter_entries())
    assert {entry.source.name: entry.attribution for entry in entries if entry.source and entry.attribution} == {
        "moved.jpg": Attribution("Ann", "https://a.example/ann", "https://a.example/1", "CC BY 2.0")
    }
    assert len(entries) == 8


def test_a_file_whose_name_an_index_cannot_keep_is_named(photos: Path, artifact: Artifact, tmp_path: Path) -> None:
    photos.joinpath("checks/00.jpg").rename(os.fsdecode(os.fsencode(photos / "checks") + b"/caf\xe9.jpg"))
    options = ["--artifact", artifact.path, "--index", tmp_path / "i"]
    note = (
        "\n  file names that aren't UTF-8 (images indexed without a path): 1, such as checks/caf\\xe9.jpg; "
        "rename them\n"
    )
    assert note in invoke("index", "add", "--data", photos, *options)
    assert note in invoke("index", "sync", photos, *options)
