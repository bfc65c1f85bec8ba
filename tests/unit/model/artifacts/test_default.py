"""Which network is used where none is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.bundled import first_version
from model.artifacts.default import default_artifact, networks_folder
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
    notice, advice = (
        f"no network of yours in {home / 'artifacts'}: using the bundled network photos",
        "; --artifact FOLDER names another",
    )
    assert notices == [f"{notice}, unpacked in {networks_folder(home)}{advice}", notice + advice]
    unfinished.rename(unfinished.parent / "1")
    assert default_artifact(home, notices.append) == home / "artifacts"
    assert len(notices) == 2
    shutil.rmtree(home / "artifacts")
    with pytest.raises(ArtifactError, match=r"no artifact in .* any more"):
        default_artifact(home, notices.append, served=home / "artifacts" / "mine" / "1")
    assert default_artifact(home, notices.append, served=path) == path


def test_no_network_of_the_user_takes_the_place_of_the_bundled_one() -> None:
    assert first_version("photos") > 1
    assert first_version("elpv") == first_version("mine") == 1
