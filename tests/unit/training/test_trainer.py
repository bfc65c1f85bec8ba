"""What the loop says and refuses: the flat start, a loss that isn't finite, a full disk, precision and device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.artifacts.artifact import Artifact
from model.exceptions import DatasetError, StoppedError, TrainingError
from training import config, run
from training.data import cache as image_cache
from training.data.folders import folder
from training.loop import checkpoint, diagnostics
from training.loop.distributed import Processes
from training.loop.metrics import read
from training.loop.precision import pick_device, pick_precision
from training.loop.trainer import Trainer
from training.optim.initial_weights import again, begin

Make = Callable[..., Trainer]


@pytest.fixture(scope="module")
def cached(few: Path, tmp_path_factory: pytest.TempPathFactory) -> image_cache.ImageCache:
    return image_cache.build(folder(few), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make(few: Path, cached: image_cache.ImageCache, tmp_path: Path) -> Make:
    dataset = folder(few)

    def trainer(state: dict[str, Any] | None = None, **options: Any) -> Trainer:
        usual = {"epochs": 1, "batch": 32, "hidden": 16, "precision": "float32", "device": "cpu"}
        chosen = config.configure(usual | options)
        start = begin(chosen, dataset.labels) if state is None else again(state)
        made = Trainer(chosen, dataset, cached, tmp_path, Processes(torch.device("cpu")), start)
        if state is not None:
            made.restore(state)
        return made

    return trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.learner.network.state_dict().items()}


def test_a_flat_start_is_said_in_words() -> None:
    labels = np.arange(90) % 3
    assert diagnostics.flat_start(0.9, labels, 50, 32, "paper") is None
    assert diagnostics.flat_start(1.0986, labels, 2, 32, "paper") is None  # too early to say
    said = diagnostics.flat_start(1.0986, labels, 50, 32, "paper")
    assert said is not None
    assert "still that of guessing by class frequency (1.099)" in said
    assert "--recipe small" in said


def test_a_starving_loader_is_said_in_words() -> None:
    assert diagnostics.starving(1.0, 20.0) is None
    said = diagnostics.starving(10.0, 20.0)
    assert said is not None
    assert "50 % of the time went to waiting for images" in said


def test_a_wrong_mean_ends_the_run(make: Make, cached: image_cache.ImageCache) -> None:
    trainer = make()
    object.__setattr__(trainer.learner.feed, "cache", image_cache.ImageCache(
        cached.images, np.zeros_like(cached.mean), cached.covariance, cached.skipped
    ))  # fmt: skip
    with pytest.raises(TrainingError, match="the mean image is not that of these images"):
        trainer.fit()


def test_a_loss_that_is_not_finite_ends_the_run(make: Make) -> None:
    trainer = make()
    with torch.no_grad():
        trainer.learner.network.fc8.bias.fill_(float("inf"))
    with pytest.raises(TrainingError, match="expected a finite loss, found nan in epoch 1, step 1"):
        trainer.fit()


def test_pruned_weights_stay_zero(make: Make) -> None:
    trainer = make()
    weight = trainer.learner.network.fc7.weight
    mask = (torch.arange(weight.numel()) % 3 == 0).float().view_as(weight)
    trainer.learner.masks["fc7.weight"] = mask
    trainer.fit()
    assert (weight[mask == 0] == 0).all()
    assert (weight[mask == 1] != 0).all()


def test_gradients_of_small_pieces_add_up(make: Make) -> None:
    """The same steps whatever the number of images that go through the network at once."""
    trained = []
    for micro_batch in (0, 5):
        trainer = make(micro_batch=micro_batch, precision="float64")
        trainer.fit()
        trained.append(weights(trainer))
    for name, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][name], tensor, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_resumed_within_an_epoch_is_bit_for_bit_the_same(make: Make, tmp_path: Path, precision: str) -> None:
    whole = make(epochs=2, batch=6, save_steps=3, precision=precision)
    saved: list[dict[str, Any]] = []

    def save() -> None:
        Trainer.save(whole)
        saved.append(_copy(checkpoint.load(tmp_path)))

    whole.save = save  # type: ignore[method-assign]
    whole.fit()
    for place in ((0, 3), (1, 3)):
        (state,) = [state for state in saved if (state["epoch"], state["step"]) == place]
        resumed = make(state, epochs=2, batch=6, precision=precision)
        resumed.fit()
        for name, tensor in weights(whole).items():
            assert torch.equal(tensor, resumed.learner.network.state_dict()[name]), (place, name)
        assert [record["epoch"] for record in read(tmp_path)] == [1, 2]


def test_stopped_in_the_validation_it_goes_on_with_the_validation(make: Make, tmp_path: Path) -> None:
    whole, stopped = make(epochs=2, micro_batch=2), make(epochs=2, micro_batch=2)
    whole.fit()
    slices = 0

    def hear() -> None:
        nonlocal slices
        slices += 1
        stopped._wish.wished = slices == 2  # after the training, and before the first slice
        Trainer._hear(stopped)

    stopped._hear = hear  # type: ignore[method-assign]
    with pytest.raises(StoppedError, match="stopped in the validation of epoch 1"):
        stopped.fit()
    state = checkpoint.load(tmp_path)
    assert (state["epoch"], state["step"]) == (0, stopped.step)
    assert stopped.step > 0
    resumed = make(_copy(state), epochs=2, micro_batch=2)
    resumed.fit()
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, resumed.learner.network.state_dict()[name]), name
    assert [record["epoch"] for record in read(tmp_path)] == [1, 2]


def test_a_checkpoint_of_another_configuration_is_refused(make: Make, tmp_path: Path) -> None:
    make(epochs=1).fit()
    state = _copy(checkpoint.load(tmp_path))
    assert state["config"]["recipe"]["name"] == "small"
    for wrong in ({"learning_rate": 0.5}, {"seed": 1}, {"frozen": ("conv1",)}, {"rates": {"fc8": 0.5}}):
        field = "recipe" if "learning_rate" in wrong else next(iter(wrong))
        with pytest.raises(TrainingError, match=f"expected the {field} of the checkpoint"):
            make(state, **{"epochs": 1} | wrong)
    make(state, epochs=1, micro_batch=2)
    with pytest.raises(TrainingError, match="expected the classes of the checkpoint"):
        make(state | {"upright": False}, epochs=1)


def _copy(state: dict[str, Any]) -> dict[str, Any]:
    copied = dict(state)
    for part in ("network", "momenta"):
        copied[part] = {name: tensor.clone() for name, tensor in state[part].items()}
    return copied


def test_the_mean_is_the_network_s(make: Make, artifact: Artifact) -> None:
    """An artifact of one recipe fine-tuned by another keeps its own way with the mean."""
    trainer = make(recipe="source", init_from=artifact.path)
    assert trainer.start.architecture.mean == "own"
    assert trainer.learner.augmentation.recipe.architecture.mean == "own"


def test_no_readable_validation_image_is_refused(make: Make) -> None:
    trainer = make()
    rows = range(len(trainer.dataset.train), len(trainer.dataset.train) + len(trainer.dataset.validation))
    cache = replace(trainer.cache, skipped=dict.fromkeys(rows, "broken"))
    with pytest.raises(DatasetError, match="in the validation part"):
        Trainer(
            trainer.config,
            trainer.dataset,
            cache,
            trainer.run,
            trainer.processes,
            begin(trainer.config, trainer.dataset.labels),
        )


def test_frozen_layers_stay_and_slow_ones_move_less(make: Make) -> None:
    trainer = make(frozen=("conv1", "conv2"), rates={"fc6": 0.001})
    before = weights(trainer)
    trainer.fit()
    moved = {name: float((tensor - before[name]).abs().max()) for name, tensor in weights(trainer).items()}
    assert moved["conv1.weight"] == moved["conv2.bias"] == 0
    assert 0 < moved["fc6.weight"] < moved["fc8.weight"] / 10


def test_a_full_disk_loses_nothing(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make(epochs=2)
    trainer.save()
    before = (tmp_path / checkpoint.NAME).read_bytes()
    (tmp_path / f"{checkpoint.NAME}.partial").symlink_to("/dev/full")  # every write to it finds no space
    with pytest.raises(TrainingError, match=r"No space left on device|could not be written"):
        checkpoint.save(tmp_path, {"weights": torch.zeros(1_000_000)})
    assert (tmp_path / checkpoint.NAME).read_bytes() == before
    assert not (tmp_path / f"{checkpoint.NAME}.partial").exists()
    (tmp_path / f"{checkpoint.NAME}.partial").symlink_to("/dev/full")
    trainer.fit()
    assert "the one before is kept; the run goes on and tries again" in capsys.readouterr().out
    assert checkpoint.load(tmp_path)["epoch"] == 2  # the second try went well


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, tmp_path / checkpoint.NAME)
    with pytest.raises(TrainingError, match="one of another version"):
        checkpoint.load(tmp_path)
    (tmp_path / checkpoint.NAME).write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="a damaged one"):
        checkpoint.load(tmp_path)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(TrainingError, match="precision"):
        pick_precision("int8", torch.device("cpu"))
    assert pick_precision("float32", torch.device("cpu")) == "float32"
    assert pick_precision("auto", torch.device("cpu")) in ("float32", "bfloat16")
    if not torch.cuda.is_available():
        assert pick_device("auto") == "cpu"
        with pytest.raises(TrainingError, match="CUDA"):
            pick_device("cuda")


def test_a_full_disk_leaves_the_configuration(tmp_path: Path) -> None:
    chosen = config.configure({"epochs": 3, "hidden": 16})
    config.save(tmp_path, chosen)
    (tmp_path / "config.json.partial").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match="nothing was changed"):
        config.save(tmp_path, config.configure({}))
    assert config.read(tmp_path) == chosen
    (tmp_path / "config.json").write_text('{"recipe": {}}')
    with pytest.raises(TrainingError, match="a fault at recipe"):
        config.read(tmp_path)
    with pytest.raises(TrainingError, match="found none"):
        config.read(tmp_path / "nothing")


def test_classes_in_another_order_are_refused(make: Make) -> None:
    trainer = make()
    state = trainer.state() | {"momenta": trainer.learner.optimizer.momenta()}
    state["classes"] = state["classes"][::-1]
    with pytest.raises(TrainingError, match="expected the classes of the checkpoint"):
        trainer.restore(state)


def test_compiling_is_for_a_gpu() -> None:
    with pytest.raises(TrainingError, match="expected a GPU for --compiled"):
        run._processes(config.configure({"compiled": True, "device": "cpu"}))
