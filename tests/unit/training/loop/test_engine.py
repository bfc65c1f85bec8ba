"""Steps of an epoch and validation: the errors they report, and which images and weights they see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.datasets.listing import Skipped
from model.network.torch_module import ForwardOutput
from tests.helpers.trainers import Make, options
from training.data.augment import shuffle_rows
from training.data.cache import ImageCache
from training.data.folders import load_folder
from training.data.loader import micro_batches
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
