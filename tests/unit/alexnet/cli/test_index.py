"""`alexnet index`: default places, reports, and resuming."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alexnet import Classifier, Index
from alexnet.cli.app import app
from model.artifacts.artifact import Artifact
from model.exceptions import DatasetError
from tests.helpers.commands import invoke, run_alexnet
from tests.helpers.indexes import make_entry, make_index


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


def test_a_folder_without_images_makes_no_index(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("x")
    skipped, index = tmp_path / "skipped.tsv", tmp_path / "i"
    for folder, reasons in (("empty", ""), ("texts", "; skipped: 1 not an image")):
        words = ["index", "add", "--data", tmp_path / folder, "--artifact", artifact.path, "--index", index]
        result = CliRunner().invoke(app, [*map(str, words), "--list-skipped", str(skipped)])
        assert isinstance(result.exception, DatasetError)
        assert str(result.exception) == f"no image in {tmp_path / folder}, so nothing was indexed{reasons}"
        assert not index.exists()
    assert "notes.txt\tnot images" in skipped.read_text()


def test_each_image_is_a_line_whatever_its_path(few: Path, artifact: Artifact, tmp_path: Path) -> None:
    """Control characters, which a terminal would obey, are shown as Python writes them; JSON has the path itself."""
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\nb\x1b[2J.jpg"))
    shutil.copy(few / "checks" / "00.jpg", file)
    shown = str(tmp_path) + r"/a\nb\x1b[2J.jpg"
    options = ["--artifact", artifact.path, "--index", tmp_path / "i"]
    with Index(tmp_path / "i", Classifier(artifact, device="cpu")) as index:
        index.add(file, "x")
        assert str(index.search(file, k=1)[0]).endswith(f"  x  {shown}")
    assert invoke("index", "list", "--index", tmp_path / "i") == f"       1  x  {shown}\n"
    assert json.loads(invoke("index", "list", "--jsonl", "--index", tmp_path / "i"))["path"] == str(file)
    table = list(csv.reader(io.StringIO(invoke("index", "list", "--csv", "--index", tmp_path / "i"))))
    assert table == [["id", "key", "label", "path"], ["1", "", "x", str(file)]]
    assert invoke("similar", file, *options) == f"    0.000  x  {shown}\n"
    assert invoke("similar", file, file, *options).splitlines() == [shown, f"    0.000  x  {shown}"] * 2
    lines = invoke("classify", file, file, *options[:2]).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(shown)


def test_labels_are_found_in_either_form_of_unicode(few: Path, artifact: Artifact, tmp_path: Path) -> None:
    file, options = few / "checks" / "00.jpg", ["--artifact", artifact.path, "--index", tmp_path / "i"]
    with Index(tmp_path / "i", Classifier(artifact, device="cpu")) as index:
        index.add(file, "caf\u00e9")
    for label in ("caf\u00e9", "cafe\u0301"):
        assert str(file) in invoke("index", "list", "--label", label, *options[2:])
        assert str(file) in invoke("similar", file, "--label", label, *options)
        for command in ("remove", "restore"):
            invoke("index", command, "--label", label, *options[2:])


def test_labels_of_a_strangers_index_can_be_shown(few: Path, artifact: Artifact, tmp_path: Path) -> None:
    """Labels of one's own indexes have no control characters."""
    image = few / "checks" / "00.jpg"
    path = make_index(tmp_path / "i", artifact, *(make_entry(number, "\33[2J\nb") for number in range(3)))
    shown = r"\x1b[2J\nb"
    assert invoke("index", "list", "--limit", 1, "--index", path) == f"       1  {shown}  /0000.png\n"
    (line,) = invoke("similar", image, "-k", 1, "--artifact", artifact.path, "--index", path).splitlines()
    assert line.split()[1] == shown
    lines = invoke("index", "duplicates", "--max-distance", 1e9, "--index", path).splitlines()
    assert [line.split("\t")[3:5] for line in lines] == [[shown, shown]] * 3
    with Index(path, Classifier(artifact, device="cpu")) as index:
        assert str(index.search(image, k=1)[0]).split()[1] == shown


def test_an_image_by_its_key(artifact: Artifact, tmp_path: Path) -> None:
    entries = [replace(make_entry(number, "x"), key=key) for number, key in enumerate(("shelf 3", "b", None))]
    options = ["--index", make_index(tmp_path / "i", artifact, *entries)]
    assert invoke("index", "list", "--key", "shelf 3", *options) == "       1  x  /0000.png\n"
    assert invoke("index", "remove", "--key", "shelf 3", "--key", "b", *options) == "2 images removed\n"
    unknown = run_alexnet("index", "remove", "--key", "b", "--key", "c\33", *options)
    assert (unknown.returncode, unknown.stdout) == (1, "0 images removed\n")
    assert r"no indexed image has these keys: b, c\x1b; `alexnet index list --csv`" in unknown.stderr
    assert "no indexed image has the key 'b'" in run_alexnet("index", "list", "--key", "b", *options).stderr
    assert invoke("index", "restore", "--key", "b", *options) == "1 image restored\n"
    assert json.loads(invoke("index", "list", "--key", "b", "--jsonl", *options))["id"] == 2
    for words in (["list", "--key", os.fsdecode(b"\xff")], ["remove", "--key", "b", "--key", os.fsdecode(b"\xff")]):
        assert r"invalid key '\udcff': it isn't UTF-8" in run_alexnet("index", *words, *options).stderr
    assert "--label or --key" in run_alexnet("index", "list", "--key", "b", "--label", "x", *options).stderr
    assert "image ids, --key or --label" in run_alexnet("index", "remove", "2", "--key", "b", *options).stderr


def test_every_command_finds_the_index_of_the_artifact_that_is_named(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_index(artifact.default_index_path(tmp_path / "indexes"), artifact, make_entry(1, "x"))
    options = ["--artifact", artifact.path, "--home", tmp_path]
    assert invoke("index", "remove", "1", *options) == "1 image removed\n"
    assert invoke("index", "restore", "1", *options) == "1 image restored\n"
    for command, *words in (["list"], ["verify"], ["compact"], ["export", "--output", tmp_path / "f.npz"]):
        assert "1" in invoke("index", command, *words, *options)
    assert invoke("index", "duplicates", *options) == ""
    other = make_index(tmp_path / "other", artifact, make_entry(1, "x"))
    assert f"index {path}: 1 image (0 added" in invoke("index", "merge", other, *options)
    for words in (["list"], ["verify"], ["compact"], ["remove", "1"], ["export", "--output", tmp_path / "f.npz"]):
        refused = run_alexnet("index", *words, *options, "--precision", "int8")  # int8 has an index of its own
        assert "has no int8 network" in refused.stderr
    monkeypatch.setenv("ALEXNET_ARTIFACT", str(artifact.path))
    assert invoke("index", "list", "--home", tmp_path) == "       1  x  /0001.png\n"
    monkeypatch.setenv("ALEXNET_ARTIFACT", str(tmp_path / "none"))
    assert invoke("index", "list", "--index", path) == "       1  x  /0001.png\n"


def test_pairs_of_near_duplicates_are_named_by_their_files(few: Path, artifact: Artifact, tmp_path: Path) -> None:
    original, copy = few / "checks" / "00.jpg", tmp_path / "copy.jpg"
    copy.write_bytes(original.read_bytes() + b"\n")  # other bytes, the same pixels
    with Index(tmp_path / "i", Classifier(artifact, device="cpu")) as index:
        index.add([original, copy], ["checks", "b"])
    words = ["index", "duplicates", "--max-distance", 1e-3, "--index", tmp_path / "i"]
    assert invoke(*words) == f"1\t2\t0\tchecks\tb\t{original}\t{copy}\n"
    assert json.loads(invoke(*words, "--jsonl"))["paths"] == [str(original), str(copy)]
    header, row = csv.reader(io.StringIO(invoke(*words, "--csv")))
    assert (header[0], row) == ("first_id", ["1", "2", "0.0", "checks", "b", str(original), str(copy)])


def test_a_plot_that_would_be_no_png_is_refused_before_anything_is_measured(
    artifact: Artifact, index_path: Path, tmp_path: Path
) -> None:
    words = ["index", "evaluate", "--artifact", artifact.path, "--index", index_path, "--plot"]
    refused = run_alexnet(*words, tmp_path / "plot.jpeg2")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--plot draws a .png file: end the name 'plot.jpeg2' with .png" in refused.stderr
    assert "mean average precision at 1,000, averaged over labels" in invoke(*words, tmp_path / "plot.PNG")
    assert (tmp_path / "plot.PNG").read_bytes().startswith(b"\x89PNG")
