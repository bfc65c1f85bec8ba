"""The training loop: resuming bit for bit, stopping, refusals, a full disk, pruned and frozen weights."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from model.artifacts.artifact import Artifact
from model.exceptions import StoppedError, TrainingError
from model.network.torch_module import ForwardOutput
from tests.helpers.trainers import Make, checkpoint, options
from training.config import Environment, NetworkOptions, RunOptions, TrainConfig
from training.data.augment import shuffle_rows
from training.data.cache import ImageCache
from training.data.mixing import draw_mix
from training.loop.engine import ValidationScores
from training.loop.metrics import read_metrics
from training.loop.run_directory import CHECKPOINT, RunDirectory
from training.loop.trainer import Trainer
from training.optim.initial_weights import InitialState
from training.train import train_run


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.engine.network.state_dict().items()}


def require_equal(trainer: Trainer, other: Trainer) -> None:
    for name, tensor in weights(trainer).items():
        assert torch.equal(tensor, other.engine.network.state_dict()[name]), name


def test_a_wrong_mean_ends_the_run(make: Make, cached: ImageCache) -> None:
    trainer = make()
    trainer.engine.loader.cache = replace(cached, mean=np.zeros_like(cached.mean))
    with pytest.raises(TrainingError, match="the mean image, which isn't that of these images"):
        trainer.fit()


def test_a_loss_that_is_not_finite_ends_the_run(make: Make) -> None:
    trainer = make()
    with torch.no_grad():
        trainer.engine.network.get_parameter("fc8.bias").fill_(float("inf"))
    with pytest.raises(
        TrainingError,
        match=r"training diverged: the loss is nan in epoch 1, step 1, and guessing would give 1\.1: use a",
    ):
        trainer.fit()


def test_a_loss_that_explodes_ends_the_run(make: Make) -> None:
    trainer = make(recipe=options(learning_rate=50.0, epochs=20))
    with pytest.raises(
        TrainingError, match=r"training diverged: .*: use a smaller --learning-rate, such as 0.005, or --w"
    ):
        trainer.fit()


def test_a_network_that_diverged_in_the_last_step_is_not_published(make: Make) -> None:
    class Broken(Trainer):
        def check_stop(self) -> None:
            with torch.no_grad():
                self.engine.network.get_parameter("fc8.bias").fill_(float("nan"))

    with pytest.raises(TrainingError, match="the loss is nan in the validation of epoch 1"):
        make(cls=Broken).fit()


def test_all_options_of_the_photos_recipe_resume_bit_for_bit(make: Make, tmp_path: Path) -> None:
    """Boxes, degradation, jitter, mixing, pruning, warm-up, cosine; also class weights and label smoothing."""
    recipe = options(
        name="photos", epochs=3, batch_size=12, learning_rate=0.01, class_weights=True, label_smoothing=0.1
    )
    saved = list[dict[str, Any]]()

    class Recorded(Trainer):
        def save(self) -> None:
            super().save()
            saved.append(checkpoint(tmp_path))

    complete = make(recipe=recipe, cls=Recorded)
    complete.fit()
    weight = complete.engine.network.get_parameter("fc6.weight")
    assert float(weight.count_nonzero() / weight.numel()) == pytest.approx(0.1, abs=0.01)
    state = saved[1]
    assert 0 < state["densities"]["fc6"] < 1
    assert state["best"][0] in (1, 2)
    resumed = make(state, recipe)
    resumed.fit()
    require_equal(complete, resumed)
    rates = [record["learning_rate"] for record in read_metrics(tmp_path)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.002


def test_a_mixed_batch_is_the_same_in_micro_batches(make: Make) -> None:
    trained = []
    for micro_batch in (0, 5):
        recipe = options(augment="boxes,mixup", batch_size=12)
        trainer = make(recipe=recipe, micro_batch=micro_batch, precision="float64")
        trainer.fit()
        trained.append(weights(trainer))
    for name, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][name], tensor, rtol=1e-6, atol=1e-8)


def test_a_run_of_minutes_ends_within_an_epoch(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(recipe=options(epochs=None, minutes=1.0, batch_size=2))
    monkeypatch.setattr(trainer.clock, "progress", lambda epoch, step: epoch + 0.4 * step)
    trainer.fit()
    (record,) = read_metrics(tmp_path)
    assert trainer.epoch == 1
    assert record["learning_rate"] == pytest.approx(0.1 * 0.005 * 2 / 32)  # after 0.8 of the run
    trainer.fit()  # there is no time left
    assert trainer.epoch == 1


def test_a_run_of_too_few_minutes_makes_one_step(make: Make, tmp_path: Path) -> None:
    """Otherwise random weights would be published."""
    trainer = make(recipe=options(epochs=None, minutes=1e-6, batch_size=2))
    trainer.fit()
    assert trainer.epoch == 1
    (record,) = read_metrics(tmp_path)
    assert 0 < record["train_loss"] < 10


def test_a_resumed_run_counts_its_seconds_on(make: Make, tmp_path: Path) -> None:
    class Stopped(Trainer):
        def _save_within_epoch(self) -> None:
            self.stop.requested = True
            super()._save_within_epoch()

    recipe = options(batch_size=6)
    with pytest.raises(StoppedError):
        make(recipe=recipe, cls=Stopped).fit()
    state = checkpoint(tmp_path)
    assert state["clock"]["epoch_seconds"] > 0
    state["clock"] = {"run_seconds": 2000.0, "epoch_seconds": 1000.0}
    make(state, recipe).fit()
    (record,) = read_metrics(tmp_path)
    assert 1000 < record["seconds"] < 1900
    assert 2000 < record["run_seconds"] < 2900


def test_a_resumed_run_waits_on_for_a_better_error(make: Make, tmp_path: Path) -> None:
    """Its schedule continues where it was: a plateau counted anew would drop the rate later."""
    trainer = make(recipe=options(epochs=9))
    for error in (0.5, 0.6, 0.6):
        trainer.schedule.update(error)
    trainer.save()
    resumed = make(checkpoint(tmp_path), options(epochs=9))
    assert resumed.schedule == trainer.schedule != make(recipe=options(epochs=9)).schedule


def test_a_longer_run_fits_its_schedule(make: Make, tmp_path: Path) -> None:
    short = make(recipe=options(schedule="cosine", epochs=1, batch_size=6))
    short.fit()
    longer = make(checkpoint(tmp_path), options(schedule="cosine", epochs=2, batch_size=6))
    longer.fit()
    first, second = read_metrics(tmp_path)
    assert (longer.epoch, second["epoch"]) == (2, 2)
    assert first["learning_rate"] > second["learning_rate"]
    whole = make(recipe=options(schedule="cosine", epochs=2, batch_size=6))
    whole.fit()
    assert read_metrics(tmp_path)[1]["learning_rate"] == second["learning_rate"]


def test_a_run_that_becomes_shorter_ends_its_begun_epoch(make: Make, tmp_path: Path) -> None:
    """So what is published has been validated."""

    class Stopped(Trainer):
        def _save_within_epoch(self) -> None:
            self.stop.requested = self.epoch == 1
            super()._save_within_epoch()

    with pytest.raises(StoppedError, match=r"after 1 step of epoch 2"):
        make(recipe=options(schedule="cosine", epochs=3, batch_size=6), cls=Stopped).fit()
    shorter = make(checkpoint(tmp_path), options(schedule="cosine", epochs=1, batch_size=6))
    shorter.fit()
    assert (shorter.epoch, shorter.step) == (2, 0)
    assert [record["epoch"] for record in read_metrics(tmp_path)] == [1, 2]


def test_the_best_epoch_s_weights_are_kept(make: Make, tmp_path: Path) -> None:
    class Worse(Trainer):
        """Its validation error rises after the third epoch, whose scores are those of the second."""

        def keep_best(self, validation: ValidationScores) -> None:
            scores = {1: ValidationScores(2.0, 0.4), 4: ValidationScores(0.5, 0.6)}
            # of equal errors, the lower loss is best; of equal losses, the earlier epoch
            super().keep_best(scores.get(self.epoch, ValidationScores(1.0, 0.4)))
            if self.epoch == 2:
                best.update(weights(self))

    best: dict[str, torch.Tensor] = {}
    trainer = make(recipe=options(epochs=4), publish="best", cls=Worse)
    trainer.fit()
    kept = RunDirectory(tmp_path).load_best()
    assert (kept["epoch"], kept["error"]) == (2, 0.4)
    assert kept["weights"].keys() == best.keys()
    for name, tensor in best.items():
        assert torch.equal(kept["weights"][name], tensor), name
    last = weights(trainer)["fc8.weight"]
    assert not torch.equal(last, best["fc8.weight"])


def test_a_best_epoch_that_cannot_be_saved_does_not_end_the_run(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does a checkpoint that can't be saved: the disk may have room again an epoch later."""
    in_the_way = tmp_path / "best.pt.partial"

    class Full(Trainer):
        def keep_best(self, validation: ValidationScores) -> None:
            if self.epoch == 1:
                in_the_way.mkdir()
            super().keep_best(validation)
            if self.epoch == 1:
                in_the_way.rmdir()

    trainer = make(recipe=options(epochs=2), publish="best", cls=Full)
    trainer.fit()
    assert "best.pt: Is a directory; there is no previous one; the run continues, but epoch 1 can't be published" in (
        capsys.readouterr().out
    )
    assert trainer.best.epoch == RunDirectory(tmp_path).best_epoch() == 2


def test_logs_that_cannot_be_written_do_not_end_the_run(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a full disk, TensorBoard's writer raises an error when closed; the network may fit on another disk."""

    def close(board: SummaryWriter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "close", close)
    trainer = make()
    trainer.fit()
    assert trainer.epoch == 1
    assert "warning: cannot write the end of the logs in" in capsys.readouterr().out


def test_a_best_epoch_that_was_not_kept_is_forgotten(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make().fit()  # publishes the last epoch, so the best one's weights aren't kept
    longer = options(epochs=2)
    trainer = make(checkpoint(tmp_path), recipe=longer, publish="best")
    assert "epoch 1 was the best so far, but its weights weren't saved" in capsys.readouterr().out
    trainer.fit()
    assert RunDirectory(tmp_path).best_epoch() == 2
    resumed = make(checkpoint(tmp_path), recipe=longer, publish="best")
    assert resumed.best == trainer.best
    assert "weren't saved" not in capsys.readouterr().out


def test_a_run_without_an_epoch_has_a_checkpoint(make: Make, artifact: Artifact, tmp_path: Path) -> None:
    """So it can be resumed if it is stopped while the network is measured."""
    trainer = make(recipe=options(epochs=0), run=RunOptions(init_from=artifact.path), network=NetworkOptions())
    trainer.fit()
    state = checkpoint(tmp_path)
    for name, tensor in state["weights"].items():
        assert torch.equal(tensor, weights(trainer)[name]), name
    start, resumed = artifact.manifest.training, InitialState.from_checkpoint(state)
    assert resumed.splits == ((start["dataset"], start["split_sha256"]),)


def test_frozen_layers_are_not_pruned(make: Make) -> None:
    """Their outputs for validation images are computed only once."""
    trainer = make(recipe=options(name="photos"), run=RunOptions(frozen=("conv1", "fc6")))
    before = weights(trainer)
    trainer.engine.prune(0.8)
    after = weights(trainer)
    assert torch.equal(after["fc6.weight"], before["fc6.weight"])
    assert float((after["fc7.weight"] == 0).float().mean()) == pytest.approx(0.88, abs=0.01)
    assert trainer.engine.densities == {"fc7": 0.12, "fc8": 0.5}


def test_pruned_weights_stay_zero(make: Make) -> None:
    trainer = make()
    weight = trainer.engine.network.get_parameter("fc7.weight")
    mask = (torch.arange(weight.numel()) % 3 == 0).float().view_as(weight)
    trainer.engine.pruning_masks["fc7.weight"] = mask
    trainer.fit()
    assert (weight[mask == 0] == 0).all()
    assert (weight[mask == 1] != 0).all()


def test_a_step_follows_the_gradient_of_its_batch_s_mean_loss(make: Make) -> None:
    trainer = make(recipe=options(batch_size=64), precision="float64")  # all images in one step
    engine = trainer.engine
    inputs, parameters = list[Any](), list(engine.network.parameters())
    forward, step = engine.forward, engine.optimizer.step
    classes = torch.from_numpy(engine.labels[shuffle_rows(trainer.train_rows, trainer.config.run.seed, 0)])

    def keep_inputs(*given: Any) -> ForwardOutput:
        inputs.append(given)
        result: ForwardOutput = forward(*given)
        return result

    def compare_and_step() -> None:
        (crops,) = inputs
        loss = F.cross_entropy(engine.network(*crops).logits, classes)
        for parameter, expected in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-12)
        step()

    engine.forward, engine.optimizer.step = keep_inputs, compare_and_step  # type: ignore[method-assign]
    trainer.fit()
    assert len(inputs) == 1


def test_a_step_s_loss_has_smoothing_class_weights_partners_and_competition(make: Make) -> None:
    """Compared with the definition, computed from the network's outputs for the same crops."""
    recipe = options(augment="boxes,mixup", batch_size=64, label_smoothing=0.3, class_weights=True)
    trainer = make(recipe=recipe, precision="float64")  # all images in one step
    engine, seed = trainer.engine, trainer.config.run.seed
    assert engine.recipe.mixing is not None
    mixing = replace(engine.recipe.mixing, mixup=1.0, cutmix=0.0)
    engine.recipe = replace(engine.recipe, mixing=mixing)
    weights_of_classes = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    assert engine.class_weights is not None
    engine.class_weights = weights_of_classes
    order = shuffle_rows(trainer.train_rows, seed, 0)
    excluded = np.arange(3) == (engine.labels[order][:, None] + 1) % 3
    asked = list[Any]()

    class Fixed:
        def excluded(self, *given: Any) -> Any:
            asked.append(given)
            return excluded

    engine.competition = Fixed()  # type: ignore[assignment]
    logits, losses, forward = list[torch.Tensor](), list[float](), engine.forward

    def keep_logits(*given: Any) -> ForwardOutput:
        result: ForwardOutput = forward(*given)
        logits.append(result.logits.detach())
        return result

    engine.forward = keep_logits
    for _, sums in engine.run_epoch(order, 0, 0):
        losses.append(float(sums[0]))
    ((epoch, rows, partners),) = asked
    mix = draw_mix(mixing, seed, 0, order)
    assert mix is not None
    assert epoch == 0
    assert np.array_equal(rows, order)
    assert np.array_equal(partners, mix.rows)
    expected = 0.0
    for place, values in enumerate(logits[0].numpy()):
        competing = ~excluded[place]
        scores = values[competing]
        log = np.full(3, 0.0)
        log[competing] = scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max()
        for label, share in (
            (engine.labels[order[place]], mix.shares[place]),
            (engine.labels[mix.rows[place]], 1 - mix.shares[place]),
        ):
            smoothed = 0.7 * log[label] + 0.3 * log[competing].mean()
            expected -= float(share * weights_of_classes[label] * smoothed)
    assert losses == [pytest.approx(expected, rel=1e-9)]


def test_dropout_differs_in_every_step_of_the_run(make: Make) -> None:
    trainer = make(recipe=options(epochs=2, batch_size=12))
    masks, forward = list[bytes](), trainer.engine.forward

    def keep_masks(x: Any, given: tuple[torch.Tensor, ...], *others: Any) -> ForwardOutput:
        assert len(given) == 2
        masks.extend(mask.numpy().tobytes() for mask in given)
        result: ForwardOutput = forward(x, given, *others)
        return result

    trainer.engine.forward = keep_masks
    trainer.fit()
    assert len(masks) == len(set(masks)) == 2 * 2 * trainer.steps_per_epoch


def test_all_rates_warm_up(make: Make) -> None:
    trainer = make(recipe=options(name="photos", epochs=4, batch_size=12, warmup=0.5))
    used, step = list[dict[str, float]](), trainer.engine.optimizer.step

    def keep_rates() -> None:
        used.append(trainer.engine.optimizer.learning_rates())
        step()

    trainer.engine.optimizer.step = keep_rates  # type: ignore[method-assign]
    trainer.fit()
    half = len(used) // 2
    peak = trainer.recipe.learning_rate
    for name, multiplier in (("conv1.weight", 1.0), ("fc8.bias", trainer.recipe.bias_lr_multiplier)):
        rates = [rates[name] / multiplier for rates in used]
        assert rates[0] < 0.01 * peak
        assert rates[:half] == sorted(rates[:half])
        assert rates[half:] == sorted(rates[half:], reverse=True)
        assert 0.1 * peak < max(rates) <= peak


def test_gradients_of_micro_batches_add_up(make: Make) -> None:
    """The same steps whatever the number of images per forward pass."""
    trained = []
    for micro_batch in (0, 5):
        trainer = make(micro_batch=micro_batch, precision="float64")
        trainer.fit()
        trained.append(weights(trainer))
    for name, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][name], tensor, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "precision",
    ["float32", *(pytest.param(precision, marks=pytest.mark.slow) for precision in ("bfloat16", "float64"))],
)
def test_resumed_within_an_epoch_is_bit_for_bit_the_same(make: Make, tmp_path: Path, precision: str) -> None:
    recipe, saved = options(epochs=2, batch_size=6), list[dict[str, Any]]()

    class Recorded(Trainer):
        def save(self) -> None:
            super().save()
            saved.append(checkpoint(tmp_path))

    complete = make(recipe=recipe, save_steps=3, precision=precision, cls=Recorded)
    complete.fit()
    for position in ((0, 3), (1, 3)):
        (state,) = [state for state in saved if (state["epoch"], state["step"]) == position]
        resumed = make(state, recipe, precision=precision)
        resumed.fit()
        require_equal(complete, resumed)
        assert [record["epoch"] for record in read_metrics(tmp_path)] == [1, 2]


def test_a_resumed_epoch_mixes_images_as_it_began(make: Make, tmp_path: Path) -> None:
    """Whether an epoch mixes is decided when it begins: here after 0.6 of the run, while the next begins after 0.8."""
    recipe, saved = options(epochs=5, batch_size=12, augment="boxes,mixup"), list[dict[str, Any]]()

    class Recorded(Trainer):
        def save(self) -> None:
            super().save()
            saved.append(checkpoint(tmp_path))

    def mix_until(trainer: Trainer) -> Trainer:
        mixing = trainer.engine.recipe.mixing
        assert mixing is not None
        for owner in (trainer, trainer.engine):
            owner.recipe = replace(owner.recipe, mixing=replace(mixing, until=0.65, mixup=1.0, cutmix=0.0))
        return trainer

    complete = mix_until(make(recipe=recipe, save_steps=1, cls=Recorded))
    complete.fit()
    (state,) = [state for state in saved if (state["epoch"], state["step"]) == (3, 1)]
    assert state["mixes"]
    resumed = mix_until(make(state, recipe))
    assert resumed.mixes
    resumed.fit()
    assert not resumed.mixes
    require_equal(complete, resumed)


def test_stopped_in_the_validation_it_is_resumed_with_the_validation(make: Make, tmp_path: Path) -> None:
    class Stopped(Trainer):
        checks = 0

        def check_stop(self) -> None:
            self.checks += 1
            self.stop.requested = self.checks == 2  # after training, before the first validation batch
            super().check_stop()

    recipe = options(epochs=2)
    complete, stopped = make(recipe=recipe, micro_batch=2), make(recipe=recipe, micro_batch=2, cls=Stopped)
    complete.fit()
    with pytest.raises(StoppedError, match="stopped during the validation of epoch 1"):
        stopped.fit()
    state = checkpoint(tmp_path)
    assert (state["epoch"], state["step"]) == (0, stopped.step)
    assert stopped.step > 0
    resumed = make(state, recipe, micro_batch=2)
    resumed.fit()
    require_equal(complete, resumed)
    assert [record["epoch"] for record in read_metrics(tmp_path)] == [1, 2]


def test_a_checkpoint_of_another_configuration_is_refused(make: Make, tmp_path: Path) -> None:
    make().fit()
    state = checkpoint(tmp_path)
    assert state["config"]["recipe"]["name"] == "small"
    changes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("recipe.learning_rate", {"recipe": options(learning_rate=0.5)}),
        ("run.seed", {"run": RunOptions(seed=1)}),
        ("run.frozen", {"run": RunOptions(frozen=("conv1",))}),
        ("run.lr_multipliers", {"run": RunOptions(lr_multipliers={"fc8": 0.5})}),
    )
    for field, change in changes:
        with pytest.raises(TrainingError, match=rf"{field} is .* in config\.json, but .* in the checkpoint"):
            make(state, **change)
    make(state, micro_batch=2)
    with pytest.raises(TrainingError, match="the classes of --data differ"):
        make(state | {"upright": False})
    with pytest.raises(TrainingError, match="the classes of --data differ"):
        make(state | {"classes": state["classes"][::-1]})


def test_the_mean_is_the_network_s(make: Make, artifact: Artifact) -> None:
    """An artifact that is fine-tuned with another recipe keeps its own way of subtracting the mean."""
    trainer = make(recipe=options(name="source"), run=RunOptions(init_from=artifact.path), network=NetworkOptions())
    assert trainer.initial.spec.config.mean == "own"
    assert trainer.engine.augmentation.recipe.network.mean == "own"


def test_frozen_layers_stay_and_slow_ones_move_less(make: Make) -> None:
    trainer = make(run=RunOptions(frozen=("conv1", "conv2"), lr_multipliers={"fc6": 0.001}))
    before = weights(trainer)
    trainer.fit()
    moved = {name: float((tensor - before[name]).abs().max()) for name, tensor in weights(trainer).items()}
    assert moved["conv1.weight"] == moved["conv2.bias"] == 0
    assert 0 < moved["fc6.weight"] < moved["fc8.weight"] / 10


def test_a_full_disk_loses_nothing(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make(recipe=options(epochs=2))
    trainer.save()
    (tmp_path / f"{CHECKPOINT}.partial").symlink_to("/dev/full")  # each write fails: no space left
    trainer.fit()
    assert "the previous one is kept; the run continues and tries again" in capsys.readouterr().out
    assert checkpoint(tmp_path)["epoch"] == 2  # the second try succeeded


@pytest.mark.parametrize(("batch_size", "epochs", "calls"), [(32, 4, 0), (1, 5, 1)])
def test_a_run_of_many_steps_uses_huge_pages_once(
    make: Make, monkeypatch: pytest.MonkeyPatch, batch_size: int, epochs: int, calls: int
) -> None:
    made: list[int] = []

    def use_huge_pages() -> int:
        made.append(trainer.step)
        return 0

    monkeypatch.setattr("training.loop.trainer.use_huge_pages", use_huge_pages)
    trainer = make(recipe=options(batch_size=batch_size, epochs=epochs))
    trainer.fit()
    assert made == [3] * calls


def test_compiling_is_for_a_gpu() -> None:
    with pytest.raises(TrainingError, match="--compile needs a GPU"):
        train_run(TrainConfig.create(environment=Environment(compile=True, device="cpu")))
