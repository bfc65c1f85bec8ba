"""Output and errors of the commands, on a small network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.cli.inspect_index import list_images
from alexnet.cli.main import main
from index.folder.store import FolderIndex
from index.search import Query
from model.artifacts.artifact import Artifact
from model.exceptions import InvalidRequestError
from tests.helpers.commands import run_alexnet

ALEXNET = Path(sys.executable).parent / "alexnet"


def run(*words: object, cwd: Path, **variables: str) -> str:
    command, environment = [str(ALEXNET), *map(str, words)], os.environ | variables
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ctrl_c_while_modules_are_imported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alexnet.cli.main.exit_if_damaged", interrupt)
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "stopped\n")


def test_default_index_is_below_home(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """Without `--index`, the index is below the folder of ALEXNET_HOME."""
    data, options = images / "circles", ("--artifact", artifact.path)
    run("index", "add", "--data", data, *options, "--dtype", "float16", cwd=tmp_path, ALEXNET_HOME="elsewhere")
    assert (tmp_path / "elsewhere" / "indexes" / "patterns" / "1" / "features-1.f16").is_file()
    assert not (tmp_path / "indexes").exists()
    printed = run("similar", data / "00.jpg", *options, cwd=tmp_path, ALEXNET_HOME="elsewhere")
    assert printed.splitlines()[0].endswith(str(data / "00.jpg"))


def test_singular_and_plural(index_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    shutil.copytree(index_path, copy)
    assert run("index", "remove", 1, 2, "--index", copy, cwd=tmp_path) == "2 images removed\n"
    assert run("index", "restore", 2, "--index", copy, cwd=tmp_path) == "1 image restored\n"
    assert run("index", "compact", "--index", copy, cwd=tmp_path) == "1 image deleted, 89 kept\n"


def test_remove_and_restore_by_label(index_path: Path, tmp_path: Path) -> None:
    index = ("--index", shutil.copytree(index_path, tmp_path / "index"))
    assert run("index", "remove", "--label", "checks", *index, cwd=tmp_path) == "30 images removed\n"
    refused = run_alexnet("index", "remove", "--label", "checks", *index)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: no image in the index has the label 'checks'\n")
    assert run("index", "restore", "--label", "checks", *index, cwd=tmp_path) == "30 images restored\n"
    unknown = run_alexnet("index", "remove", 1, 1000, *index)
    assert (unknown.returncode, unknown.stdout) == (1, "1 image removed\n")
    assert "no indexed image has these ids: 1000" in unknown.stderr
    for words in ([], [2, "--label", "checks"]):
        assert "give either image ids, --key or --label" in run_alexnet("index", "remove", *words, *index).stderr


def test_ids_and_labels_that_no_image_can_have(index_path: Path) -> None:
    for command in ("remove", "restore"):
        for number in (2**63, -(2**70)):
            refused = run_alexnet("index", command, "--index", index_path, "--", number)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert refused.stderr.startswith("error: no image has an id above 9223372036854775807: ")
        refused = run_alexnet("index", command, "--index", index_path, "--label", "\udcff")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("error: invalid label '\\udcff': it isn't UTF-8\n")


def test_unknown_label(index_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list_images(str(index_path), label="circles")
    assert len(capsys.readouterr().out.splitlines()) == 30
    with pytest.raises(InvalidRequestError, match="no image in the index has the label 'circels': check its spelling"):
        list_images(str(index_path), label="circels")


def test_binary_search_without_codes(index_path: Path) -> None:
    index = FolderIndex.open(index_path)
    with pytest.raises(InvalidRequestError, match="make them with `alexnet codes train`"):
        index.search(Query(index.feature(1), mode="binary"))
    index.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either --data or --imagenet-val"),
        (["--data", "x", "--imagenet-val", "v"], "give either --data or --imagenet-val"),
        (["--imagenet-val", "v", "--baseline", "fisher"], "--baseline learns from the training split of --data"),
        (["--imagenet-val", "v", "--split", "all"], "leave out --split: --imagenet-val doesn't use it"),
        (["--imagenet-val", "v", "--weighted"], "leave out --weighted: --imagenet-val doesn't use it"),
        (["--imagenet-val", "v", "--archive", "z"], "leave out --archive: --imagenet-val doesn't use it"),
        (["--imagenet-val", "v", "--exclude", "a"], "leave out --exclude: --imagenet-val doesn't use it"),
        (["--data", "x", "--baseline", "fisher", "--artifact", "a"], "leave out --artifact: --baseline doesn't use it"),
        (["--data", "x", "--baseline", "fisher", "--weighted"], "leave out --weighted: --baseline doesn't use it"),
        (["--data", "x", "--baseline", "fisher", "--device", "cpu"], "leave out --device: --baseline doesn't use it"),
        (["--data", "x", "--baseline", "fisher", "--output", "o"], "leave out --output: --baseline doesn't use it"),
        (
            ["--data", "x", "--baseline", "fisher", "--weighted", "--precision", "int8"],
            "leave out --weighted, --precision: --baseline doesn't use them",
        ),
    ],
)
def test_options_of_evaluate_that_would_be_ignored_are_refused(words: list[str], said: str, tmp_path: Path) -> None:
    refused = run_alexnet("evaluate", *words, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {said}")


def test_a_mirror_that_would_be_ignored_is_refused(tmp_path: Path) -> None:
    refused = run_alexnet("pull", "caffenet", "--from", "net.onnx", "--mirror", "http://127.0.0.1:9", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: --mirror is for a download: leave it out with --from\n")


def test_the_environment_s_network_is_no_option_of_a_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_ARTIFACT", "a")
    refused = run_alexnet("evaluate", "--data", "x", "--baseline", "fisher", folder=tmp_path)
    assert "no folder at x" in refused.stderr
