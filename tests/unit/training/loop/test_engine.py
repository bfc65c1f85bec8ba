"""Steps of an epoch and validation: losses, gradients and errors, and which images and weights they see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from model.artifacts.artifact import Artifact
from model.datasets.listing import Skipped
from model.network.torch_module import ForwardOutput
from tests.helpers.trainers import Make, options, weights
from training.config import NetworkOptions, RunOptions
from training.data.augment import shuffle_rows
from training.data.cache import ImageCache
from training.data.folders import load_folder
from training.data.loader import micro_batches
from training.data.mixing import draw_mix
from training.recipes import RECIPES


def scores(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, int]:
    """The sum of the cross-entropy of (N, classes) logits, and the number of wrong top-1 predictions."""
    places = np.arange(len(labels))
    losses = np.log(np.exp(logits).sum(1)) - logits[places, labels]
    return float(losses.sum()), int((logits.argmax(1) != labels).sum())


@pytest.mark.parametrize("micro_batch", [0, 5])
def test_validation_has_the_mean_loss_and_the_share_of_wrong_predictions(
    make: Make, cached: ImageCache, micro_batch: int
) -> None:
    engine = make(precision="float64", micro_batch=micro_batch).engine
    rows = np.random.default_rng(0).permutation(33)[:17]
    centers = cached.images.read(rows)[:, 16:240, 16:240] - cached.mean[16:240, 16:240].astype(np.float64)
    with torch.no_grad():
        logits = engine.network(torch.from_numpy(centers).permute(0, 3, 1, 2)).logits.numpy()
    loss, errors = scores(logits, engine.labels[rows])
    assert errors not in (0, 17)
    validation = engine.validate(rows)
    assert validation.loss == pytest.approx(loss / 17, rel=1e-6)
    assert validation.top1_error == errors / 17


def test_an_epoch_sums_the_losses_and_wrong_predictions_of_its_images(make: Make) -> None:
    """After each step; here in three steps of up to ten images, and passes of up to four."""
    trainer = make(recipe=options(batch_size=10), precision="float64", micro_batch=4)
    engine, order = trainer.engine, shuffle_rows(trainer.train_rows, 0, 0)
    logits, forward = list[torch.Tensor](), engine.forward

    def keep_logits(*given: Any) -> ForwardOutput:
        result: ForwardOutput = forward(*given)
        logits.append(result.logits.detach())
        return result

    engine.forward = keep_logits
    sums_after_steps = [sums.tolist() for _, sums in engine.run_epoch(order, 0, 0)]
    outputs = torch.cat(logits).numpy()
    assert len(outputs) == len(order) > 20
    assert len(sums_after_steps) == 3
    assert scores(outputs, engine.labels[order])[1] not in (0, len(order) / 2)
    for number, (loss, errors, images) in enumerate(sums_after_steps, 1):
        count = min(10 * number, len(order))
        expected_loss, expected_errors = scores(outputs[:count], engine.labels[order[:count]])
        assert loss == pytest.approx(expected_loss, rel=1e-9)
        assert (errors, images) == (expected_errors, count)


@pytest.mark.parametrize(("upright", "expected"), [(True, {0}), (False, {0, 1, 2, 3})])
def test_images_without_an_orientation_are_also_rotated(
    make: Make, few: Path, upright: bool, expected: set[int]
) -> None:
    recipe = options(random_crop=False, mirror=False, pca_color_std=0.0)
    trainer = make(recipe=recipe, dataset=replace(load_folder(few), upright=upright))
    engine, rows = trainer.engine, trainer.train_rows
    (centers,) = engine.loader.center_crops([rows], engine.augmentation)
    ((_, crops),) = engine.loader.train_crops([*micro_batches(rows, 32, 0, 0, 1, 0)], engine.augmentation, 0, 32)
    turns = [
        [number for number in range(4) if torch.equal(torch.rot90(center, number, (1, 2)), crop)]
        for center, crop in zip(centers, crops, strict=True)
    ]
    assert {number for (number,) in turns} == expected


def test_classes_are_weighted_by_their_training_images(make: Make, few: Path, cached: ImageCache) -> None:
    """Neither those of other splits nor those that were left out count."""
    rows = cached.rows(load_folder(few), "train")
    labels = make().engine.labels
    left_out = np.concatenate([rows[labels[rows] == 0][:6], rows[labels[rows] == 1][:3]])
    skipped = {int(row): Skipped("", "damaged images") for row in left_out}
    trainer = make(recipe=options(class_weights=True), cache=replace(cached, skipped=skipped))
    counts = np.bincount(labels[trainer.train_rows])
    assert len(set(counts)) == 3
    assert trainer.engine.class_weights is not None
    np.testing.assert_allclose(trainer.engine.class_weights, counts.sum() / (3 * counts), rtol=1e-6)


def test_nothing_is_pruned_before_the_start_of_pruning(make: Make) -> None:
    """Nor are there masks, with which every step would multiply all weights."""
    engine = make(recipe=options(name="photos")).engine
    pruning = RECIPES["photos"].pruning
    assert pruning is not None
    engine.prune(pruning.start - 0.001)
    assert engine.pruning_masks == engine.densities == {}
    engine.prune(pruning.start + 0.02)
    assert engine.pruning_masks.keys() == {"fc6.weight", "fc7.weight", "fc8.weight"}
    assert all(0.5 < density < 1 for density in engine.densities.values())


def test_a_mixed_batch_is_the_same_in_micro_batches(make: Make) -> None:
    trained = []
    for micro_batch in (0, 5):
        recipe = options(augment="boxes,mixup", batch_size=12)
        trainer = make(recipe=recipe, micro_batch=micro_batch, precision="float64")
        trainer.fit()
        trained.append(weights(trainer))
    for name, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][name], tensor, rtol=1e-6, atol=1e-8)


def test_gradients_of_micro_batches_add_up(make: Make) -> None:
    """The same steps whatever the number of images per forward pass."""
    trained = []
    for micro_batch in (0, 5):
        trainer = make(micro_batch=micro_batch, precision="float64")
        trainer.fit()
        trained.append(weights(trainer))
    for name, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][name], tensor, rtol=1e-10, atol=1e-12)


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


def test_frozen_layers_stay_and_slow_ones_move_less(make: Make) -> None:
    trainer = make(run=RunOptions(frozen=("conv1", "conv2"), lr_multipliers={"fc6": 0.001}))
    before = weights(trainer)
    trainer.fit()
    moved = {name: float((tensor - before[name]).abs().max()) for name, tensor in weights(trainer).items()}
    assert moved["conv1.weight"] == moved["conv2.bias"] == 0
    assert 0 < moved["fc6.weight"] < moved["fc8.weight"] / 10


def test_the_mean_is_the_network_s(make: Make, artifact: Artifact) -> None:
    """An artifact that is fine-tuned with another recipe keeps its own way of subtracting the mean."""
    trainer = make(recipe=options(name="source"), run=RunOptions(init_from=artifact.path), network=NetworkOptions())
    assert trainer.initial.spec.config.mean == "own"
    assert trainer.engine.augmentation.recipe.network.mean == "own"


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
