"""`alexnet pack`: a trained network made small enough for git, and an ordinary artifact of it.

Han et al. 2016, "Deep Compression": the smallest weights of the large fully connected layers are set to zero, the rest
are fine-tuned, rounded to a few levels, and entropy-coded (see `model.network.compression`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.artifacts.measurements import format_measurements
from model.artifacts.packed import PACKED, write_bundle
from model.network.compression import MAX_CONV_LEVEL, MAX_LINEAR_LEVEL, pack
from training.evaluation.baselines import read_baselines, write_baselines
from training.loop.checkpoint_state import CheckpointState, initial_from_checkpoint
from training.loop.distributed import DistributedContext
from training.loop.metrics import copy_metrics, run_seconds
from training.loop.run_directory import RunDirectory
from training.loop.runtime import pick_device
from training.loop.setup import set_up
from training.loop.trainer import Trainer
from training.optim.initial_weights import InitialState
from training.optim.pruning import pruning_masks
from training.publish.earlier_versions import better_version_note
from training.publish.export_run import export_and_publish, report
from training.recipes import NEVER

DENSITY, EPOCHS = 0.12, 8
"""Defaults: the share of the weights of fc6 and fc7 that is kept, and the epochs after pruning."""


def pack_run(
    run: Path,
    output: Path,
    density: float | None,
    epochs: int | None,
    learning_rate: float,
    log: Callable[[str], None],
) -> Artifact:
    """Prune, fine-tune, round, measure, publish and pack the network of a run.

    `density`: the share of the weights of fc6 and fc7 that is kept, by default 0.12. `epochs`: at `learning_rate`, by
    default 8; a quarter as many follow at a tenth of it. If the recipe pruned the network during training, the defaults
    are the weights that were left then, and no epochs. `output`: the folder for the bundle (`model.artifacts.packed`).
    If packing is stopped, it has to start from the beginning. Raises AlexNetError.
    """
    config = RunDirectory(run).read_config()
    output.mkdir(parents=True, exist_ok=True)  # before training, which would be lost if this failed
    context = DistributedContext(torch.device(pick_device(config.environment.device)))
    sparse = config.recipe.pruning is not None and density is None
    epochs = (0 if sparse else EPOCHS) if epochs is None else epochs
    published = RunDirectory(run).artifact()  # a checkpoint has the last epoch's weights, not always those published
    start = None if published is None else artifacts.load(published)
    initial = None if start is None else InitialState.from_published(start)
    with set_up(config, context, run, initial) as trained, RunDirectory(run / "packing") as packing:
        packing.claim(trained.config, trained.dataset, resumed=False)  # what `alexnet report` reads
        write_baselines(packing.path, read_baselines(run))
        records = copy_metrics(run, packing.path)
        if start is not None:
            trained.epoch = int(start.manifest.training["epochs"])
            trained.clock.restore({"run_seconds": run_seconds(records), "epoch_seconds": 0.0})
        state = keep_pruned(trained) if sparse else prune(trained, DENSITY if density is None else density)
        phases = ((learning_rate, epochs), (learning_rate / 10, epochs // 4))
        for rate, num_epochs in phases:
            trainer = fine_tune(trained, packing, state, rate, num_epochs)
            state = trainer.state()
        note = {
            "run": run.resolve().name,  # which has the split
            "recipe": asdict(trained.recipe),  # the trainer's own is that of the epochs after pruning
            "packing": _describe_packing(state["pruning_masks"], epochs, learning_rate),
        }
        packed = output / PACKED
        artifact, predictions = export_and_publish(
            trainer, state["weights"], note, lambda network: pack(network, packed)
        )
        packing.write_artifact(artifact)
        packing.remove_checkpoints()
        report(trainer, artifact, predictions, trained.config)
    if better := better_version_note(artifact):
        log(f"warning: {better}")
    write_bundle(artifact, output)  # packed again: its graph has a temperature now
    log(format_measurements(artifact.manifest.measurements))
    log(f"packed: {packed}, {packed.stat().st_size:,} bytes; artifact: {artifact.path}")
    return artifact


def _describe_packing(masks: Mapping[str, Tensor], epochs: int, learning_rate: float) -> dict[str, Any]:
    """How a network was packed, for the manifest."""
    return {
        "density": {name.partition(".")[0]: round(float(mask.mean()), 4) for name, mask in masks.items()},
        "epochs": epochs,
        "learning_rate": learning_rate,
        "levels": {"convolutions": 2 * MAX_CONV_LEVEL + 1, "fully connected": 2 * MAX_LINEAR_LEVEL + 1},
    }


def keep_pruned(trainer: Trainer) -> CheckpointState:
    """The trainer's state, with masks that keep pruned weights at zero in the layers that its recipe pruned."""
    state, pruning = trainer.state(), trainer.recipe.pruning
    assert pruning is not None
    names = [f"{layer.name}.weight" for layer in trainer.initial.spec.linears if layer.name in pruning.density]
    masks = {name: (state["weights"][name] != 0).float() for name in names}
    return state | {"pruning_masks": masks, "densities": {}}  # the trainer's own pruning would replace the masks


def prune(trainer: Trainer, density: float) -> CheckpointState:
    """The trainer's state with all but the largest weights of fc6 and fc7 set to zero, and masks that keep them so.

    `density`: the share of its weights that each tower keeps, of each of the two layers.
    """
    state, spec = trainer.state(), trainer.initial.spec
    masks = pruning_masks(state["weights"], spec, dict.fromkeys(("fc6", "fc7"), density), spec.towers)
    weights, momenta = (
        {name: tensor * masks.get(name, 1) for name, tensor in tensors.items()}
        for tensors in (state["weights"], state["momenta"])
    )
    return state | {"weights": weights, "momenta": momenta, "pruning_masks": masks, "densities": {}}


def fine_tune(
    trained: Trainer, folder: RunDirectory, state: CheckpointState, learning_rate: float, epochs: int
) -> Trainer:
    """Train `epochs` more from `state` with a new trainer: all layers at a constant learning rate, on images as at the
    end of the run, without mixing."""
    recipe = replace(
        trained.config.recipe,
        epochs=state["epoch"] + epochs,
        learning_rate=learning_rate,
        minutes=0.0,
        warmup=0.0,
        schedule="plateau",
        patience=epochs + 1,
        max_drops=0,
        drop_by=(),
        early_anneal_epoch=NEVER,
        early_freeze_epoch=NEVER,
        mixing=None,
        pruning=None,
    )
    config = replace(trained.config, recipe=recipe, environment=replace(trained.config.environment, publish="last"))
    initial = initial_from_checkpoint(state)
    trainer = Trainer(config, trained.dataset, trained.cache, folder, trained.context, initial)
    trainer.load_optimizer(state)
    trainer.epoch = state["epoch"]
    trainer.clock.restore(state["clock"])
    trainer.fit()
    return trainer
