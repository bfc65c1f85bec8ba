"""What the commands of `alexnet` print and refuse, on a small network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.cli.evaluate import evaluate
from alexnet.cli.index import list_images
from index.search import Query
from index.store import ImageIndex
from model.artifacts.artifact import Artifact
from model.exceptions import InvalidRequestError, UnsupportedImageError
from model.images.preprocess import decode_file

ALEXNET = Path(sys.executable).parent / "alexnet"


def run(*words: object, cwd: Path, **variables: str) -> str:
    command, environment = [str(ALEXNET), *map(str, words)], os.environ | variables
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_indexes_are_where_the_server_looks_for_them(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """Below the folder of ALEXNET_HOME, unless one is named."""
    data, options = images / "circles", ("--artifact", artifact.path)
    run("index", "add", "--data", data, *options, "--dtype", "float16", cwd=tmp_path, ALEXNET_HOME="elsewhere")
    assert (tmp_path / "elsewhere" / "indexes" / "patterns" / "1" / "features-1.f16").is_file()
    assert not (tmp_path / "indexes").exists()
    found = run("similar", data / "00.jpg", *options, cwd=tmp_path, ALEXNET_HOME="elsewhere")
    assert found.splitlines()[0].endswith(str(data / "00.jpg"))


def test_one_image_is_no_images(index_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    shutil.copytree(index_path, copy)
    assert run("index", "remove", 1, 2, "--index", copy, cwd=tmp_path) == "2 images removed\n"
    assert run("index", "restore", 2, "--index", copy, cwd=tmp_path) == "1 image restored\n"
    assert run("index", "compact", "--index", copy, cwd=tmp_path) == "1 image deleted, 89 kept\n"


def test_a_label_that_is_none_is_said(index_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list_images(str(index_path), "circles")
    assert len(capsys.readouterr().out.splitlines()) == 30
    with pytest.raises(InvalidRequestError, match="no image of the index has the label 'circels'"):
        list_images(str(index_path), "circels")


def test_a_image_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(UnsupportedImageError, match=r"expected an image .*: .*bad\.jpg$"):
        decode_file(tmp_path / "bad.jpg")


def test_a_search_without_codes_says_how_to_have_them(index_path: Path) -> None:
    index = ImageIndex.open(index_path)
    with pytest.raises(InvalidRequestError, match="make them with `alexnet codes train`"):
        index.search(Query(index.feature(1), search="binary"))
    index.close()


def test_one_of_two_options_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="either --data or --imagenet-val"):
        evaluate()
    with pytest.raises(InvalidRequestError, match="either --data or --imagenet-val"):
        evaluate("elpv", imagenet_val=tmp_path)
