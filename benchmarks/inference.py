"""Measure ten-crop inference without HTTP: our network, PyTorch, onnxruntime's defaults and OpenVINO.

    python -m benchmarks.inference --artifact ARTIFACT --data elpv

All implementations use the same weights, images and processors, and take turns. Crops per second are compared with
the machine's own float32 matrix products: 1.00 is the speed of a program that computes ten separate crops as fast as
matrix products. Also writes a plot.
"""

from __future__ import annotations

import importlib.util
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from alexnet.cli.options import ArchiveOption, DataOption
from benchmarks.baselines.torch_alexnet import (
    Array,
    Forward,
    TenCrop,
    average_probabilities,
    create_onnxruntime_forward,
    create_torch_forward,
)
from benchmarks.command import run_main
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.timing import GFLOP_PER_CROP, measure_matrix_tflops, median_ratio, time_in_turns
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.weights import read_folded_weights, read_spec
from model.cpus import available_cpus
from model.images.crops import TEN_CROP
from model.images.preprocess import decode_image
from model.network.onnx_graph import build_graph
from model.network.temperature import read_temperature
from model.runtime import OnnxModel
from training.data.loading import load_dataset

PAUSE = 0.3
"""Seconds before each implementation: torch's OpenMP threads keep spinning after their work and would slow the next."""
WARM_UP_IMAGES = 3
DEFAULT_EXPORT = "onnxruntime, default export"

Pixels = NDArray[np.uint8]
Implementation = Callable[[Pixels], Array]
"""(256, 256, 3) -> (classes,) probabilities, the mean of ten crops."""
STAGES = {
    "crops, conv1 to pool1": (
        r"(conv|lrn|pool)1|/crop|/row|/column|^(rows|columns|crops)|cut|mean|pixel|centered|planes|mirror|pair"
    ),
    "conv2 to pool2": r"(conv|lrn|pool)2|/(five|crops|top|left|low|right)",
    "conv3 to conv5": r"(conv|pool)[3-5]|flat",
    "fully connected": r"fc|softmax|features|probabilities",
    "layout conversions": r"Reorder|Transpose",
}
"""Stages of the network, and the names of their nodes; a node belongs to the first stage that matches."""


def create_from_forward(network: Path, create_forward: Callable[[Path], Forward]) -> Implementation:
    """Cut ten crops, run the network, and average; the time includes cutting, as ours does."""
    forward, ten_crop = create_forward(network), TenCrop(network)
    return lambda image: average_probabilities(forward(ten_crop(image)))


def create_ours(network: Path) -> Implementation:
    """The network as the server runs it."""
    model = OnnxModel(network, "cpu")
    return lambda image: model.run(image[None], TEN_CROP)[0][0]


def create_openvino(network: Path, precision: str) -> Implementation:
    """OpenVINO's runtime on a graph without If, because it runs graphs with If more slowly.

    `precision`: of the layers that aren't int8 in the graph.
    """
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(network), "CPU", hints | {"INFERENCE_NUM_THREADS": available_cpus()})

    def run(image: Pixels) -> Array:
        probabilities: Array = compiled([image[None], np.array(TEN_CROP)])["probabilities"][0]
        return probabilities

    return run


def build_separate_crops(artifact: Artifact) -> onnx.ModelProto:
    """The artifact's network as a graph that computes each crop separately."""
    weights, mean = read_folded_weights(artifact)
    temperature = read_temperature(artifact.network_path)
    return build_graph(read_spec(artifact.manifest), weights, mean, share_crops=False, temperature=temperature)


def take_shared_crops(network: Path) -> onnx.ModelProto:
    """The network's branch that computes ten crops together, without the If that chooses the branch."""
    model = onnx.load(str(network))
    place, choice = next((place, node) for place, node in enumerate(model.graph.node) if node.op_type == "If")
    graph = next(attribute.g for attribute in choice.attribute if attribute.name == "then_branch")
    after = list(model.graph.node)[place + 1 :]
    del model.graph.node[place:]
    output = onnx.helper.make_node("Identity", [graph.output[0].name], [choice.output[0]])
    model.graph.node.extend([*graph.node, output, *after])
    known = {constant.name for constant in model.graph.initializer}
    model.graph.initializer.extend(constant for constant in graph.initializer if constant.name not in known)
    onnx.checker.check_model(model)
    return model


def list_implementations(artifact: Artifact, separate_crops: Path) -> dict[str, Callable[[], Implementation]]:
    """Functions that create the implementations, in the order of the table."""
    network = artifact.network_path
    implementations: dict[str, Callable[[], Implementation]] = {
        "torch, eager": partial(create_from_forward, network, create_torch_forward),
        "torch, compiled": partial(create_from_forward, network, partial(create_torch_forward, is_compiled=True)),
        DEFAULT_EXPORT: partial(create_from_forward, network, create_onnxruntime_forward),
        "ours, separate crops": partial(create_ours, separate_crops),
        "ours": partial(create_ours, network),
    }
    for precision in artifacts.PRECISION_COMMANDS:
        file = artifacts.NETWORK_FILES[precision]
        if file in artifact.manifest.files:
            implementations[f"ours, {precision}"] = partial(create_ours, artifact.path / file)
    if importlib.util.find_spec("openvino") is None:
        typer.echo("OpenVINO isn't installed, so it is left out")
        return implementations
    for hint in ("f32", "bf16"):
        implementations[f"OpenVINO, {hint}"] = partial(create_openvino, separate_crops, hint)
    if artifacts.NETWORK_FILES["int8"] in artifact.manifest.files:
        shared_crops = separate_crops.with_name("int8-shared-crops.onnx")
        onnx.save(take_shared_crops(artifact.path / artifacts.NETWORK_FILES["int8"]), str(shared_crops))
        implementations["OpenVINO, our int8 graph"] = partial(create_openvino, shared_crops, "f32")
    return implementations


def prepare(creators: dict[str, Callable[[], Implementation]], images: list[Pixels]) -> dict[str, Implementation]:
    """Create the implementations, and run each on the first images."""
    implementations = {}
    for name, create in creators.items():
        start = time.perf_counter()
        implementations[name] = create()
        for image in images[:WARM_UP_IMAGES]:
            implementations[name](image)
        typer.echo(f"{name}: ready after {time.perf_counter() - start:.1f} seconds")
    return implementations


def measure(artifact: Artifact, separate_crops: Path, images: list[Pixels]) -> dict[str, dict[str, Any]]:
    """Time per image, in turns, and largest difference of a probability from the first implementation."""
    implementations = prepare(list_implementations(artifact, separate_crops), images)
    times: dict[str, list[float]] = {name: [] for name in implementations}
    differences = dict.fromkeys(implementations, 0.0)
    for image in images:
        outputs = {name: run(image) for name, run in implementations.items()}
        expected = next(iter(outputs.values()))
        for name, output in outputs.items():
            differences[name] = max(differences[name], float(np.abs(output - expected).max()))
        calls = {name: partial(run, image) for name, run in implementations.items()}
        for name, (seconds,) in time_in_turns(calls, 1, PAUSE).items():
            times[name].append(seconds)
    return {
        name: {
            "milliseconds": 1000 * statistics.median(values),
            "crops_per_second": 10 / statistics.median(values),
            "relative_to_default_export": median_ratio(times[DEFAULT_EXPORT], values),
            "largest_difference": differences[name],
        }
        for name, values in times.items()
    }


def profile_stages(network: Path, images: list[Pixels]) -> dict[str, float]:
    """Milliseconds of each stage: the sum of its nodes' medians over images, from onnxruntime's profiler."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = available_cpus(), True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = ort.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
        for image in images:
            session.run(None, {"images": image[None], "crops": np.array(TEN_CROP)})
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["args"]["op_name"] != "If":
            nodes.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event["dur"] / 1000)
    milliseconds = dict.fromkeys(STAGES, 0.0)
    for name, times in nodes.items():
        stage = next((stage for stage, names in STAGES.items() if re.search(names, name)), None)
        if stage is not None:
            milliseconds[stage] += statistics.median(times)
    return milliseconds


def draw_plot(implementations: dict[str, dict[str, Any]], peak_crops_per_second: float, target: Path) -> None:
    """Plot crops per second, with a line at the speed of the machine's matrix products."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    rows = list(implementations.items())[::-1]
    bars = axes.barh([name for name, _ in rows], [row["crops_per_second"] for _, row in rows])
    axes.bar_label(bars, [f" {row['crops_per_second']:.0f}" for _, row in rows])
    axes.axvline(peak_crops_per_second, color="black", linestyle="--", linewidth=1)
    axes.set_xlabel("crops per second; dashed: separate crops at the speed of matrix products")
    axes.margins(x=0.1)
    figure.savefig(target, dpi=110)


def main(
    artifact: Annotated[Path, typer.Option(help="Full-size artifact; its int8 network, if any, is measured, too.")],
    data: DataOption = "elpv",
    archive: ArchiveOption = None,
    max_images: Annotated[int, typer.Option(min=1, help="Maximum number of test images.")] = 40,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    torch.set_num_threads(available_cpus())
    test = load_dataset(data, archive=archive).test
    images = [decode_image(example.path.read_bytes()).pixels for example in test[:max_images]]
    loaded, cpu = artifacts.load(artifact), torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        separate_crops = Path(folder) / "separate-crops.onnx"
        onnx.save(build_separate_crops(loaded), str(separate_crops))
        tflops = [measure_matrix_tflops(cpu)]
        implementations = measure(loaded, separate_crops, images)
        tflops.append(measure_matrix_tflops(cpu))
        stages = {
            "separate crops": profile_stages(separate_crops, images),
            "shared crops": profile_stages(loaded.network_path, images),
        }
    peak = max(tflops) * 1000 / GFLOP_PER_CROP
    for row in implementations.values():
        row["fraction_of_peak"] = row["crops_per_second"] / peak
    result = {
        "matrix_tflops": tflops,
        "peak_crops_per_second": peak,
        "implementations": implementations,
        "milliseconds_by_stage": stages,
    }
    typer.echo(format_table(implementations))
    typer.echo(format_table(stages, "milliseconds"))
    target = write_result(output, "inference-cpu", result)
    draw_plot(implementations, peak, target.with_suffix(".png"))


if __name__ == "__main__":
    run_main(main)
