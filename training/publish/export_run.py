"""A trained network becomes an artifact: exported, checked, measured as it is served, and published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.artifacts.artifact import NETWORK, Artifact, Calibration, Manifest
from model.artifacts.history import HISTORY, MAX_CONFUSION_CLASSES, Epoch, TrainingHistory
from model.artifacts.weights import write_kernels
from model.artifacts.writer import publish, utc_now
from model.network.export import export
from model.network.torch_module import AlexNet
from training.config import TrainConfig
from training.data.earlier_split import EARLIER
from training.data.traits import count_warning_bits
from training.evaluation.baselines import HOG, Baseline, as_served, measure_hog, read_baselines, write_baselines
from training.evaluation.evaluate import predict_split
from training.evaluation.predictions import Predictions
from training.loop.metrics import read_metrics
from training.loop.runtime import evaluation_device
from training.loop.status import stage
from training.loop.trainer import Trainer
from training.publish.calibrate import calibrate, open_with_logits
from training.publish.provenance import commit
from training.publish.report import write_report

PACKAGES = ("torch", "onnx", "onnxruntime", "numpy", "pillow")


def export_and_publish(
    trainer: Trainer,
    weights: Mapping[str, Tensor],
    extra: dict[str, Any] | None = None,
    round_weights: Callable[[Path], None] | None = None,
) -> tuple[Artifact, Predictions]:
    """Export the whole network's `weights`, calibrate, measure and publish: the artifact, and what was measured.

    `extra` is added to what the manifest records about the training. `round_weights` may change the exported file
    before it is measured. Raises AlexNetError.
    """
    config, dataset, cache = trainer.config, trainer.dataset, trainer.cache
    spec, split = trainer.initial.spec, dataset.held_out_split
    network = AlexNet(spec)
    network.load_state_dict(weights)
    baselines, measured = _measure_baselines(trainer), list[Predictions]()

    def write(folder: Path) -> Manifest:
        with stage("exporting the network, and comparing the export with it"):
            difference = export(network, cache.mean, folder / NETWORK)
            if round_weights is not None:
                round_weights(folder / NETWORK)
            write_kernels(folder)
        calibration = _calibrate(trainer, folder)
        with open_with_logits(folder / NETWORK, evaluation_device(config.environment.device)) as model:
            ten_crop = config.environment.crops == 10
            measured.append(predict_split(model, dataset, cache, split, ten_crop, calibration.temperature))
        (folder / HISTORY).write_text(_history(trainer, measured[0], split).model_dump_json() + "\n", "utf-8")
        return Manifest(
            name=config.run.name,
            version=1,
            created=utc_now(),
            num_classes=len(dataset.labels),
            feature_dim=spec.config.hidden,
            network=spec.config,
            parameters=sum(p.numel() for p in network.parameters()),
            image_contract=config.run.image_contract.name,
            license=combine_licenses(dataset.license, trainer.initial.origin_license),
            training=provenance(trainer) | {"baselines": [asdict(baseline) for baseline in baselines]} | (extra or {}),
            measurements=measured[0].measurements(f"{dataset.split_description}, {split}", dataset.groupings),
            calibration=calibration,
            export_difference=difference,
        )

    return publish(config.environment.artifacts_folder, config.run.name, dataset.labels, write), measured[0]


def report(trainer: Trainer, artifact: Artifact, predictions: Predictions, config: TrainConfig | None = None) -> None:
    """Write the report of a run that was published.

    `predictions`: of `export_and_publish`. `config`: of the training that is reported, by default the trainer's.
    """
    with stage("writing the report"):
        config = config or trainer.config
        write_report(trainer.run.path, config, artifact, trainer.dataset, trainer.cache, predictions)


def _calibrate(trainer: Trainer, folder: Path) -> Calibration:
    """Calibrate the network in `folder` on the images of the run; see `training.publish.calibrate.calibrate`."""
    dataset, cache, environment = trainer.dataset, trainer.cache, trainer.config.environment
    train, validation = (
        [dataset.examples[row] for row in cache.rows(dataset, name)] for name in ("train", "validation")
    )
    return calibrate(
        folder,
        train,
        validation,
        f"{dataset.split_description}, validation",
        trainer.config.run.image_contract,
        ten_crop=environment.crops == 10,
        device=evaluation_device(environment.device),
        limits=environment.limits,
    )


def _measure_baselines(trainer: Trainer) -> list[Baseline]:
    """The errors of baselines on the held-out images: those with the start network's features, and HOG."""
    baselines = [baseline for baseline in read_baselines(trainer.run.path) if baseline.method != HOG]
    with stage("measuring the HOG baseline"):
        cache = as_served(trainer.cache, trainer.config, trainer.dataset)
        baselines.append(measure_hog(trainer.dataset, cache, trainer.config.run.seed))
    write_baselines(trainer.run.path, baselines)
    return baselines


def _history(trainer: Trainer, predictions: Predictions, split: str) -> TrainingHistory:
    """The curves so far and the confusion matrix."""
    is_kept = len(trainer.dataset.labels) <= MAX_CONFUSION_CLASSES
    return TrainingHistory(
        epochs=[Epoch.model_validate(record) for record in read_metrics(trainer.run.path)],
        split=f"{trainer.dataset.split_description}, {split}",
        confusion=predictions.confusion().tolist() if is_kept else [],
    )


def combine_licenses(images: str, start: str) -> str:
    """The license of a network, from those of its training images and of the network it started from, if any."""
    if not start or start == images:
        return images
    return start if start.startswith(f"{images}; ") else f"{images}; {start} (of the network it started from)"


def provenance(trainer: Trainer) -> dict[str, Any]:
    """How the network was trained, for the manifest. It names no paths of this machine."""
    config, dataset, device = trainer.config, trainer.dataset, trainer.context.device
    return {
        "run": trainer.run.path.name,
        "dataset": dataset.name,
        "split": dataset.split_description,
        "split_method": config.run.split if config.run.split_from is None else EARLIER,
        "split_sha256": dataset.split_sha256(),
        "kept_splits": list(dataset.kept_splits),
        "images": {split: len(trainer.cache.rows(dataset, split)) for split in dataset.splits()},
        "data": dataset.summary(trainer.cache.skipped).to_json(),
        "image_warnings": count_warning_bits(trainer.cache.traits),
        "exclude": list(config.environment.exclude),
        "recipe": asdict(trainer.recipe),
        "seed": config.run.seed,
        "initialized_from": trainer.initial.origin,
        "start_license": trainer.initial.origin_license,
        "splits_of_ancestors": [list(split) for split in trainer.initial.splits],
        "lr_multipliers": dict(trainer.initial.lr_multipliers),
        "epochs": trainer.epoch,
        "precision": trainer.engine.precision,
        "processes": trainer.context.world_size,
        "processes_per_network": config.environment.processes_per_network,
        "device_cache": trainer.num_device_images,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "commit": commit(),
        "packages": {package: version(package) for package in PACKAGES},
    }
