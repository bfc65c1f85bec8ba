"""OnnxModel: images -> probabilities and features, on a verified execution provider."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model.cpus import available_cpus
from model.exceptions import ArtifactError, DeviceError, InvalidRequestError
from model.graph_check import check_graph
from model.images.contract import IMAGE_SIZE
from model.images.crops import TEN_CROP
from model.mapped_weights import FOLDER_OPTION, externalize_weights
from model.requirements import INSTALL_GPU

TOLERANCE = 1e-3
"""How far a computed probability may be below 0 or above 1, in any precision."""
SCALED_LOGITS = "scaled_logits"
"""An output of networks that are measured, never of those that are served (`model.network.temperature`)."""
MAX_CROPS = 20
"""Crops per batch on a CPU. Larger batches are hardly faster, and take more memory, which onnxruntime would keep:
returning it and allocating it again, page by page, takes a fifth of the time."""
SPINNING = {"session.intra_op.spin_duration_us": "50", "session.force_spinning_stop": "1"}
"""How long onnxruntime's threads spin before they sleep, waiting for the next layer; after the last one they sleep at
once. Waking them for each layer takes 8 % of the time of ten crops in int8; spinning longer slows other threads."""
INPUTS = {"images": ("tensor(uint8)", 4), "crops": ("tensor(int64)", 1)}
OUTPUTS = {"probabilities": ("tensor(float)", 2), "features": ("tensor(float)", 2)}
"""Type and number of dimensions of a network's inputs and outputs."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {"cpu": {}, "cuda": {"use_tf32": "0"}}
"""float32 is float32 on a GPU, too: with TF32, features would differ from those of an index made on the CPU."""


class OnnxModel:
    """A loaded network.onnx. `run` is thread-safe.

    `device`: `cpu`, `cuda` (raises DeviceError if the network would run elsewhere) or `auto`; `self.device` is the one
    in use. `threads`: number of CPU threads; None: one per processor that the process may use. `optimize`: whether to
    optimize the graph and lay out its weights for speed; without that it loads sooner, which pays off for a few images.
    `mapped`: whether to map the weights into memory instead of copying them, for short-lived processes: results are the
    same, but the file must not change.
    Raises ArtifactError if the file isn't such a network, can't be run, or computes invalid probabilities or features
    that aren't finite.
    """

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        threads: int | None = None,
        optimize: bool = True,
        mapped: bool = False,
    ) -> None:
        try:
            str(path.resolve()).encode()
        except UnicodeEncodeError:  # onnxruntime doesn't accept such a path
            raise ArtifactError(f"the path {str(path.resolve())!a} isn't UTF-8: rename its folder") from None
        check_graph(path)
        providers = [(PROVIDERS[name], PROVIDER_OPTIONS[name]) for name in _choose_devices(device)]
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or available_cpus()
        options.inter_op_num_threads = 1
        for option, value in SPINNING.items():
            options.add_session_config_entry(option, value)
        options.log_severity_level = 3
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
        if mapped:
            options.add_session_config_entry(FOLDER_OPTION, str(path.resolve().parent))
        try:
            network = externalize_weights(path.resolve()) if mapped else str(path)
            with redirect_stdout(sys.stderr):  # onnxruntime reports a fallback to the CPU on stdout
                self._session = ort.InferenceSession(network, options, providers=providers)
        except Exception as error:
            raise ArtifactError(f"{path} isn't an ONNX network that can be loaded") from error
        running = self._session.get_providers()[0]
        self.device = next(name for name, provider in PROVIDERS.items() if provider == running)
        if device == "cuda" and self.device != "cuda":
            raise DeviceError(
                f"onnxruntime can't run the network on cuda, and would fall back to {self.device}: check with "
                "nvidia-smi that the driver is 580 or newer (CUDA 13), or choose --device cpu"
            )
        outputs = [output for output in self._session.get_outputs() if output.name != SCALED_LOGITS]
        _check_nodes(path, "inputs", self._session.get_inputs(), INPUTS)
        _check_nodes(path, "outputs", outputs, OUTPUTS)
        self._path, columns = path, {output.name: output.shape[1] for output in outputs}
        if not all(isinstance(count, int) for count in columns.values()):
            raise ArtifactError(f"{path} doesn't say how many classes and features it has: train or pull it again")
        self.num_classes, self.feature_dim = columns["probabilities"], columns["features"]

    def run(self, images: NDArray[np.uint8], crops: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, 256, 256, 3) uint8 -> probabilities (N, num_classes) and features (N, feature_dim), float32.

        Both are means over `crops`, ids of `model.images.crops`. Raises InvalidRequestError for other images or crops,
        ArtifactError if the network computes invalid probabilities or features that aren't finite.
        """
        probabilities, features = self._run(["probabilities", "features"], images, crops)
        self._check_probabilities(probabilities)
        return probabilities, features

    def run_with_logits(
        self, images: NDArray[np.uint8], crops: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """As `run`, plus the logits divided by the temperature (N, C, num_classes), which the network must output."""
        logits, probabilities, features = self._run([SCALED_LOGITS, "probabilities", "features"], images, crops)
        self._check_probabilities(probabilities)
        return probabilities, features, logits.reshape(len(images), len(crops), self.num_classes)

    def _check_probabilities(self, probabilities: NDArray[np.float32]) -> None:
        if not np.all((probabilities >= -TOLERANCE) & (probabilities <= 1 + TOLERANCE)):  # False for NaN, too
            raise ArtifactError(f"{self._path} outputs invalid probabilities: train or pull it again")

    def features(self, images: NDArray[np.uint8], crops: Sequence[int]) -> NDArray[np.float32]:
        """(N, 256, 256, 3) uint8 -> features (N, feature_dim), float32, as `run`."""
        (features,) = self._run(["features"], images, crops)
        return features

    def _run(self, outputs: list[str], images: NDArray[np.uint8], crops: Sequence[int]) -> list[NDArray[np.float32]]:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, 3):
            raise InvalidRequestError(
                f"images must be uint8 of shape (N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3), not {images.dtype} {images.shape}"
            )
        if not crops or any(crop not in TEN_CROP for crop in crops):
            raise InvalidRequestError(f"invalid crops {list(crops)}: give ids from 0 to 9")
        if not len(images):  # onnxruntime can't reshape an empty batch
            return [
                np.empty((0, self.feature_dim if name == "features" else self.num_classes), np.float32)
                for name in outputs
            ]
        size = max(1, MAX_CROPS // len(crops)) if self.device == "cpu" else len(images)
        pieces = [images[start : start + size] for start in range(0, len(images), size)]
        ids = np.asarray(crops, dtype=np.int64)
        try:
            computed = [self._session.run(outputs, {"images": piece, "crops": ids}) for piece in pieces]
        except Exception as error:  # onnxruntime's own, such as for part of the graph, or out of memory
            raise ArtifactError(f"onnxruntime can't run {self._path}: {error}") from error
        results: list[NDArray[np.float32]] = [np.concatenate(parts) for parts in zip(*computed, strict=True)]
        if {len(values) for name, values in zip(outputs, results, strict=True) if name in OUTPUTS} != {len(images)}:
            raise ArtifactError(f"{self._path} outputs results for the wrong number of images: train or pull it again")
        if not np.isfinite(results[-1]).all():
            raise ArtifactError(f"{self._path} outputs features that are not finite: train or pull it again")
        return results


def _check_nodes(path: Path, kind: str, nodes: Sequence[Any], expected: Mapping[str, tuple[str, int]]) -> None:
    """Raise ArtifactError unless a network's inputs or outputs (`kind`) have these types and numbers of dimensions."""
    actual = {node.name: (node.type, len(node.shape)) for node in nodes}
    if actual != expected:
        raise ArtifactError(f"{path}: expected {kind} {_format_nodes(expected)}, got {_format_nodes(actual)}")


def _format_nodes(nodes: Mapping[str, tuple[str, int]]) -> str:
    return ", ".join(f"{name!a} ({kind} with {axes} axes)" for name, (kind, axes) in sorted(nodes.items()))


def top_k(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """Indices of the `k` highest scores along the last axis, highest first; of equal scores, the lower index first."""
    indices: NDArray[np.int64] = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    return indices


def _choose_devices(device: str) -> list[str]:
    """The devices to try, in this order. Raises DeviceError."""
    available = ort.get_available_providers()
    if PROVIDERS["cuda"] in available:
        ort.preload_dlls(msvc=False)  # CUDA libraries installed by pip, which onnxruntime doesn't find itself
    if device == "auto":
        return [name for name in ("cuda", "cpu") if PROVIDERS[name] in available]
    if device not in PROVIDERS:
        raise DeviceError(f"unknown device {device!r}: choose cpu, cuda or auto")
    if PROVIDERS[device] not in available:
        raise DeviceError(f"onnxruntime is installed without {device}: {INSTALL_GPU}")
    return [device]
