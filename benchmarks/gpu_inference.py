"""Speed of ten-crop inference on a GPU: float32 and float16, with CUDA graphs, and with TensorRT where it is installed.

    python -m benchmarks.gpu_inference --artifact ARTIFACT --data elpv

Outputs are compared with those of the CPU in float32. Normalization stays in float32, because squares of the first maps
exceed the range of float16. Without a GPU, `--device cpu` checks the graphs.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
import typer
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import convert_float_to_float16

from alexnet.cli.options import DataOption
from benchmarks.inference import build_separate_crops
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.timing import time_call
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.images.crops import TEN_CROP
from training.data.loading import load_dataset
from training.evaluation.evaluate import decode_batches

Implementation = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(N, 256, 256, 3) -> (N, classes) probabilities, the mean of ten crops."""
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
WARM_UP_BATCHES = 3


def convert_to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convolutions and matrix products in float16; inputs, outputs, crops and normalization stay as they are."""
    excluded = [node.name for node in _nodes(model.graph) if "lrn" in node.name or node.op_type in ("Sub", "Softmax")]
    converted: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=excluded)
    return converted


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    branches = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [*graph.node, *(node for branch in branches for node in _nodes(branch))]


def build_graphs(artifact: Artifact) -> dict[str, onnx.ModelProto]:
    """The artifact's network as it is, and with separate crops in both precisions."""
    return {
        "shared crops, float32": onnx.load(str(artifact.network)),
        "separate crops, float32": build_separate_crops(artifact),
        "separate crops, float16": convert_to_float16(build_separate_crops(artifact)),
    }


def create_implementations(
    graphs: dict[str, onnx.ModelProto], folder: Path, device: str, batch_size: int
) -> dict[str, Implementation]:
    """Every graph on the device, with each execution provider and option, for batches of `batch_size` images."""
    implementations: dict[str, Implementation] = {}
    for number, (name, graph) in enumerate(graphs.items()):
        file = folder / f"{number}.onnx"
        onnx.save(graph, str(file))
        if device == "cpu":
            implementations[name] = _run_plainly(_open_session(file, CPU))
            continue
        implementations[name] = _run_plainly(_open_session(file, CUDA))
        if "separate" in name:  # a CUDA graph can't have branches
            session = _open_session(file, CUDA, {"enable_cuda_graph": "1"})
            implementations[f"{name}, CUDA graph"] = _run_cuda_graph(session, batch_size)
        if TENSORRT in ort.get_available_providers():
            options = {"trt_fp16_enable": "float16" in name, "trt_engine_cache_enable": False}
            implementations[f"{name}, TensorRT"] = _run_plainly(_open_session(file, TENSORRT, options))
    return implementations


def _open_session(file: Path, provider: str, provider_options: dict[str, Any] | None = None) -> ort.InferenceSession:
    """Raises SystemExit if onnxruntime can't use the provider."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    providers: list[Any] = [(provider, provider_options or {}), *([CUDA] if provider == TENSORRT else [])]
    session = ort.InferenceSession(str(file), options, providers=providers)
    if session.get_providers()[0] != provider:
        raise SystemExit(f"expected {provider}, got {session.get_providers()[0]}")
    return session


def _run_plainly(session: ort.InferenceSession) -> Implementation:
    crops = np.array(TEN_CROP)
    return lambda images: session.run(["probabilities"], {"images": images, "crops": crops})[0]


def _run_cuda_graph(session: ort.InferenceSession, batch_size: int) -> Implementation:
    """Inputs and outputs have fixed addresses on the GPU, which a CUDA graph needs."""
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


def measure(
    run: Implementation, images: NDArray[np.uint8], expected: NDArray[np.float32], num_batches: int
) -> dict[str, float]:
    """Images per second, and how the probabilities differ from the expected ones."""
    for _ in range(WARM_UP_BATCHES):
        probabilities = run(images)
    seconds = statistics.median(time_call(partial(run, images)) for _ in range(num_batches))
    return {
        "images_per_second": len(images) / seconds,
        "largest_difference": float(np.abs(probabilities - expected).max()),
        "equal_top1": float((probabilities.argmax(1) == expected.argmax(1)).mean()),
    }


def main(
    artifact: Annotated[Path, typer.Option(help="Artifact, or a folder of artifacts.")] = Path("artifacts"),
    data: DataOption = "elpv",
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu only checks the graphs.")] = "cuda",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 64,
    num_batches: Annotated[int, typer.Option(min=1, help="Measured batches of each implementation.")] = 20,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    loaded = artifacts.load(artifact)
    dataset = load_dataset(data)
    examples = (dataset.test or dataset.validation)[:batch_size]
    images = np.concatenate([batch.images for batch in decode_batches(examples, loaded.image_contract)])
    expected = _run_plainly(_open_session(loaded.network, CPU))(images)
    with tempfile.TemporaryDirectory() as folder:
        implementations = create_implementations(build_graphs(loaded), Path(folder), device, len(images))
        rows = {name: measure(run, images, expected, num_batches) for name, run in implementations.items()}
    typer.echo(format_table(rows))
    result = {"batch_size": len(images), "implementations": rows}
    write_result(output, f"gpu-inference-{device}", result, device)


if __name__ == "__main__":
    typer.run(main)
