"""The demo: its images are indexed once with their authors, and the requests that it prints work."""

from __future__ import annotations

import csv
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from alexnet.demo import EXAMPLES, GALLERY, TABLE, describe_requests, prepare_demo, run_demo
from experiments.photos.make_gallery import decode_name
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.checksums import verify_checksums, write_checksums
from model.exceptions import ArtifactError
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.helpers.bundles import make_bundle


@pytest.fixture(scope="module")
def bundle(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small bundled network."""
    folder = tmp_path_factory.mktemp("bundled")
    make_bundle(artifact, "photos", folder)
    return folder


@pytest.fixture
def small(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network, and a gallery of the two examples."""
    gallery = tmp_path / "gallery"
    (gallery / "images").mkdir(parents=True)
    with (GALLERY / TABLE).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row[0] in ("path", *EXAMPLES)]
    with (gallery / TABLE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    for name in EXAMPLES:
        shutil.copy(GALLERY / name, gallery / name)
    write_checksums(gallery)
    monkeypatch.setattr("model.artifacts.packed.BUNDLED", bundle)
    monkeypatch.setattr("alexnet.demo.GALLERY", gallery)
    return gallery


def test_its_images_are_indexed_once_with_their_authors(small: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    demo = prepare_demo("photos", tmp_path / "demo", lines.append)
    assert lines[-1] == f"index {demo.index}: 2 images"
    with closing(FolderIndex.open(demo.index)) as index:
        assert all(entry.label and entry.attribution and all(entry.attribution) for entry in index.catalog.page(0, 9))
    with closing(FolderIndex.open(demo.index, writable=True)) as index:
        index.update(1, "corrected")
    assert prepare_demo("photos", tmp_path / "demo", lines.append) == demo
    with closing(FolderIndex.open(demo.index, writable=True)) as index:
        assert index.labels()["corrected"] == 1
        index.remove(1)
    prepare_demo("photos", tmp_path / "demo", lines.append)
    assert lines[-1] == f"index {demo.index}: 2 images"


def test_the_requests_that_it_prints_work(small: Path, tmp_path: Path) -> None:
    demo = prepare_demo("photos", tmp_path / "demo", lambda line: None)
    commands = [shlex.split(line) for line in describe_requests("http://testserver/", demo.examples) if "curl" in line]
    assert len(commands) == 4
    settings = Settings(artifact=demo.artifact.path, index=str(demo.index))
    with TestClient(create_app(Service(settings)), base_url="http://testserver") as client:
        for command in commands:
            url = next(word for word in command if word.startswith("http"))
            upload = next((word.removeprefix("image=@") for word in command if word.startswith("image=@")), None)
            response = client.post(url, files={"image": Path(upload).read_bytes()}) if upload else client.get(url)
            assert response.status_code == 200, command


def test_the_requests_have_the_address_that_is_served(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the address that was asked for: port 0 means any free port."""
    shown: list[str] = []
    monkeypatch.setattr("alexnet.demo.serve", lambda settings, log, show_page: show_page("http://[::1]:8123/"))
    lines: list[str] = []
    run_demo("photos", "::", 0, tmp_path / "demo", lines.append, shown.append)
    assert shown == ["http://[::1]:8123/"]
    assert "  curl 'http://[::1]:8123/images/1'" in lines
    assert not any("http://::" in line for line in lines)


def test_a_damaged_image_is_named(small: Path, tmp_path: Path) -> None:
    (small / EXAMPLES[0]).write_bytes(b"RIFF")
    with pytest.raises(ArtifactError, match=f"{EXAMPLES[0]}, a bundled file, is damaged: its SHA-256 is"):
        prepare_demo("photos", tmp_path / "demo", lambda line: None)


def test_the_gallery_is_whole_and_names_every_author() -> None:
    verify_checksums(GALLERY)
    with (GALLERY / TABLE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {f"images/{file.name}" for file in (GALLERY / "images").iterdir()}
    assert len(rows) == 1000
    assert all(row[name] for row in rows for name in ("label", "author", "author_page", "page", "license"))
    assert {row["license"] for row in rows} == {"CC BY 2.0", "MIT"}
    authors = {row["author"] for row in rows}
    assert authors == {decode_name(author) for author in authors}
    assert {"Andy Reago & Chrissy McClarren", "Kārlis Dambrāns", "LG전자"} <= authors


def test_an_authors_name_is_decoded() -> None:
    assert decode_name(r"Ali - \330\271\331\204\331\212 &amp; Don O&#x27;Brien") == "Ali - علي & Don O'Brien"
    assert decode_name(r"AC\DC 100 & Söhne") == r"AC\DC 100 & Söhne"


def test_an_index_of_another_format_is_moved_aside_and_built_again(small: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    demo = prepare_demo("photos", tmp_path / "demo", lines.append)
    with closing(sqlite3.connect(demo.index / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("UPDATE metadata SET value = '1' WHERE key = 'format'")
    assert prepare_demo("photos", tmp_path / "demo", lines.append) == demo
    assert any("has format 1" in line and "the old index is in" in line for line in lines)
    assert len([path for path in demo.index.parent.iterdir() if path.is_dir()]) == 2
    with closing(FolderIndex.open(demo.index)) as index:
        assert len(index) == 2
