"""The loaded model: an artifact, the worker that runs its network, and its index."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import numpy as np

from index.backends import IndexUri, open_for_serving
from index.protocol import Index, SupportsCodes, SupportsCompaction, SupportsReplacement, require_gpu
from model.artifacts import artifact as artifacts
from model.artifacts.default import choose_artifact
from model.artifacts.familiarity import read_familiarity
from model.artifacts.history import read_history
from model.artifacts.kernels import read_kernels
from model.encoder import Encoder
from model.exceptions import ArtifactError
from model.huge_pages import use_huge_pages
from model.images.contract import IMAGE_SIZE
from model.images.crops import CENTER_CROP, TEN_CROP
from model.runtime import OnnxModel
from server.exceptions import InferenceError, NoIndexError
from server.model_statistics import ModelStatistics
from server.settings import Settings
from server.workers.inference import InferenceJob, InferenceWorker

logger = logging.getLogger(__name__)

WARM_UP_TIMEOUT_SECONDS = 600.0


class LoadedModel:
    """One version of a network and its index. A request holds it (`hold`) until its response is complete.

    The artifact is read completely when it is loaded, so its folder may be deleted later.

    Raises ArtifactError, IndexStoreError or DeviceError.
    """

    def __init__(
        self, settings: Settings, observe_batch: Callable[[int], None], previous: LoadedModel | None = None
    ) -> None:
        served = previous.artifact.path if previous else None
        path = choose_artifact(settings.artifact, settings.home, logger.info, served)
        self.artifact: artifacts.Artifact = artifacts.load(path, settings.precision, served)
        self.model = OnnxModel(self.artifact.network_path, settings.device, settings.threads)
        manifest = self.artifact.manifest
        if (self.model.num_classes, self.model.feature_dim) != (manifest.num_classes, manifest.feature_dim):
            raise ArtifactError(
                f"{self.artifact.path}: expected {manifest.num_classes} classes and {manifest.feature_dim} features "
                f"(manifest), got {self.model.num_classes} and {self.model.feature_dim} (network)"
            )
        self.familiarity = read_familiarity(self.artifact)
        self.history, self.kernels = read_history(self.artifact), read_kernels(self.artifact)
        self.statistics = ModelStatistics()
        self._index_handed_over = False
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._holders, self._retired, self._closing = 0, False, False
        self.index: Index | None = None
        self.inference = InferenceWorker(self.model, settings.max_queued_crops, observe_batch)
        try:  # a failure from here on closes the worker and the index
            self.index = self._open_index(settings, previous)
            self._warm_up()
            if self.model.device == "cpu":  # during the first requests, which are only slower until it is done
                threading.Thread(target=use_huge_pages, name="huge pages", daemon=True).start()
            self._prepare_index(settings)  # last: the previous version may serve the same index
        except BaseException:
            self._index_handed_over = previous is not None and previous.index is self.index
            self._close()
            raise

    def _open_index(self, settings: Settings, previous: LoadedModel | None) -> Index | None:
        default = self.artifact.default_index_path(settings.home / "indexes")
        if settings.index is None and not default.is_dir():
            return None
        uri = IndexUri.parse(settings.index or str(default))
        index = self._take_over_index(previous, uri)
        if index is None:
            index, reason = open_for_serving(uri, self.artifact, settings.read_only)
            if reason:
                logger.warning("the index is open for reading only: %s", reason)
        return index

    def _take_over_index(self, previous: LoadedModel | None, uri: IndexUri) -> Index | None:
        """The previous version's index, if it is the same one and writable: this process already holds its lock.

        If its files were replaced, the previous model stops writing and None is returned, so the caller reopens the
        index.
        """
        index = previous.index if previous else None
        if index is None or not index.writable or index.uri != str(uri):
            return None
        if isinstance(index, SupportsReplacement) and index.is_replaced():
            logger.warning("the files of the index at %s were replaced: reopening it", uri)
            index.stop_writing()
            return None
        index.check_compatible(self.artifact)
        return index

    def _prepare_index(self, settings: Settings) -> None:
        """Make searches use the GPU, if the settings say so, and this artifact's encoder."""
        if self.index is not None and settings.search_device == "cuda":
            require_gpu(self.index).search_on_gpu()
        if isinstance(self.index, SupportsCodes):
            self.index.set_encoder(Encoder.of(self.artifact))

    def _warm_up(self) -> None:
        """Run the network before the first request, because first runs are slow.

        Ten crops run twice: the first run of a batch size is slow, too, and the second calibrates the estimated speed.
        """
        pixels = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        for crops in (CENTER_CROP, TEN_CROP, TEN_CROP):
            job = InferenceJob(pixels, crops, time.monotonic() + WARM_UP_TIMEOUT_SECONDS)
            try:
                self.inference.submit(job).result()
            except InferenceError as error:
                reason = error.__cause__ or error
                raise ArtifactError(f"the network of {self.artifact.path} can't be run: {reason}") from error

    @property
    def num_damaged_images(self) -> int:
        """Number of indexed images that searches leave out because they are damaged."""
        return len(self.index.damaged) if isinstance(self.index, SupportsCompaction) else 0

    @property
    def num_unverified_images(self) -> int:
        """Number of indexed images that haven't been compared with their checksums yet."""
        return self.index.num_unverified if isinstance(self.index, SupportsCompaction) else 0

    def require_index(self) -> Index:
        """The index. Raises NoIndexError."""
        if self.index is None:
            raise NoIndexError(
                "this server has no index: build one with `alexnet index add --data FOLDER` and restart the server; if "
                "it is elsewhere, name it with --index"
            )
        return self.index

    def hold(self) -> None:
        """Keep the model open until `release`."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Undo one `hold`. After `retire`, the last release closes the model."""
        with self._lock:
            self._holders -= 1
            self._close_if_free()

    def retire(self, successor: LoadedModel | None = None) -> None:
        """Close the model as soon as no request holds it. The index stays open if `successor` took it over."""
        with self._lock:
            self._index_handed_over = successor is not None and successor.index is self.index
            self._retired = True
            self._close_if_free()

    def join(self) -> None:
        """Wait until the model is closed. Call it after `retire`."""
        self._closed.wait()

    def _close_if_free(self) -> None:
        if self._retired and not self._holders and not self._closing:
            self._closing = True  # in a thread: jobs that clients abandoned in the queue may take a while
            threading.Thread(target=self._close, name="retire").start()

    def _close(self) -> None:
        try:
            self.inference.close()
            if self.index is not None and not self._index_handed_over:
                self.index.close()
        finally:
            self._closed.set()
