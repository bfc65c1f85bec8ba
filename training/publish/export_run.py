"""A trained network becomes an artifact: exported, proven equal, measured as it is served, published; and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.artifacts.artifact import NETWORK, Artifact, Manifest
from model.artifacts.history import HISTORY, MOST_CLASSES, Epoch, History
from model.artifacts.writer import now, publish
from model.network.export import export
from model.network.torch_module import AlexNet
from model.runtime import OnnxModel
from training.data import cache as image_cache
from training.evaluation.evaluate import BATCH, Predictions, predict
from training.loop import metrics
from training.loop.trainer import Trainer
from training.publish import report
from training.publish.provenance import commit


def finish(
    trainer: Trainer,
    weights: Mapping[str, Tensor],
    extra: dict[str, Any] | None = None,
    round_weights: Callable[[Path], None] | None = None,
) -> Artifact:
    """Export the whole network's `weights`, measure, publish, and write the run's report.

    `extra` joins the manifest's account of the training; `round_weights` may change the exported file before it is
    measured.
    """
    chosen, dataset, cache = trainer.config, trainer.dataset, trainer.cache
    network = AlexNet(trainer.start.architecture)
    network.load_state_dict(weights)
    part = "test" if dataset.test else "validation"
    measured: list[Predictions] = []

    def write(folder: Path) -> Manifest:
        difference = export(network, cache.mean, folder / NETWORK)
        if round_weights is not None:
            round_weights(folder / NETWORK)
        measured.append(predictions(trainer, OnnxModel(folder / NETWORK), part))
        (folder / HISTORY).write_text(_history(trainer, measured[0], part).model_dump_json() + "\n")
        return Manifest(
            name=chosen.name,
            version=1,
            created=now(),
            classes=len(dataset.labels),
            feature_dim=trainer.start.architecture.hidden,
            architecture=asdict(trainer.start.architecture),
            parameters=sum(p.numel() for p in network.parameters()),
            license=dataset.license,
            training=provenance(trainer) | (extra or {}),
            measurements=measured[0].scores(f"{dataset.split}, {part}", dataset.groupings),
            export_difference=difference,
        )

    artifact = publish(chosen.artifacts, chosen.name, dataset.labels, write)
    report.write(trainer.run, artifact, dataset, cache, cache.rows(dataset, part), measured[0])
    return artifact


def predictions(trainer: Trainer, model: OnnxModel, part: str) -> Predictions:
    """What a served network says of one part of the trainer's images, out of the cache."""
    rows = trainer.cache.rows(trainer.dataset, part)
    batches = image_cache.batches(rows, BATCH)
    return predict(
        model,
        ((trainer.cache.images.read(some), trainer.learner.labels[some]) for some in batches),
        len(rows),
        trainer.config.measure == "ten",
    )


def _history(trainer: Trainer, predicted: Predictions, part: str) -> History:
    """The curves so far, and what is taken for what."""
    classes = len(trainer.dataset.labels)
    confusion = np.zeros((classes, classes), np.int64)
    if classes <= MOST_CLASSES:
        np.add.at(confusion, (predicted.labels, predicted.best.argmax(1)), 1)
    return History(
        epochs=[Epoch.model_validate(record) for record in metrics.read(trainer.run)],
        part=f"{trainer.dataset.split}, {part}",
        confusion=confusion.tolist() if classes <= MOST_CLASSES else [],
    )


def provenance(trainer: Trainer) -> dict[str, Any]:
    """How the network came about, for the manifest. No path of the machine is in it."""
    chosen = trainer.config
    return {
        "dataset": trainer.dataset.name,
        "split": trainer.dataset.split,
        "split_seed": chosen.split_seed,
        "split_sha256": trainer.dataset.split_sha256(),
        "images": {part: len(trainer.cache.rows(trainer.dataset, part)) for part in trainer.dataset.parts()},
        "skipped": len(trainer.cache.skipped),
        "recipe": asdict(trainer.recipe),
        "seed": chosen.seed,
        "started_from": trainer.start.origin,
        "layer_rates": dict(trainer.start.rates),
        "epochs": trainer.epoch,
        "precision": trainer.learner.precision,
        "processes": trainer.processes.size,
        "towers": chosen.towers,
        "device": torch.cuda.get_device_name()
        if trainer.learner.device.type == "cuda"
        else trainer.learner.device.type,
        "commit": commit(),
        "packages": {package: version(package) for package in ("torch", "onnx", "onnxruntime", "numpy", "pillow")},
    }
