"""Encoder: features -> binary codes, with an artifact's encoder.onnx (section 6.1 suggests an autoencoder)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model.artifacts.artifact import ENCODER, Artifact
from model.cpus import available_cpus
from model.exceptions import ArtifactError
from model.files import sha256_of
from model.graph_check import check_graph


class Encoder:
    """A loaded encoder.onnx.

    `coder`: the method, such as `autoencoder`. `bits` and `bytes`: length of a code. `dim`: length of a feature.
    Raises ArtifactError if the file isn't an encoder.
    """

    def __init__(self, path: Path) -> None:
        check_graph(path)
        self._path = path
        options = ort.SessionOptions()
        options.intra_op_num_threads = available_cpus()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            metadata = self._session.get_modelmeta().custom_metadata_map
            self.coder, self.bits = metadata["coder"], int(metadata["bits"])
            (features,), (codes,) = self._session.get_inputs(), self._session.get_outputs()
            self.dim, self.bytes = int(features.shape[1]), int(codes.shape[1])
            if (features.name, features.type, codes.type) != ("features", "tensor(float)", "tensor(uint8)"):
                raise ValueError("codes or features of another type")
            if self.bits < 1 or self.bytes != -(-self.bits // 8) or not self.coder.isprintable():
                raise ValueError("a code of another length than it says, or by a coder without a name")
        except Exception as error:
            raise ArtifactError(f"{path} isn't an encoder of binary codes") from error
        self.sha256 = sha256_of(path)

    @classmethod
    def of(cls, artifact: Artifact) -> Encoder | None:
        """The encoder of an artifact; None if it has none."""
        return cls(artifact.path / ENCODER) if ENCODER in artifact.manifest.files else None

    def encode(self, features: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(N, dim) -> (N, bytes) uint8, eight bits per byte, most significant bit first. Raises ArtifactError."""
        codes: NDArray[np.uint8] = self._session.run(None, {"features": features.astype(np.float32, copy=False)})[0]
        if codes.shape != (len(features), self.bytes):
            raise ArtifactError(f"{self._path} outputs codes of the wrong shape: train it again")
        return codes
