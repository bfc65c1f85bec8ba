"""Encoder: features -> binary codes, as an artifact's encoder.onnx computes them (paper, section 6.1: a code from an
autoencoder)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model.artifacts.artifact import ENCODER, Artifact
from model.exceptions import ArtifactError
from model.files import sha256_of
from model.runtime import available_cpus


class Encoder:
    """`coder`: how it was made, such as `autoencoder` or `itq`; `bits` of a code, which fill whole bytes in `bytes`.

    Raises ArtifactError if the file isn't an encoder.
    """

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = available_cpus()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            described = self._session.get_modelmeta().custom_metadata_map
            self.coder, self.bits = described["coder"], int(described["bits"])
            self.dim = int(self._session.get_inputs()[0].shape[1])
            self.bytes = int(self._session.get_outputs()[0].shape[1])
        except Exception as error:
            raise ArtifactError(f"expected an encoder in {path.name}, found a file that isn't one") from error
        self.sha256 = sha256_of(path)

    @classmethod
    def of(cls, artifact: Artifact) -> Encoder | None:
        """The artifact's, if it has one."""
        return cls(artifact.path / ENCODER) if ENCODER in artifact.manifest.files else None

    def encode(self, features: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(N, dim) -> (N, bytes), eight bits a byte, the first in the highest."""
        codes: NDArray[np.uint8] = self._session.run(None, {"features": features.astype(np.float32, copy=False)})[0]
        return codes
