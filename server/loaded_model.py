"""What is served at one time, as a whole: an artifact, its network in its thread, and the index that belongs to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from index.backends import open_for_serving
from index.protocol import Index
from model.artifacts import artifact as artifacts
from model.encoder import Encoder
from model.exceptions import AlexNetError, ArtifactError, UnknownImageError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.runtime import OnnxModel
from server.access_log import log
from server.settings import Settings
from server.workers.inference import Inference, Job


class NotServableError(AlexNetError):
    """The artifact or index that should be served next is missing, damaged, or doesn't fit; the log says which."""


class Serving:
    """One version of network and index. Requests hold it (`hold`) until they are answered by it.

    Raises ArtifactError, IndexStoreError or DeviceError when what it is told to serve can't be served.
    """

    def __init__(self, settings: Settings, observe: Callable[[float], None], before: Serving | None = None) -> None:
        self.artifact = artifacts.load(settings.artifact, settings.precision)
        self.model = OnnxModel(self.artifact.network, settings.device, settings.threads)
        shape = (self.model.classes, self.model.feature_dim)
        if shape != (self.artifact.manifest.classes, self.artifact.manifest.feature_dim):
            raise ArtifactError(f"expected a network with the classes and features of its manifest, found {shape}")
        path = settings.index or self.artifact.index_in(settings.indexes)
        self.index: Index | None = None
        self._passed_on = False
        if settings.index or path.is_dir():
            self.index = self._passed_by(before, path) or self._opened(path, settings.read_only)
            if settings.search_device == "cuda":
                self.index.search_on_gpu()
            self.index.use(Encoder.of(self.artifact))
        self.inference = Inference(self.model, settings.max_crops, observe)
        self._held, self._retired = 0, False
        self._closer = threading.Thread(target=self._close, name="retire")
        self._warm_up()

    def _warm_up(self) -> None:
        """The first runs are slower, and tell how long work takes: not a client's."""
        pixels = np.zeros((1, 256, 256, 3), np.uint8)
        for crops in (CENTER_CROP, TEN_CROP, TEN_CROP):
            self.inference.submit(Job(pixels, crops, True, time.monotonic() + 600)).result()

    def _opened(self, path: Path, read_only: bool) -> Index:
        index, reason = open_for_serving(path, self.artifact, read_only)
        if reason:
            log.warning("the index is served for reading only: %s", reason)
        return index

    def _passed_by(self, before: Serving | None, path: Path) -> Index | None:
        """The index of the version before, where it goes on with this one: this process alone may change it."""
        index = before.index if before else None
        if before is None or index is None or not index.writable or index.path != path:
            return None
        index.require(self.artifact)
        return index

    def require_index(self) -> Index:
        if self.index is None:
            raise UnknownImageError("expected a server with an index, found none: start it with --index")
        return self.index

    def hold(self) -> None:
        """A request begins. Only the event loop calls `hold`, `release` and `retire`."""
        self._held += 1

    def release(self) -> None:
        """A request is answered."""
        self._held -= 1
        self._close_if_free()

    def retire(self, after: Serving | None = None) -> None:
        """`after` took over, if any: close when the last request that holds this one is answered, but for the index
        where it goes on with `after`."""
        self._passed_on = after is not None and after.index is self.index
        self._retired = True
        self._close_if_free()

    def join(self) -> None:
        """After `retire`, when nobody holds it: wait until it is closed."""
        self._closer.join()

    def _close_if_free(self) -> None:
        if self._retired and not self._held and self._closer.ident is None:
            self._closer.start()  # not here: what clients left behind in the queue may take its time

    def _close(self) -> None:
        self.inference.close()
        if self.index is not None and not self._passed_on:
            self.index.close()
