"""`alexnet similar` with one image and many."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from alexnet import Classifier, Index
from alexnet.cli.app import app
from alexnet.cli.image_results import Result, print_results
from alexnet.cli.output import Format
from alexnet.cli.similar import COLUMNS, _format
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError
from tests.helpers.commands import invoke


def test_one_image_and_many(artifact: Artifact, index_path: Path, images: Path) -> None:
    options = ["--artifact", artifact.path, "--index", index_path, "-k", 2]
    paths = [images / "circles" / "00.jpg", images / "checks" / "01.jpg"]
    lines = invoke("similar", paths[0], *options).splitlines()
    assert lines[0].split() == ["0.000", "circles", str(paths[0])]
    assert len(lines) == 2
    blocks = invoke("similar", *paths, *options).splitlines()
    assert blocks[:3] == [str(paths[0]), *lines]
    assert blocks[3] == str(paths[1])
    document = json.loads(invoke("similar", *paths, *options, "--json"))
    for path, result in zip(paths, document["results"], strict=True):
        assert result["image"] == str(path)
        assert result["neighbors"][0]["path"] == str(path)
    rows = list(csv.DictReader(invoke("similar", *paths, *options, "--csv").splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    assert [int(row["id"]) for row in rows] == [row["id"] for r in document["results"] for row in r["neighbors"]]


def test_an_image_without_a_file_is_shown_by_its_key(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    file = images / "checks" / "00.jpg"
    with Index(tmp_path / "i", Classifier(artifact, device="cpu")) as index:
        index.add(file.read_bytes(), keys="shelf 3")
    words = ["similar", file, "--artifact", artifact.path, "--index", tmp_path / "i"]
    assert invoke(*words) == "    0.000  -  shelf 3\n"
    assert json.loads(invoke(*words, "--json"))["results"][0]["neighbors"][0]["key"] == "shelf 3"
    (row,) = csv.DictReader(invoke(*words, "--csv").splitlines())
    assert (row["id"], row["key"], row["path"]) == ("1", "shelf 3", "")


def test_what_was_left_out_of_images_is_said(artifact: Artifact, index_path: Path, tmp_path: Path) -> None:
    Image.new("RGB", (300, 100)).save(tmp_path / "panorama.png")
    options = ["--artifact", artifact.path, "--index", index_path]
    result = CliRunner().invoke(app, [*map(str, ("similar", tmp_path / "panorama.png", *options))])
    assert result.stderr == "images read with a warning: 1 over twice as long as wide (the middle was used)\n"


def test_an_index_without_images_is_an_error(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    FolderIndex.create(tmp_path / "i", artifact).close()
    words = ["similar", images / "checks" / "00.jpg", "--artifact", artifact.path, "--index", tmp_path / "i"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert isinstance(result.exception, IndexStoreError)
    assert str(result.exception).endswith("has no images: add some with `alexnet index add --data FOLDER`")


def test_columns_are_aligned(artifact: Artifact, index_path: Path, images: Path) -> None:
    lines = invoke(
        "similar", images / "checks" / "00.jpg", "--artifact", artifact.path, "--index", index_path, "-k", 60
    ).splitlines()
    assert len({line.index("/") for line in lines}) == 1


def test_an_image_that_cannot_be_read_is_skipped(
    artifact: Artifact, index_path: Path, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    words = ["similar", tmp_path / "broken.jpg", images / "checks" / "00.jpg", "--jsonl", "-k", 1]
    options = ["--artifact", artifact.path, "--index", index_path]
    result = CliRunner().invoke(app, [*map(str, (*words, *options))])
    broken, intact = (json.loads(line) for line in result.stdout.splitlines())
    assert broken.keys() == {"image", "error"}
    assert intact["neighbors"][0]["distance"] == 0
    assert result.exit_code == 1


def test_an_image_without_neighbors_is_named(
    artifact: Artifact, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hash lookup may find none."""
    first, second = (str(images / "checks" / name) for name in ("00.jpg", "01.jpg"))
    neighbor = {"id": 1, "key": None, "distance": 0.5, "label": "a", "path": "/x"}
    forms: tuple[tuple[Format, str], ...] = (
        ("text", f"{first}\nno neighbor found\n"),
        ("csv", f"image,rank,id,key,distance,label,path,error\n{first},,,,,,,\n{second},1,1,,0.5,a,/x,\n"),
        ("jsonl", f'{{"image": "{first}"'),
    )
    for form, expected in forms:
        results = [Result(first), Result(second, [neighbor])]
        print_results([first, second], None, lambda *_, r=results: r, "neighbors", form, artifact, COLUMNS, _format)
        assert expected in capsys.readouterr().out
