"""What the server prints when it starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from model.artifacts.artifact import Artifact
from model.exceptions import InvalidRequestError
from server.run import check_limits, describe
from server.service import Service
from server.settings import Settings
from tests.helpers.server import ALEXNET


def lines_at_start(**settings: object) -> list[str]:
    service = Service(Settings.model_validate(settings))
    try:
        return describe(service, "ADDRESS")
    finally:
        service.close()


def test_a_prefix_like_an_own_path_is_refused_before_anything_is_loaded(artifact: Artifact, tmp_path: Path) -> None:
    command = [str(ALEXNET), "serve", "--artifact", str(artifact.path), "--port", "0", "--root-path", "/images"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: --root-path /images begins like the server's own path /images: choose")


def test_a_browser_opens_addresses_but_no_unix_sockets(artifact: Artifact, tmp_path: Path) -> None:
    served, *_ = lines_at_start(artifact=artifact.path, home=tmp_path)
    assert served.endswith("at ADDRESS - open it in a browser; Ctrl-C stops the server")
    served, *_ = lines_at_start(artifact=artifact.path, home=tmp_path, uds=tmp_path / "socket")
    assert served.endswith("at ADDRESS - Ctrl-C stops the server")


def test_a_folder_to_sync_that_is_not_there_is_named(artifact: Artifact, tmp_path: Path) -> None:
    """A disk that isn't mounted must not stop the server."""
    folder = tmp_path / "photos"
    warning = f"warning: there is no folder at {folder} (--sync-folder): POST /sync fails until there is one"
    assert warning in lines_at_start(artifact=artifact.path, home=tmp_path, sync_folder=folder)
    folder.mkdir()
    assert warning not in lines_at_start(artifact=artifact.path, home=tmp_path, sync_folder=folder)


@pytest.mark.parametrize(("images", "crops", "needed"), [(16, 299, "300"), (64, 640, "1,260"), (1, 9, "10")])
def test_a_queue_that_the_largest_request_never_fits_in_is_refused(images: int, crops: int, needed: str) -> None:
    settings = Settings(max_images_per_request=images, max_queued_crops=crops)
    with pytest.raises(InvalidRequestError, match=f"needs --max-queued-crops of at least {needed}, but it is {crops}"):
        check_limits(settings)
    check_limits(Settings(max_images_per_request=images, max_queued_crops=int(needed.replace(",", ""))))
