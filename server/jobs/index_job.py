"""IndexJob: one long change of the served index at a time, on request and in the background."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from index.protocol import Index
from model.exceptions import AlexNetError
from server.loaded_model import LoadedModel

logger = logging.getLogger(__name__)

R = TypeVar("R")
State = Literal["idle", "running", "done", "failed"]


@dataclass(frozen=True)
class JobStatus(Generic[R]):
    """State of the most recent job. `result`: what it returned, once it is done."""

    state: State = "idle"
    result: R | None = None


class IndexJob(Generic[R]):
    """Runs a job in its own thread. `name`, `describe`: texts for the job and its result in the log.

    The state is this server's own: several servers with one index can each run the job, unaware of each other.
    """

    def __init__(self, name: str, describe: Callable[[R], str]) -> None:
        self._name, self._describe = name, describe
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index-job")
        self.status: JobStatus[R] = JobStatus()

    def start(self, loaded_model: LoadedModel, work: Callable[[], R]) -> JobStatus[R]:
        """Start the job unless it is running. Called by the event loop. Raises NoIndexError or ReadOnlyIndexError."""
        require_writable(loaded_model)
        if self.status.state != "running":
            self.status = JobStatus("running")
            loaded_model.hold()  # the index stays open, even when another version is loaded
            self._thread.submit(self._run, work).add_done_callback(lambda _: loaded_model.release())
        return self.status

    def close(self) -> None:
        """Wait for the job to end, and for its model to be released."""
        self._thread.shutdown()

    def _run(self, work: Callable[[], R]) -> None:
        try:
            result = work()
        except AlexNetError as error:
            logger.error("%s failed: %s", self._name, error)  # with the path, which clients must not see
            self.status = JobStatus("failed")
        except BaseException:
            self.status = JobStatus("failed")
            logger.exception("%s failed", self._name)
        else:
            logger.info("%s: %s", self._name, self._describe(result))
            self.status = JobStatus("done", result)


def require_writable(loaded_model: LoadedModel) -> Index:
    """The index. Raises NoIndexError or ReadOnlyIndexError."""
    index = loaded_model.require_index()
    index.check_writable()
    return index
