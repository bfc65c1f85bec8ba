"""`python -m benchmarks.gpu_inference`: ten crops on a GPU, in float32 and float16, with CUDA graphs and with TensorRT.

Each side's answers are compared with the CPU's in float32. Normalization stays in float32: squares of the first maps
are beyond float16. Without a GPU, `--device cpu` tries the graphs themselves. Writes docs/results/.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import typer
from numpy.typing import NDArray
from onnxruntime.transformers.float16 import convert_float_to_float16

from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.weights import read_folded_weights, read_spec
from model.images.crops import TEN_CROP
from model.network.onnx_graph import build_graph
from training.data.loading import load_dataset
from training.evaluation.evaluate import decode_batches

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


def in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convolutions and products in float16; inputs, outputs, the crops and the norms as they are."""
    kept = [node.name for node in _nodes(model.graph) if "lrn" in node.name or node.op_type in ("Sub", "Softmax")]
    half: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    return half


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [*graph.node, *(node for one in inner for node in _nodes(one))]


def sides(artifact: Artifact, folder: Path, device: str, batch: int) -> dict[str, Run]:
    """What is measured, ready to run batches of `batch` images."""
    weights, mean = read_folded_weights(artifact)
    apart = build_graph(read_spec(artifact.manifest), weights, mean, share_crops=False)
    graphs = {"shared crops, float32": onnx.load(str(artifact.network)), "crops apart, float32": apart}
    graphs |= {
        "crops apart, float16": in_float16(build_graph(read_spec(artifact.manifest), weights, mean, share_crops=False))
    }
    measured: dict[str, Run] = {}
    for name, graph in graphs.items():
        file = folder / f"{len(measured)}.onnx"
        onnx.save(graph, str(file))
        if device == "cpu":
            measured[name] = _plain(_session(file, ["CPUExecutionProvider"]))
            continue
        measured[name] = _plain(_session(file, [CUDA]))
        if "apart" in name:  # one path through the graph, which can be recorded
            measured[f"{name}, CUDA graph"] = _recorded(_session(file, [(CUDA, {"enable_cuda_graph": "1"})]), batch)
        if TENSORRT in ort.get_available_providers():
            options = {"trt_fp16_enable": "float16" in name, "trt_engine_cache_enable": False}
            measured[f"{name}, TensorRT"] = _plain(_session(file, [(TENSORRT, options), CUDA]))
    return measured


def _session(file: Path, providers: list[Any]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(file), options, providers=providers)
    provider = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
    if session.get_providers()[0] != provider:
        raise SystemExit(f"expected {provider}, got {session.get_providers()[0]}")
    return session


def _plain(session: ort.InferenceSession) -> Run:
    crops = np.array(TEN_CROP)
    return lambda images: session.run(["probabilities"], {"images": images, "crops": crops})[0]


def _recorded(session: ort.InferenceSession, batch: int) -> Run:
    """Inputs and outputs have places of their own on the GPU, as a recorded graph needs them."""
    images = ort.OrtValue.ortvalue_from_numpy(np.zeros((batch, 256, 256, 3), np.uint8), "cuda", 0)
    crops = ort.OrtValue.ortvalue_from_numpy(np.array(TEN_CROP), "cuda", 0)
    shapes = [(o.name, (batch, o.shape[1])) for o in session.get_outputs()]
    places = {n: ort.OrtValue.ortvalue_from_shape_and_type(s, np.float32, "cuda", 0) for n, s in shapes}
    binding = session.io_binding()
    binding.bind_ortvalue_input("images", images)
    binding.bind_ortvalue_input("crops", crops)
    for name, place in places.items():
        binding.bind_ortvalue_output(name, place)

    def run(sample: NDArray[np.uint8]) -> NDArray[np.float32]:
        images.update_inplace(sample)
        session.run_with_iobinding(binding)
        answer: NDArray[np.float32] = places["probabilities"].numpy()
        return answer

    return run


def main(
    artifact: Annotated[Path, typer.Option(help="An artifact.")] = Path("artifacts"),
    data: Annotated[str, typer.Option(help="Where the images are from.")] = "elpv",
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the graphs.")] = "cuda",
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Batches of each side.")] = 20,
    output: OutputOption = RESULTS,
) -> None:
    """Compare, print and write a dated result."""
    loaded = artifacts.load(artifact)
    dataset = load_dataset(data)
    examples = (dataset.test or dataset.validation)[:batch]
    images = np.concatenate([part.images for part in decode_batches(examples, loaded.image_contract)])
    batch = len(images)
    with tempfile.TemporaryDirectory() as folder:
        expected = _plain(_session(loaded.network, ["CPUExecutionProvider"]))(images)
        result: dict[str, Any] = {}
        for name, run in sides(loaded, Path(folder), device, batch).items():
            answers = [run(images) for _ in range(3)]
            seconds = []
            for _ in range(rounds):
                begun = time.perf_counter()
                run(images)
                seconds.append(time.perf_counter() - begun)
            result[name] = {
                "images_a_second": round(batch / statistics.median(seconds), 1),
                "difference": float(np.abs(answers[-1] - expected).max()),
                "same_class": float((answers[-1].argmax(1) == expected.argmax(1)).mean()),
            }
            typer.echo(f"{name}: {result[name]}")
    place = torch.device(device)
    head = {"date": f"{date.today()}", "commit": commit(), "machine": machine(place), "batch": batch}
    typer.echo(f"wrote {write(head | {'sides': result}, output, f'gpu-inference-{device}')}")


if __name__ == "__main__":
    typer.run(main)
