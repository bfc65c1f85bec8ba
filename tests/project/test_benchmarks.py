"""Shared pieces of the benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.baselines.torch_alexnet import TorchAlexNet
from benchmarks.color_profiles import draw_colors, encode, measure_effect, set_date
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.inference import convert_to_float16
from benchmarks.gpu.parts import PARTS, run_parts
from benchmarks.gpu.rows import PartOptions, RowWriter
from benchmarks.icc_profiles import DISPLAY_P3, GAMMA
from benchmarks.inference import build_separate_crops
from benchmarks.results import ROOT, format_table, write_result
from benchmarks.timing import GFLOP_PER_CROP
from benchmarks.training import choose_precisions, create_torch_step, separate_process
from model.artifacts.artifact import Artifact
from model.images.icc import make_profile
from tests.helpers.polling import wait_until


@pytest.mark.slow
def test_dead_process_ends_the_benchmark() -> None:
    device = torch.device("cpu")
    with (
        pytest.raises(SystemExit, match="a process of the benchmark has ended"),
        separate_process(False, create_torch_step, -1, device) as run_step,
    ):
        run_step()


@pytest.mark.parametrize(("capable", "measured"), [(True, ("float32", "bfloat16")), (False, ("float32",))])
def test_bfloat16_is_left_out_where_it_is_computed_in_software(
    monkeypatch: pytest.MonkeyPatch, capable: bool, measured: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": capable})
    assert choose_precisions(torch.device("cpu")) == measured


def test_result_has_date_commit_and_machine(tmp_path: Path) -> None:
    target = write_result(tmp_path / "results", "speed-cpu", {"images_per_second": 3.5})
    result = json.loads(target.read_text())
    assert target.name == f"speed-cpu-{result['date']}.json"
    assert result["images_per_second"] == 3.5
    assert result["commit"]
    assert result["machine"].keys() == {"cores", "device", "python", "torch", "versions"}
    assert result["machine"]["versions"]["onnxruntime"]


def test_results_of_one_day_stay(tmp_path: Path) -> None:
    targets = [write_result(tmp_path, "speed-cpu", {"images_per_second": speed}) for speed in (1, 2, 3)]
    day = targets[0].stem
    assert [target.name for target in targets] == [f"{day}.json", f"{day}-2.json", f"{day}-3.json"]
    assert [json.loads(target.read_text())["images_per_second"] for target in targets] == [1, 2, 3]
    assert len(list(tmp_path.iterdir())) == 3


def test_table_is_aligned_and_leaves_out_what_a_row_lacks() -> None:
    rows = {"ours": {"ms": 12.345, "images": 12_000}, "others": {"ms": 1234.5, "recall": 0.5}}
    assert format_table(rows, "method").splitlines() == [
        "method     ms  images  recall",
        "ours     12.3  12,000",
        "others  1,234             0.5",
    ]


def test_effect_of_a_color_profile_is_measured() -> None:
    profile = make_profile(DISPLAY_P3, GAMMA, "Display P3")
    colors = draw_colors("RGB").resize((256, 256))
    converted = measure_effect([encode(colors, profile), encode(colors, set_date(profile, 2000))])
    assert converted["images"] == 2
    assert 5 < converted["mean_change"] < 20
    assert converted["max_change"] > 60
    assert measure_effect([encode(colors)]) == {"images": 1, "mean_change": 0.0, "max_change": 0}


def test_operations_of_a_forward_pass_are_counted() -> None:
    network = TorchAlexNet().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() / 1e9 == pytest.approx(GFLOP_PER_CROP, rel=1e-4)


def read_parts(output: Path) -> dict[str, Any]:
    (file,) = output.iterdir()
    parts: dict[str, Any] = json.loads(file.read_text())["parts"]
    return parts


def test_the_gpu_benchmark_refuses_what_it_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="unknown part 'peak': choose from peaks, "):
        gpu.check_parts(["peak"])
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="error: no CUDA device that torch can use: choose"):
            gpu.main(only=["peaks"], output=tmp_path)
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_part_that_crashes_or_hangs_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"hanging": "tests.helpers.hanging_part", "crashing": "tests.helpers.crashing_part"}
    monkeypatch.setattr(gpu, "PARTS", parts)
    with pytest.raises(SystemExit, match="not finished: hanging, crashing; the result file says why"):
        gpu.main(device="cpu", quick=True, part_seconds=10, output=tmp_path)
    results = read_parts(tmp_path)
    assert results["hanging"]["status"] == "out of time"
    assert 10 <= results["hanging"]["seconds"] < 25
    process = results["hanging"]["rows"]["before"]["process"]
    wait_until(lambda: not Path(f"/proc/{process}").exists())
    assert results["crashing"]["status"] == "failed"
    assert "SIGSEGV" in results["crashing"]["output"]
    assert results["crashing"]["rows"] == {"first": {"images_per_second": 12.5}}
    assert "not JSON compliant" in results["crashing"]["errors"]["no number"]


def test_a_part_of_the_gpu_benchmark_runs_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PARTS", {"peaks": PARTS["peaks"]})
    gpu.main(device="cpu", quick=True, part_seconds=120, output=tmp_path)
    results = read_parts(tmp_path)
    assert results["peaks"]["status"] == "finished"
    assert results["peaks"]["rows"]["matrix product, float32"]["tflops"] > 0


def test_results_are_reported_after_each_part_and_no_part_starts_late() -> None:
    parts = {"hanging": "tests.helpers.hanging_part", "late": "tests.helpers.crashing_part"}
    reported: list[dict[str, str]] = []
    run_parts(
        parts,
        PartOptions("cpu", True),
        60,
        2,
        lambda results: reported.append({name: result.status for name, result in results.items()}),
    )
    assert reported == [{"hanging": "out of time"}, {"hanging": "out of time", "late": "not run"}]


def test_a_difference_beyond_its_limit_fails(tmp_path: Path) -> None:
    rows = RowWriter(tmp_path / "rows")
    rows.require_at_most("equal", 1e-5, 1e-4)
    assert rows.num_errors == 0
    rows.require_at_most("different", 1e-3, 1e-4)
    rows.require_at_most("no number", float("nan"), 1e-4)
    assert rows.num_errors == 2


@pytest.mark.slow
def test_every_part_of_the_gpu_benchmark_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = read_parts(tmp_path)
    assert list(results) == list(PARTS)
    for name, result in results.items():
        assert (result["status"], result["errors"]) == ("finished", {}), name
        assert result["rows"], name
    training = results["training"]["rows"]
    assert training["bfloat16, batch 4"]["fraction_of_peak"] > 0
    assert training["bfloat16, batch 4, recipe photos, images in the device's memory"]["images_per_second"] > 0
    assert results["towers"]["rows"]["two processes, gloo: against one process"]["difference"] <= 1e-9
    assert results["inference"]["rows"]["torch, float32, against the CPU"]["difference"] <= 1e-4
    assert results["search"]["rows"]["float16, re-scored"]["share_equal"] == 1
    assert results["serving"]["rows"]["50 % of the peak"]["goodput_per_second"] > 0


def test_squares_of_a_normalization_stay_in_float32(artifact: Artifact) -> None:
    """They exceed float16's range in some networks; the converter, left alone, casts them to it between two nodes."""
    graph = convert_to_float16(build_separate_crops(artifact)).graph
    nodes = {node.output[0]: node for node in graph.node}
    (power,) = [node for node in graph.node if node.name == "lrn1_power"]
    while power.op_type != "Cast":
        assert power.name.startswith("lrn1_")
        power = nodes[power.input[0]]
    assert power.attribute[0].i == onnx.TensorProto.FLOAT
    assert nodes[power.input[0]].name.startswith("conv1")
    assert np.isin(["conv1", "conv2", "fc6"], [node.name for node in graph.node]).all()
