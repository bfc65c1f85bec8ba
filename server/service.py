"""The service: loads a model, swaps it for another version, and stops."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from model.cpus import available_cpus
from model.images.crops import TEN_CROP
from model.images.limits import ImageLimits
from model.plurals import count_of
from server.exceptions import ReloadError
from server.jobs.folder_sync import FolderSync
from server.jobs.index_job import IndexJob
from server.limits.admission import Admission
from server.limits.fairness import FairSemaphore, RateLimit, client_at
from server.loaded_model import LoadedModel
from server.observability.metrics import Metrics
from server.security import Keys
from server.settings import Settings
from server.workers.decode import DecodePool
from server.workers.search import SearchWorker
from server.workers.threads import (
    FILE_THREADS,
    MAX_WORK_PER_THREAD,
    READ_THREADS,
    WRITE_THREADS,
    ThreadPool,
    WritePool,
)

logger = logging.getLogger(__name__)

SAFETY_FACTOR = 1.25
"""New work is accepted if it would be done in time even if it took this many times longer than measured.

Decoding shares the cores with the network, so the measured speed is optimistic.
"""


class WaitEstimate(NamedTuple):
    """Estimated seconds until new images of a client would be classified, and whether other work comes first."""

    seconds: float
    is_queued: bool


class Service:
    """Everything that requests share: the loaded model, limits, metrics, and the threads beside the event loop.

    A shutdown has three stages. `draining`: `/ready` fails, so that load balancers send no more requests; any that come
    are still answered. `stop_reloads`: no reload takes effect any more. `closed`: threads and files are released.
    `listener_closed`: no more connections are accepted.
    `shutdown_deadline`: time.monotonic() at which remaining requests are cancelled during shutdown; inf until then.
    `background`: tasks that nobody awaits, kept here so that they aren't garbage-collected before they end.

    Raises ArtifactError, IndexStoreError, DeviceError or KeyFileError if it can't start.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys.read(settings.keys_file, settings.keys)
        self.metrics = Metrics()
        self.admission = Admission(
            settings.max_concurrent_requests, settings.max_inflight_bytes, self.suggest_retry_after
        )
        self.rate_limit = RateLimit(settings.requests_per_second)
        self.current = LoadedModel(settings, self.metrics.observe_batch)
        limits = ImageLimits(max_pixels=settings.max_pixels)
        self.decoder = DecodePool(limits)
        self.decode_slots = FairSemaphore(2 * available_cpus())
        self.readers = ThreadPool(READ_THREADS, "read")
        self.writers = WritePool(WRITE_THREADS, "write", MAX_WORK_PER_THREAD * WRITE_THREADS)
        self.file_readers = ThreadPool(FILE_THREADS, "file", MAX_WORK_PER_THREAD * FILE_THREADS)
        self.searcher = SearchWorker()
        self.folder_sync = FolderSync(settings.sync_folder, limits)
        self.compaction: IndexJob[int] = IndexJob("compaction", lambda deleted: f"{count_of(deleted, 'image')} deleted")
        self.draining, self.shutdown_deadline = False, math.inf
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._reload_lock = asyncio.Lock()
        self._next_reload: asyncio.Task[LoadedModel] | None = None
        self.background = set[asyncio.Task[None]]()
        self._reloads_stopped = self.closed = False
        self.listener_closed = asyncio.Event()

    def stop_reloads(self) -> None:
        """Make reloads fail from now on, including one under way. Call it in the event loop, before `close`."""
        self._reloads_stopped = True

    def close(self) -> None:
        """Finish the work that has begun, then release threads and files."""
        self._loader.shutdown()
        self.folder_sync.close()
        self.compaction.close()
        for pool in (self.decoder, self.readers, self.writers, self.file_readers):
            pool.close()
        self.searcher.close()
        self.current.retire()
        self.current.join()
        self.closed = True

    @property
    def worker_failure(self) -> str | None:
        """What is wrong with a worker, so that the process should be restarted; None while all workers run."""
        if not self.current.inference.is_alive:
            return "inference worker stopped or stuck"
        return None if self.searcher.is_alive else "search worker stopped"

    @property
    def unready_reason(self) -> str | None:
        """Why new requests should not be sent to this server: a worker failed, or a shutdown has begun; else None."""
        return self.worker_failure or ("draining" if self.draining else None)

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent to this server."""
        return self.unready_reason is None

    @property
    def remaining_shutdown_seconds(self) -> float:
        """Seconds that accepted requests have, or have left, to finish during a shutdown."""
        return max(0.0, min(self.settings.shutdown_timeout, self.shutdown_deadline - time.monotonic()))

    @contextmanager
    def hold_current(self) -> Iterator[LoadedModel]:
        """The current model, kept open for the whole of one request."""
        loaded = self.current
        loaded.hold()
        try:
            yield loaded
        finally:
            loaded.release()

    async def reload(self) -> LoadedModel:
        """Load the newest artifact and its index, warm up, and serve them from then on.

        Requests in flight are answered by the version that they began with. Calls made during a reload share one
        further reload that starts when it ends. Raises ReloadError; the current model then keeps serving.
        """
        if self._next_reload is None:
            self._next_reload = asyncio.create_task(self._reload())
        return await asyncio.shield(self._next_reload)

    async def _reload(self) -> LoadedModel:
        async with self._reload_lock:  # one at a time: each takes over its predecessor's index
            self._next_reload = None
            load = partial(LoadedModel, self.settings, self.metrics.observe_batch, self.current)
            try:
                loaded = await asyncio.get_running_loop().run_in_executor(self._loader, load)
            except Exception as error:
                if self._reloads_stopped:
                    raise ReloadError("the server is stopping") from error
                logger.error("reload failed: %s", error)  # with the path, which clients must not see
                raise ReloadError("no valid artifact and index could be loaded: see the server's log") from error
            if self._reloads_stopped:  # `close` may be releasing the current one
                loaded.retire(self.current)
                raise ReloadError("the server is stopping")
            previous, self.current = self.current, loaded
            previous.retire(loaded)
        manifest = loaded.artifact.manifest
        logger.info("serving %s version %s", manifest.name, manifest.version)
        if previous.index is not None and loaded.index is None:
            logger.warning(
                "%s version %s has no index, but the previous network had one: /similar returns 404 until you build "
                "one with `alexnet index add` and reload again",
                manifest.name, manifest.version,
            )  # fmt: skip
        return loaded

    def client_of(self, api_key: str | None, address: tuple[str, int] | None) -> str:
        """The client that sends a request, for limits and turns: a key or, if the server has no keys, an address."""
        if self.keys:
            return f"key {self.keys.find(api_key)[0]}"
        return client_at(address[0] if address else "")

    def estimate_completion(self, images: int, client: str) -> WaitEstimate:
        """Cautious estimate, with `SAFETY_FACTOR`, of when a client's new images would be classified.

        Clients take turns, so not all pending work comes before these images.
        """
        inference, crops = self.current.inference, len(TEN_CROP) * images
        undecoded = self.decoder.pending + self.decode_slots.num_before(client, images)
        crops_ahead = inference.crops_ahead(client, crops) + len(TEN_CROP) * undecoded
        seconds = SAFETY_FACTOR * inference.throughput.seconds_for(crops_ahead + crops)
        return WaitEstimate(seconds, crops_ahead > 0)

    def suggest_retry_after(self) -> float:
        """Seconds after which a refused client may try again: until the accepted work is done, as measured.

        At least 1, and at most the time that a request may take. It is a hint, so it has no safety factor.
        """
        inference = self.current.inference
        undecoded = self.decoder.pending + self.decode_slots.num_waiting
        crops = inference.unfinished_crops + len(TEN_CROP) * undecoded
        return min(max(1.0, inference.throughput.seconds_for(crops)), self.settings.request_timeout)
