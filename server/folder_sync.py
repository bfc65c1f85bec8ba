"""FolderSync: brings the served index to what is in a configured folder, on request and in the background."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from index.sync import SyncReport, sync
from model.datasets.reader import read_folder
from model.exceptions import AlexNetError, InvalidRequestError, ReadOnlyIndexError
from model.images.limits import ImageLimits
from server.loaded_model import LoadedModel

logger = logging.getLogger(__name__)

State = Literal["idle", "running", "done", "failed"]


@dataclass(frozen=True)
class SyncStatus:
    """What the last request has come to. `report`: of one that is done."""

    state: State = "idle"
    report: SyncReport | None = None


class FolderSync:
    """One comparison of a folder with the index at a time, in a thread. `folder` None: none is followed."""

    def __init__(self, folder: Path | None, limits: ImageLimits) -> None:
        self._folder, self._limits = folder, limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._stopped, self._released = threading.Event(), threading.Event()
        self._released.set()
        self.status = SyncStatus()

    def start(self, loaded_model: LoadedModel, prune: bool, dry_run: bool) -> SyncStatus:
        """Begin, unless a comparison is running. Called by the event loop.

        Raises InvalidRequestError without a folder, NoIndexError, ReadOnlyIndexError.
        """
        if self._folder is None:
            raise InvalidRequestError("this server follows no folder: start it with --sync-folder")
        if not loaded_model.require_index().writable:
            raise ReadOnlyIndexError("the index is open for reading only")
        if self.status.state != "running":
            self.status = SyncStatus("running")
            loaded_model.hold()  # the index stays open, also when another version is loaded
            self._released.clear()
            loop = asyncio.get_running_loop()
            future = self._thread.submit(self._run, self._folder, loaded_model, prune, dry_run)
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release, loaded_model))
        return self.status

    def close(self) -> None:
        """Stop after the images that are being added, and wait. Called by a thread: the event loop must run."""
        self._stopped.set()
        self._thread.shutdown()
        self._released.wait()

    def _run(self, folder: Path, loaded_model: LoadedModel, prune: bool, dry_run: bool) -> None:
        try:
            listing = read_folder(folder.resolve())
            index = loaded_model.require_index()
            report = sync(
                index,
                loaded_model.model,
                listing,
                prune=prune,
                dry_run=dry_run,
                is_stopped=self._stopped.is_set,
                limits=self._limits,
            )
        except AlexNetError as error:
            logger.error("the index doesn't follow %s: %s", folder, error)  # with the path, which clients must not see
            self.status = SyncStatus("failed")
        except BaseException:
            self.status = SyncStatus("failed")
            logger.exception("the index doesn't follow %s", folder)
        else:
            logger.info("the index follows %s: %s", folder, str(report).partition("\n")[0])
            self.status = SyncStatus("done", report)

    def _release(self, loaded_model: LoadedModel) -> None:
        loaded_model.release()
        self._released.set()
