"""The list of networks: the user's own, newest first, then the bundled ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from model.artifacts.artifact import Artifact
from tests.helpers.commands import invoke, run_alexnet


def test_without_networks_of_one_s_own(tmp_path: Path) -> None:
    first, second = invoke("models", "--home", tmp_path).splitlines()
    assert first.startswith("elpv (bundled)  ")
    assert first.count("top-1 error 30.0 % on 654 images (elpv 75/25, seed 0, test)") == 1
    assert second.startswith("photos (bundled)")
    assert second.endswith("(default)")


def test_an_error_that_may_be_too_low_is_marked(artifact: Artifact, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifact.path, tmp_path / "artifacts" / "shapes" / "1"))
    assert "perhaps" not in invoke("models", "--home", tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["training"] |= {"splits_of_ancestors": [[manifest["training"]["dataset"], "0" * 64]]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    own, *bundled = invoke("models", "--home", tmp_path).splitlines()
    assert "perhaps too low: some may be training images)" in own
    assert not any("perhaps" in line for line in bundled)
    rows = json.loads(invoke("models", "--home", tmp_path, "--json"))["models"]
    assert [row["may_know_held_out"] for row in rows] == [True, False, False]


def test_the_newest_is_used(artifact: Artifact, tmp_path: Path) -> None:
    for version in (1, 2):
        folder = Path(shutil.copytree(artifact.path, tmp_path / "artifacts" / "shapes" / str(version)))
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest |= {"name": "shapes", "version": version, "created": f"2026-01-0{version}T00:00:00Z"}
        measurement = manifest["measurements"][-1]
        manifest["measurements"].append(measurement | {"precision": "int8", "top1_error": 0.987})  # by `quantize`
        (folder / "manifest.json").write_text(json.dumps(manifest))
    rows = json.loads(invoke("models", "--home", tmp_path, "--json"))["models"]
    assert [row["name"] for row in rows] == ["shapes", "shapes", "elpv", "photos"]
    assert [row["version"] for row in rows[:2]] == [2, 1]
    assert [row["used_by_default"] for row in rows] == [True, False, False, False]
    assert rows[0]["classes"] == 3
    assert rows[0]["top1_error"] == artifact.manifest.measurements[-1].top1_error
    (tmp_path / "artifacts" / "shapes" / "2" / "manifest.json").write_text("{}")
    status, printed, errors = run_alexnet("models", "--home", str(tmp_path))
    assert printed.splitlines()[0].startswith(str(tmp_path / "artifacts" / "shapes" / "1"))
    assert errors.startswith("skipped: ")
    assert status == 1


def test_no_network_is_used_where_none_of_one_s_own_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "artifacts" / "old" / "1").mkdir(parents=True)
    (tmp_path / "artifacts" / "old" / "1" / "manifest.json").write_text('{"schema_version": 1}')
    done = run_alexnet("models", "--home", tmp_path)
    assert (done.returncode, "used without" in done.stdout) == (1, False)
    assert "another version of this program" in done.stderr
