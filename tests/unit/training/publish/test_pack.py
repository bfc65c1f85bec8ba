"""`alexnet pack`: a run is pruned, fine-tuned by trainers of its own, rounded, published and packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.artifacts.artifact import LABELS, MANIFEST
from model.artifacts.familiarity import FAMILIARITY
from model.artifacts.history import HISTORY
from model.artifacts.kernels import KERNELS
from model.artifacts.packed import PACKED, unpack
from model.artifacts.weights import read_weights
from model.checksums import CHECKSUMS
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.loop.metrics import read_metrics
from training.loop.run_directory import CHECKPOINT
from training.publish.pack import pack_run
from training.train import train


@pytest.mark.slow
def test_a_run_is_packed(few: Path, tmp_path: Path) -> None:
    config = TrainConfig.create(
        RecipeOptions(epochs=1, batch_size=16),
        NetworkOptions(hidden=64, channels=(4, 8, 8, 8, 8)),
        RunOptions(name="few"),
        Environment(data=str(few), precision="float32", device="cpu", home=tmp_path),
    )
    assert train(config) is not None
    (run,) = (tmp_path / "runs").iterdir()
    assert not (run / CHECKPOINT).exists()  # so it starts from the artifact
    lines: list[str] = []
    artifact = pack_run(run, tmp_path / "packed", 0.25, 4, 0.001, lines.append)
    assert artifact.path == tmp_path / "artifacts" / "few" / "2"
    assert not list(run.rglob("*.pt"))
    assert [record["learning_rate"] for record in read_metrics(run / "packing")] == [0.001] * 4 + [0.0001]
    for name, values in read_weights(artifact)[1].items():
        share = float((values != 0).mean())
        assert (share <= 0.25) if name in ("fc6.weight", "fc7.weight") else share > 0.5, name
    packed = tmp_path / "packed"
    assert {file.name for file in packed.iterdir()} == {
        MANIFEST, LABELS, PACKED, KERNELS, HISTORY, FAMILIARITY, CHECKSUMS
    }  # fmt: skip
    assert unpack((packed / PACKED).read_bytes()) == artifact.network.read_bytes()
    assert artifact.manifest.training["packing"]["density"] == {"fc6": 0.25, "fc7": 0.25}
    assert lines[-1].startswith(f"packed: {packed / PACKED}, ")
    assert np.isfinite([m.top1_error for m in artifact.manifest.measurements]).all()
