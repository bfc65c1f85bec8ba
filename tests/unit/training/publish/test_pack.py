"""`alexnet pack`: a run is pruned, fine-tuned by trainers of its own, rounded, published and packed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.artifacts.artifact import LABELS, MANIFEST
from model.artifacts.familiarity import FAMILIARITY
from model.artifacts.history import HISTORY
from model.artifacts.kernels import KERNELS
from model.artifacts.packed import PACKED
from model.artifacts.weights import read_weights
from model.checksums import CHECKSUMS
from model.network.compression import unpack
from tests.helpers.narrow_network import NARROW
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.data.cache import build_cache
from training.data.folders import load_folder
from training.evaluation.baselines import HOG, NEAREST_NEIGHBOR, Baseline, write_baselines
from training.loop.distributed import DistributedContext
from training.loop.metrics import read_metrics
from training.loop.run_directory import CHECKPOINT, RunDirectory
from training.loop.trainer import Trainer
from training.optim.initial_weights import InitialState
from training.publish.pack import fine_tune, keep_pruned, pack_run, prune
from training.train import train_run


@pytest.fixture
def make(few: Path, tmp_path: Path) -> Callable[[str], Trainer]:
    dataset = load_folder(few)
    cache = build_cache(dataset, tmp_path / "cache")

    def make_trainer(recipe: str) -> Trainer:
        config = TrainConfig.create(
            RecipeOptions(recipe, batch_size=16),
            NARROW,
            environment=Environment(precision="float32", device="cpu"),
        )
        context = DistributedContext(torch.device("cpu"))
        initial = InitialState.create(config, dataset.labels)
        return Trainer(config, dataset, cache, RunDirectory(tmp_path / recipe), context, initial)

    return make_trainer


def test_each_tower_keeps_the_same_share(make: Callable[[str], Trainer]) -> None:
    """As in pruning during training, however large each tower's weights are."""
    trained = make("small")
    spec, before = trained.initial.spec, trained.state()["weights"]
    with torch.no_grad():
        trained.engine.network.get_parameter("fc6.weight")[:8] *= 10  # the first tower's
    pruned = prune(trained, 0.25)
    assert pruned["pruning_masks"].keys() == {"fc6.weight", "fc7.weight"}
    for name, mask in pruned["pruning_masks"].items():
        assert [float(half.mean()) for half in mask.chunk(spec.towers)] == [0.25, 0.25], name
        assert torch.equal(pruned["weights"][name] != 0, mask == 1)
    assert torch.equal(pruned["weights"]["fc8.weight"], before["fc8.weight"])


def test_weights_pruned_in_training_stay_zero(make: Callable[[str], Trainer], tmp_path: Path) -> None:
    trained = make("photos")
    trained.engine.prune(1.0)
    masks = {name: mask.clone() for name, mask in trained.engine.pruning_masks.items()}
    with RunDirectory(tmp_path / "packing") as packing:
        tuned = fine_tune(trained, packing, keep_pruned(trained), 0.001, 1)
    assert tuned.epoch == 1
    assert masks.keys() == {"fc6.weight", "fc7.weight", "fc8.weight"}
    for name, mask in masks.items():
        assert torch.equal((tuned.engine.network.get_parameter(name) != 0).float(), mask), name


@pytest.mark.parametrize(("recipe", "epochs"), [("photos", 10), ("source", 91)])
def test_images_as_at_the_end_of_the_run_and_every_layer_learns(
    make: Callable[[str], Trainer], tmp_path: Path, recipe: str, epochs: int
) -> None:
    """At the end, `photos` mixes no images; `source` shifts no colors and freezes conv1, which must learn here."""
    trained = make(recipe)
    trained.epoch = epochs
    with RunDirectory(tmp_path / "packing") as packing:
        tuned = fine_tune(trained, packing, trained.state(), 0.001, 1)
    assert not tuned.mixes
    assert (tuned.recipe.color_end_epoch < trained.epoch) == (recipe == "source")
    before, after = (trainer.engine.network.get_parameter("conv1.weight") for trainer in (trained, tuned))
    assert not torch.equal(before, after)


@pytest.mark.parametrize(
    ("recipe", "density", "expected"),
    [
        ("small", None, (["fc6.weight", "fc7.weight"], 0.12, 8)),
        ("photos", 0.05, (["fc6.weight", "fc7.weight"], 0.05, 8)),
        ("photos", None, (["fc6.weight", "fc7.weight", "fc8.weight"], 0.10, 0)),
    ],
)
def test_a_network_that_its_recipe_pruned_is_packed_as_it_is(
    few: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: str,
    density: float | None,
    expected: tuple[list[str], float, int],
) -> None:
    """Unless a density is given; other networks are pruned, and trained for eight more epochs."""
    config = TrainConfig.create(
        RecipeOptions(recipe, epochs=1, batch_size=4),
        NARROW,
        RunOptions(name="few"),
        Environment(data=str(few), precision="float32", device="cpu", home=tmp_path, keep_checkpoint=True),
    )
    train_run(config)
    (run,) = (tmp_path / "runs").iterdir()
    started: list[tuple[list[str], float, int]] = []

    def start(trained: Trainer, folder: RunDirectory, state: dict[str, Any], rate: float, epochs: int) -> Trainer:
        masks = state["pruning_masks"]
        started.append((sorted(masks), float(masks["fc6.weight"].mean()), epochs))
        raise KeyboardInterrupt

    monkeypatch.setattr("training.publish.pack.fine_tune", start)
    with pytest.raises(KeyboardInterrupt):
        pack_run(run, tmp_path / "packed", density, None, 0.001, print)
    ((names, share, epochs),) = started
    assert (names, epochs) == (expected[0], expected[2])
    assert share == pytest.approx(expected[1], abs=0.005)


@pytest.mark.slow
def test_a_run_is_packed(few: Path, tmp_path: Path) -> None:
    config = TrainConfig.create(
        RecipeOptions(epochs=1, batch_size=16),
        NetworkOptions(hidden=64, channels=(4, 8, 8, 8, 8)),
        RunOptions(name="few"),
        Environment(data=str(few), precision="float32", device="cpu", home=tmp_path, keep_checkpoint=True),
    )
    assert train_run(config) is not None
    (run,) = (tmp_path / "runs").iterdir()
    (run / CHECKPOINT).write_bytes(b"")  # unused: packing starts from what was published
    nearest = Baseline(NEAREST_NEIGHBOR, "test", 0.4, 6, 21)
    write_baselines(run, [nearest])
    lines: list[str] = []
    artifact = pack_run(run, tmp_path / "packed", 0.25, 4, 0.001, lines.append)
    assert artifact.path == tmp_path / "artifacts" / "few" / "2"
    assert list(run.rglob("*.pt")) == [run / CHECKPOINT]
    assert [baseline["method"] for baseline in artifact.manifest.training["baselines"]] == [NEAREST_NEIGHBOR, HOG]
    before, *after = read_metrics(run / "packing")
    assert [before] == read_metrics(run)
    assert [(record["epoch"], record["learning_rate"]) for record in after] == [
        (2, 0.001), (3, 0.001), (4, 0.001), (5, 0.001), (6, 0.0001)
    ]  # fmt: skip
    seconds = [record["run_seconds"] for record in (before, *after)]
    assert seconds == sorted(seconds)
    assert seconds[-1] > seconds[0]
    recipe = artifact.manifest.training["recipe"]
    assert recipe | {"network": None} == json.loads(json.dumps(asdict(config.recipe))) | {"network": None}
    report = (run / "packing" / "report.html").read_text().replace("&nbsp;", " ")
    assert f"small, learning rate {config.recipe.learning_rate:g}" in report
    assert (
        "weights kept: 25 % of fc6, 25 % of fc7; then 4 epochs at learning rate 0.001, and a quarter as many at a"
        in report
    )
    assert "6 epochs in " in report
    for name, values in read_weights(artifact)[1].items():
        share = float((values != 0).mean())
        assert (share <= 0.25) if name in ("fc6.weight", "fc7.weight") else share > 0.5, name
    packed = tmp_path / "packed"
    assert {file.name for file in packed.iterdir()} == {
        MANIFEST, LABELS, PACKED, KERNELS, HISTORY, FAMILIARITY, CHECKSUMS
    }  # fmt: skip
    assert unpack((packed / PACKED).read_bytes()) == artifact.network_path.read_bytes()
    assert artifact.manifest.training["packing"]["density"] == {"fc6": 0.25, "fc7": 0.25}
    assert lines[-1].startswith(f"packed: {packed / PACKED}, ")
    assert np.isfinite([m.top1_error for m in artifact.manifest.measurements]).all()


def test_what_can_not_be_written_is_refused_before_the_training(few: Path, tmp_path: Path) -> None:
    config = TrainConfig.create(environment=Environment(str(few), home=tmp_path, device="cpu"))
    RunDirectory(tmp_path).write_config(config)
    (tmp_path / "output").touch()
    with pytest.raises(FileExistsError):
        pack_run(tmp_path, tmp_path / "output", None, None, 0.001, print)
