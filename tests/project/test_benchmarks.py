"""Shared pieces of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.color_profiles import draw_colors, encode, measure_effect, set_date
from benchmarks.icc_profiles import DISPLAY_P3, GAMMA, make_profile
from benchmarks.results import format_table, write_result
from benchmarks.training import create_torch_step, separate_process


def test_dead_process_ends_the_benchmark() -> None:
    device = torch.device("cpu")
    with (
        pytest.raises(SystemExit, match="a process of the benchmark has ended"),
        separate_process(False, create_torch_step, -1, device) as run_step,
    ):
        run_step()


def test_result_has_date_commit_and_machine(tmp_path: Path) -> None:
    target = write_result(tmp_path / "results", "speed-cpu", {"images_per_second": 3.5})
    result = json.loads(target.read_text())
    assert target.name == f"speed-cpu-{result['date']}.json"
    assert result["images_per_second"] == 3.5
    assert result["commit"]
    assert result["machine"].keys() == {"cores", "device", "python", "torch"}


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
