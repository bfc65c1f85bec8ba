"""`python -m benchmarks.inference`: ten crops of one image, without HTTP, by everything that could compute them.

All sides have the same weights, the same images and all processors, and take turns. Crops a second are set beside the
machine's own float32 matrix products: 1.00 is what a program would reach that computed ten separate crops at their
speed. Writes docs/results/ and a plot.
"""

from __future__ import annotations

import json
import re
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

from benchmarks.baselines.torch_alexnet import TenCrops, export_by_default, stock
from benchmarks.results import RESULTS, OutputOption, commit, machine, matrix_peak, write
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.weights import read_folded_weights, read_spec
from model.images.crops import TEN_CROP
from model.images.preprocess import decode_image
from model.network.onnx_graph import build_graph
from model.runtime import OnnxModel, available_cpus
from training.data.loading import load_dataset

GFLOP = 2 * 0.7246
"""A crop's: 724.6 M multiply-adds (1000 classes; fc8 is less than 1 % of it)."""

REST = 0.3
"""Seconds between sides: OpenMP's threads, torch's, go on spinning after their work and would slow the next side."""

Side = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(256, 256, 3) -> (classes,) probabilities, the mean of ten crops."""


def mean_of_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    mean: NDArray[np.float32] = (powers / powers.sum(1, keepdims=True)).mean(0)
    return mean


def of_torch(artifact: Artifact, compiled: bool) -> Side:
    """PyTorch's modules; cutting the crops is part of the time, as it is in ours."""
    module, crops = stock(artifact.network), TenCrops(artifact.network)
    forward = torch.compile(module) if compiled else module

    def run(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return mean_of_softmax(forward(torch.from_numpy(crops(image))).numpy())

    return run


def of_default_export(artifact: Artifact, folder: Path) -> Side:
    """onnxruntime with its defaults, on the network as PyTorch exports it by default."""
    export_by_default(stock(artifact.network), folder / "default.onnx")
    session, crops = ort.InferenceSession(str(folder / "default.onnx")), TenCrops(artifact.network)
    name = session.get_inputs()[0].name
    return lambda image: mean_of_softmax(session.run(None, {name: crops(image)})[0])


def of_ours(network: Path) -> Side:
    """As the server runs it."""
    model = OnnxModel(network, "cpu")
    return lambda image: model.run(image[None], TEN_CROP)[0][0]


def of_openvino(network: Path, precision: str) -> Side:
    """OpenVINO's own runtime on our graph without the shared way, whose If it runs more slowly."""
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(network), "CPU", hints | {"INFERENCE_NUM_THREADS": available_cpus()})

    def run(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = compiled([image[None], np.array(TEN_CROP)])["probabilities"][0]
        return answer

    return run


def sides(artifact: Artifact, folder: Path) -> dict[str, Callable[[], Side]]:
    """What is measured, in the order of the table."""
    weights, mean = read_folded_weights(artifact)
    plain = folder / "plain.onnx"
    onnx.save(build_graph(read_spec(artifact.manifest), weights, mean, share_crops=False), str(plain))
    measured: dict[str, Callable[[], Side]] = {
        "torch, eager": lambda: of_torch(artifact, False),
        "torch, compiled": lambda: of_torch(artifact, True),
        "onnxruntime, exported by default": lambda: of_default_export(artifact, folder),
        "ours, crops apart": lambda: of_ours(plain),
        "ours": lambda: of_ours(artifact.network),
    }
    for form in artifacts.PRECISION_COMMANDS:
        if artifacts.NETWORK_FILES[form] in artifact.manifest.files:
            measured[f"ours, {form}"] = lambda form=form: of_ours(artifact.path / artifacts.NETWORK_FILES[form])  # type: ignore[misc]
    try:
        import openvino  # noqa: F401
    except ImportError:
        typer.echo("without OpenVINO, which isn't installed")
    else:
        for precision in ("f32", "bf16"):
            measured[f"OpenVINO, {precision}"] = lambda precision=precision: of_openvino(plain, precision)  # type: ignore[misc]
    return measured


def measure(artifact: Artifact, images: list[NDArray[np.uint8]]) -> dict[str, dict[str, Any]]:
    """Seconds of an image and how far each side is from the first; in turns, after three that aren't counted."""
    with tempfile.TemporaryDirectory() as folder:
        ready, seconds, differences = {}, dict[str, list[float]](), dict[str, float]()
        for name, make in sides(artifact, Path(folder)).items():
            begun = time.perf_counter()
            ready[name] = make()
            for image in images[:3]:
                ready[name](image)
            typer.echo(f"{name}: ready after {time.perf_counter() - begun:.1f} seconds")
        for image in images:
            expected = None
            for name, run in ready.items():
                time.sleep(REST)
                run(image)  # as in a busy server, the weights come from a warm cache, and the next run is timed
                begun = time.perf_counter()
                answer = run(image)
                seconds.setdefault(name, []).append(time.perf_counter() - begun)
                expected = answer if expected is None else expected
                differences[name] = max(differences.get(name, 0.0), float(np.abs(answer - expected).max()))
    base = seconds["onnxruntime, exported by default"]
    return {
        name: {
            "milliseconds": 1000 * statistics.median(times),
            "crops_per_second": 10 / statistics.median(times),
            "times_default_export": statistics.median(b / t for b, t in zip(base, times, strict=True)),
            "largest_difference": differences[name],
        }
        for name, times in seconds.items()
    }


STAGES = {
    "crops, conv1 to pool1": (
        r"(conv|lrn|pool)1|/crop|/row|/column|^(rows|columns|crops)|cut|mean|pixel|centered|planes|mirror|pair"
    ),
    "conv2 to pool2": r"(conv|lrn|pool)2|/(five|crops|top|left|low|right)",
    "conv3 to conv5": r"(conv|pool)[3-5]|flat",
    "fully connected": r"fc|softmax|features|probabilities",
    "layouts between them": r"Reorder|Transpose",
}
"""Which nodes belong to what, by their names; the first that fits."""


def by_stage(network: Path, images: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Milliseconds of each stage, as onnxruntime's profiler counts its nodes; medians over images."""
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
    measured = dict.fromkeys(STAGES, 0.0)
    for name, times in nodes.items():
        stage = next((stage for stage, names in STAGES.items() if re.search(names, name)), None)
        if stage is not None:
            measured[stage] += statistics.median(times)
    return measured


def plot(result: dict[str, Any], target: Path) -> None:
    """Crops a second, and the line of the machine's matrix products."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    rows = list(result["sides"].items())[::-1]
    bars = axes.barh([name for name, _ in rows], [row["crops_per_second"] for _, row in rows])
    axes.bar_label(bars, [f" {row['crops_per_second']:.0f}" for _, row in rows])
    axes.axvline(result["peak_crops_per_second"], color="black", linestyle="--", linewidth=1)
    axes.set_xlabel("crops a second; dashed: separate crops at the speed of matrix products")
    axes.margins(x=0.1)
    figure.savefig(target, dpi=110)


def main(
    artifact: Annotated[Path, typer.Option(help="A full-size artifact; with int8, that is measured, too.")],
    data: Annotated[str, typer.Option(help="Whose test images are taken.")] = "elpv",
    archive: Annotated[Path | None, typer.Option(help="The zip file of the data set.")] = None,
    turns: Annotated[int, typer.Option(min=1, help="Images.")] = 40,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    torch.set_num_threads(available_cpus())
    test = load_dataset(data, archive=archive).test
    images = [decode_image(example.path.read_bytes()).pixels for example in test[:turns]]
    peaks = [matrix_peak(torch.device("cpu"))]
    selected = artifacts.load(artifact)
    measured = measure(selected, images)
    peaks.append(matrix_peak(torch.device("cpu")))
    peak = max(peaks) * 1000 / GFLOP
    for row in measured.values():
        row["share_of_peak"] = row["crops_per_second"] / peak
    weights, mean = read_folded_weights(selected)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        onnx.save(build_graph(read_spec(selected.manifest), weights, mean, share_crops=False), str(plain))
        stages = {"crops apart": by_stage(plain, images), "shared": by_stage(selected.network, images)}
    result = {
        "date": str(date.today()), "commit": commit(), "machine": machine(torch.device("cpu")),
        "matrix_tflops": peaks, "peak_crops_per_second": peak, "sides": measured, "milliseconds_by_stage": stages,
    }  # fmt: skip
    for name, row in measured.items():
        typer.echo(
            f"{name:34} {row['milliseconds']:7.1f} ms  {row['crops_per_second']:6.1f} crops/s  "
            f"{row['share_of_peak']:.2f} of the peak  {row['times_default_export']:.2f} x default export  "
            f"difference {row['largest_difference']:.1g}"
        )
    for name, parts in stages.items():
        typer.echo(f"{name}: " + ", ".join(f"{stage} {milliseconds:.1f} ms" for stage, milliseconds in parts.items()))
    target = write(result, output, "inference-cpu")
    plot(result, target.with_suffix(".png"))
    typer.echo(f"written: {target}")


if __name__ == "__main__":
    typer.run(main)
