"""Which network is used where none is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.bundled import first_version
from model.artifacts.default import choose_artifact, default_artifact, networks_folder
from model.exceptions import ArtifactError
from tests.helpers.bundles import make_bundle


def test_the_users_networks_come_before_the_bundled_one(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(artifact, "photos", tmp_path / "bundled")
    monkeypatch.setattr("model.artifacts.packed.BUNDLED", tmp_path / "bundled")
    home, notices = tmp_path / "home", list[str]()
    with pytest.raises(ArtifactError, match=r"there is no folder .*home: create it, or correct --home"):
        default_artifact(home, notices.append)
    assert not home.exists()
    unfinished = home / "artifacts" / "mine" / ".unpublished-x"
    shutil.copytree(artifact.path, unfinished)
    for _ in range(2):
        path = default_artifact(home, notices.append)
        assert artifacts.load(path).manifest.name == "photos"
        assert path == networks_folder(home) / "photos" / "1"
    size = round(sum(file.bytes for file in artifact.manifest.files.values()) / 1e6)
    notice, advice = (
        f"no network of your own in {home / 'artifacts'}: using the bundled network photos",
        "; choose another with --artifact FOLDER",
    )
    assert notices == [f"{notice}, unpacked in {networks_folder(home)} ({size} MB){advice}", notice + advice]
    unfinished.rename(unfinished.parent / "1")
    assert default_artifact(home, notices.append) == home / "artifacts"
    assert len(notices) == 2
    shutil.rmtree(home / "artifacts")
    with pytest.raises(ArtifactError, match=r"no artifact left in .*: .* stays in use"):
        default_artifact(home, notices.append, served=home / "artifacts" / "mine" / "1")
    assert default_artifact(home, notices.append, served=path) == path


def test_a_bundled_network_is_found_by_its_name(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(artifact, "photos", tmp_path / "bundled")
    monkeypatch.setattr("model.artifacts.packed.BUNDLED", tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    home, notices = tmp_path / "home", list[str]()
    with pytest.raises(ArtifactError, match=r"there is no folder .*home: create it, or correct --home"):
        choose_artifact(Path("photos"), home, notices.append)
    assert not home.exists()
    shutil.copytree(artifact.path, home / "artifacts" / "mine" / "1")
    (tmp_path / "photos" / "summer").mkdir(parents=True)  # a folder of images
    for _ in range(2):
        path = choose_artifact(Path("photos"), home, notices.append)
        assert path == networks_folder(home) / "photos" / "1"
    size = round(sum(file.bytes for file in artifact.manifest.files.values()) / 1e6)
    assert notices == [f"unpacking the bundled network photos in {networks_folder(home)} ({size} MB)"]
    assert choose_artifact(None, home, notices.append) == home / "artifacts"
    for other in (Path("mine"), home / "artifacts" / "photos"):
        assert choose_artifact(other, home, notices.append) == other
    shutil.copytree(artifact.path, tmp_path / "photos" / "1")
    assert choose_artifact(Path("photos"), home, notices.append) == Path("photos")


def test_no_network_of_the_user_takes_the_place_of_the_bundled_one() -> None:
    assert first_version("photos") > 1
    assert first_version("elpv") == first_version("mine") == 1
