"""Measure ten-crop inference: onnxruntime and torch with the same weights, from one to 64 images at a time.

Probabilities are compared with the CPU's in float32. onnxruntime runs in float32, TF32 and float16, with CUDA graphs,
and with TensorRT if it is installed. In float16, normalization stays in float32, because squares of the first maps
exceed the range of float16.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import convert_float_to_float16

from benchmarks.baselines.torch_alexnet import load_torch_alexnet, read_constants
from benchmarks.gallery import decode_gallery
from benchmarks.gpu.peaks import tf32
from benchmarks.gpu.rows import PartOptions, RowWriter
from benchmarks.inference import build_separate_crops
from benchmarks.timing import time_call
from model.artifacts.artifact import Artifact
from model.artifacts.packed import unpack_bundled
from model.exceptions import DeviceError
from model.images.crops import TEN_CROP, crop_coordinates
from model.runtime import OnnxModel

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(N, 256, 256, 3) -> (N, classes) probabilities, the mean of ten crops."""
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
EXACT, ROUNDED = 1e-4, 0.02
"""Largest allowed difference of a probability from the CPU's, in float32 and in TF32 or float16."""
BATCH_SIZES, QUICK_BATCH_SIZES = (1, 4, 16, 64), (1, 2)
WARM_UP_BATCHES = 3


class Implementation(NamedTuple):
    """A way to run the network. `create`: by batch size. `max_difference`: of a probability from the CPU's."""

    name: str
    create: Callable[[int], Run]
    max_difference: float
    only_largest_batch: bool = False


def convert_to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convolutions and matrix products in float16; inputs, outputs, crops and normalization stay as they are."""
    excluded = [node.name for node in _nodes(model.graph) if "lrn" in node.name or node.op_type in ("Sub", "Softmax")]
    converted: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=excluded)
    _remove_round_trips(converted.graph, set(excluded))
    return converted


def _remove_round_trips(graph: onnx.GraphProto, float32_nodes: set[str]) -> None:
    """Remove conversions to float16 and back between float32 nodes, because a square can exceed float16's range.

    The converter adds them around each node that it doesn't convert.
    """
    results = {name for node in graph.node if node.name in float32_nodes for name in node.output}
    halves = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast" and node.input[0] in results
    }
    again = {
        node.output[0]: halves[node.input[0]]
        for node in graph.node
        if node.op_type == "Cast" and node.input[0] in halves and node.attribute[0].i == onnx.TensorProto.FLOAT
    }
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = again.get(name, name)
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.output[0] not in used]:
        graph.node.remove(node)


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    branches = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [*graph.node, *(node for branch in branches for node in _nodes(branch))]


def list_implementations(artifact: Artifact, folder: Path, options: PartOptions) -> Iterator[Implementation]:
    """Yield the server's runtime, torch, and onnxruntime on each graph with each option that the device supports."""
    graphs = {
        "shared crops, float32": onnx.load(str(artifact.network_path)),
        "separate crops, float32": build_separate_crops(artifact),
        "separate crops, float16": convert_to_float16(build_separate_crops(artifact)),
    }
    files = {name: folder / f"{name.replace(', ', '-').replace(' ', '-')}.onnx" for name in graphs}
    for name, graph in graphs.items():
        onnx.save(graph, str(files[name]))
    network, device = artifact.network_path, options.device
    yield Implementation("the server's runtime", partial(create_ours, network, device), EXACT)
    yield Implementation("torch, float32", partial(create_torch, network, device, False), EXACT)
    for name, file in files.items():
        limit = EXACT if "float32" in name else ROUNDED
        yield Implementation(f"onnxruntime, {name}", partial(create_onnxruntime, file, device, False), limit)
    if device == "cpu":
        return
    yield Implementation("torch, TF32", partial(create_torch, network, device, True), ROUNDED)
    shared, *separate = files.items()
    create = partial(create_onnxruntime, shared[1], device, True)
    yield Implementation("onnxruntime, shared crops, TF32", create, ROUNDED)
    for name, file in separate:  # a CUDA graph can't have branches, which shared crops need
        limit = EXACT if "float32" in name else ROUNDED
        yield Implementation(f"onnxruntime, {name}, CUDA graph", partial(create_cuda_graph, file), limit)
    for name, file in separate:  # last: building an engine takes minutes
        create_engine = partial(create_tensorrt, file, "float16" in name)
        yield Implementation(f"TensorRT, {name}", create_engine, ROUNDED, only_largest_batch=True)


def create_ours(network: Path, device: str, batch_size: int) -> Run:
    """The network as the server runs it."""
    model = OnnxModel(network, device)
    return lambda images: model.run(images, TEN_CROP)[0]


def create_torch(network: Path, device: str, allow_tf32: bool, batch_size: int) -> Run:
    """PyTorch's modules, channels-last; crops are cut on the device."""
    module = load_torch_alexnet(network).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = torch.from_numpy(read_constants(network)["mean"].reshape(256, 256, 3).copy()).to(device)
    rows, columns = (torch.from_numpy(np.asarray(values)[list(TEN_CROP)]).to(device) for values in crop_coordinates())

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode(), tf32(allow_tf32):
            centered = torch.from_numpy(images).to(device) - mean
            crops = centered[:, rows[:, :, None], columns[:, None, :]].flatten(0, 1).permute(0, 3, 1, 2)
            probabilities = module(crops).softmax(1).unflatten(0, (len(images), len(TEN_CROP))).mean(1)
            result: NDArray[np.float32] = probabilities.cpu().numpy()
            return result

    return run


def create_onnxruntime(file: Path, device: str, allow_tf32: bool, batch_size: int) -> Run:
    """onnxruntime on the CPU or with its CUDA provider."""
    return _run_plainly(
        open_session(file, CUDA, use_tf32=int(allow_tf32)) if device == "cuda" else open_session(file, CPU)
    )


def create_tensorrt(file: Path, in_float16: bool, batch_size: int) -> Run:
    """onnxruntime with TensorRT."""
    return _run_plainly(open_session(file, TENSORRT, trt_fp16_enable=in_float16, trt_engine_cache_enable=False))


def open_session(file: Path, provider: str, **provider_options: Any) -> ort.InferenceSession:
    """Open a session on a provider. Raises DeviceError if onnxruntime can't use it."""
    if provider not in ort.get_available_providers():
        raise DeviceError(f"onnxruntime is installed without {provider}")
    if provider != CPU:
        ort.preload_dlls(msvc=False)  # the CUDA libraries that pip installed
    options = ort.SessionOptions()
    options.log_severity_level = 3
    values = {name: str(value) for name, value in provider_options.items()}
    providers: list[Any] = [(provider, values), *([CUDA] if provider == TENSORRT else [])]
    session = ort.InferenceSession(str(file), options, providers=providers)
    if session.get_providers()[0] != provider:
        raise DeviceError(f"expected {provider}, got {session.get_providers()[0]}: are its dependencies installed?")
    return session


def _run_plainly(session: ort.InferenceSession) -> Run:
    crops = np.array(TEN_CROP)
    return lambda images: session.run(["probabilities"], {"images": images, "crops": crops})[0]


def create_cuda_graph(file: Path, batch_size: int) -> Run:
    """onnxruntime with a CUDA graph, which needs inputs and outputs at fixed addresses on the GPU."""
    session = open_session(file, CUDA, enable_cuda_graph=1, use_tf32=0)
    inputs = ort.OrtValue.ortvalue_from_numpy(np.zeros((batch_size, 256, 256, 3), np.uint8), "cuda", 0)
    crops = ort.OrtValue.ortvalue_from_numpy(np.array(TEN_CROP), "cuda", 0)
    outputs = {
        output.name: ort.OrtValue.ortvalue_from_shape_and_type((batch_size, output.shape[1]), np.float32, "cuda", 0)
        for output in session.get_outputs()
    }
    binding = session.io_binding()
    binding.bind_ortvalue_input("images", inputs)
    binding.bind_ortvalue_input("crops", crops)
    for name, value in outputs.items():
        binding.bind_ortvalue_output(name, value)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        inputs.update_inplace(images)
        session.run_with_iobinding(binding)
        probabilities: NDArray[np.float32] = outputs["probabilities"].numpy()
        return probabilities

    return run


def measure_run(
    create: Callable[[int], Run], images: NDArray[np.uint8], expected: NDArray[np.float32], num_batches: int
) -> dict[str, float]:
    """Images per second, latency, and the difference of the probabilities from the expected ones."""
    run = create(len(images))
    for _ in range(WARM_UP_BATCHES):
        probabilities = run(images)
    milliseconds = [1000 * time_call(partial(run, images)) for _ in range(num_batches)]
    return {
        "images_per_second": 1000 * len(images) / float(np.median(milliseconds)),
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "largest_difference": float(np.abs(probabilities - expected).max()),
        "equal_top1": float((probabilities.argmax(1) == expected.argmax(1)).mean()),
    }


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Measure every implementation at every batch size; each must match the CPU within its `max_difference`."""
    sizes, num_batches = (QUICK_BATCH_SIZES, 2) if options.is_quick else (BATCH_SIZES, 50)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifact = unpack_bundled("photos", folder / "artifacts")
        images = decode_gallery(max(sizes), artifact.image_contract)
        expected = OnnxModel(artifact.network_path, "cpu").run(images, TEN_CROP)[0]
        for implementation in list_implementations(artifact, folder, options):
            if "TensorRT" in implementation.name and TENSORRT not in ort.get_available_providers():
                rows.leave_out(implementation.name, "onnxruntime is installed without TensorRT")
                continue
            differences = []
            for size in sizes[-1:] if implementation.only_largest_batch else sizes:
                measure_row = partial(measure_run, implementation.create, images[:size], expected[:size], num_batches)
                row = rows.measure(f"{implementation.name}, batch {size}", measure_row)
                differences += [] if row is None else [row["largest_difference"]]
            if differences:  # failures are already written; the maximum with a NaN is NaN
                name = f"{implementation.name}, against the CPU"
                rows.require_at_most(name, float(np.max(differences)), implementation.max_difference)
    if options.device == "cpu":
        rows.leave_out("TF32, CUDA graphs, TensorRT", "only GPUs have them")
