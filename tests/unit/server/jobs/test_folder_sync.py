"""A sync of the folder ends with the server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from model.images.limits import ImageLimits
from server.jobs import folder_sync
from server.jobs.folder_sync import FolderSync
from tests.helpers.models import CountedModel


def test_closing_stops_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, stopped = threading.Event(), list[bool]()

    def sync(*args: object, is_stopped: Callable[[], bool], **options: object) -> str:
        begun.set()
        for _ in range(500):
            if is_stopped():
                break
            threading.Event().wait(0.01)
        stopped.append(is_stopped())
        return ""

    monkeypatch.setattr(folder_sync, "sync", sync)
    monkeypatch.setattr(folder_sync, "read_folder", lambda folder: None)
    follower = FolderSync(tmp_path, ImageLimits())
    follower.start(CountedModel(), prune=False, dry_run=False)  # type: ignore[arg-type]
    assert begun.wait(20)
    follower.close()
    assert stopped == [True]
