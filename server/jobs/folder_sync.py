"""FolderSync: makes the served index match a configured folder, on request and in the background."""

from __future__ import annotations

import threading
from pathlib import Path

from index.sync import SyncReport, sync
from model.datasets.reader import read_folder
from model.exceptions import InvalidRequestError
from model.images.limits import ImageLimits
from server.jobs.index_job import IndexJob, JobStatus
from server.loaded_model import LoadedModel


class FolderSync:
    """Compares a folder with the index, one comparison at a time, in a thread. `folder`: None if there is none."""

    def __init__(self, folder: Path | None, limits: ImageLimits) -> None:
        self._folder, self._limits = folder, limits
        self._stopped = threading.Event()
        self._job: IndexJob[SyncReport] = IndexJob(f"sync with {folder}", lambda report: str(report).partition("\n")[0])

    @property
    def status(self) -> JobStatus[SyncReport]:
        return self._job.status

    def start(self, loaded_model: LoadedModel, prune: bool, dry_run: bool) -> JobStatus[SyncReport]:
        """Start a comparison unless one is running. Called by the event loop.

        Raises InvalidRequestError without a folder, NoIndexError, or ReadOnlyIndexError.
        """
        folder = self._folder
        if folder is None:
            raise InvalidRequestError("this server has no folder to sync with: start it with --sync-folder")
        return self._job.start(loaded_model, lambda: self._sync(folder, loaded_model, prune, dry_run))

    def close(self) -> None:
        """Stop after the images that are being added, and wait until then."""
        self._stopped.set()
        self._job.close()

    def _sync(self, folder: Path, loaded_model: LoadedModel, prune: bool, dry_run: bool) -> SyncReport:
        return sync(
            loaded_model.require_index(),
            loaded_model.model,
            read_folder(folder.resolve()),
            prune=prune,
            dry_run=dry_run,
            is_stopped=self._stopped.is_set,
            limits=self._limits,
        )
