"""A run as one self-contained page, `report.html` in its folder, and as `report.json`. `alexnet report RUN` writes them
again."""

from __future__ import annotations

from pathlib import Path

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, list_artifacts
from model.exceptions import DatasetError
from model.files import atomic_write
from model.runtime import OnnxModel
from model.shell_command import Command
from training.config import Environment, TrainConfig
from training.data.cache import ImageCache
from training.data.data_check import check_images
from training.data.datasets import Dataset
from training.data.training_data import has_other_split
from training.evaluation.baselines import read_baselines
from training.evaluation.evaluate import predict_split
from training.evaluation.predictions import Predictions, write_tables
from training.loop.metrics import read_metrics, run_seconds
from training.loop.run_directory import RunDirectory
from training.loop.runtime import evaluation_device
from training.loop.setup import open_cache, open_dataset
from training.publish.page import page
from training.publish.report_sections import list_sections
from training.publish.summary import RunSummary, majority_class_baseline, next_commands

REPORT = "report.html"


def rewrite_report(run: Path, artifact: Path | None = None) -> Path:
    """Measure the artifact of a run again, and rewrite the run's report. Returns the report's path.

    `artifact`: by default the run's own. Raises AlexNetError.
    """
    directory = RunDirectory(run)
    config = directory.read_config()
    environment = config.environment
    loaded = artifacts.load(artifact or directory.artifact() or _find_artifact(run, environment, config.run.name))
    dataset = open_dataset(config, run)
    _check_measurable(loaded, run, config, dataset)
    cache = open_cache(config, dataset)
    model = OnnxModel(loaded.network_path, evaluation_device(environment.device))
    predictions = predict_split(model, dataset, cache, dataset.held_out_split, environment.crops == 10)
    return write_report(run, config, loaded, dataset, cache, predictions)


def _find_artifact(run: Path, environment: Environment, name: str) -> Path:
    """The newest artifact whose manifest names this run, if the one it noted is missing. Raises DatasetError."""
    own = [
        (manifest.version, folder)
        for folder, manifest in list_artifacts(environment.artifacts_folder / name)[0]
        if manifest.training.get("run") == run.resolve().name
    ]
    if not own:
        command = Command("train", "--finish", run)
        raise DatasetError(
            f"the run in {run} has no artifact in {environment.artifacts_folder / name}: publish its checkpoint with "
            f"`{command}`, or pass its artifact with --artifact"
        )
    return max(own)[1]


def _check_measurable(artifact: Artifact, run: Path, config: TrainConfig, dataset: Dataset) -> None:
    """Raise DatasetError unless the artifact can be measured on the held-out images of the run."""
    data = config.environment.data
    if artifact.labels != dataset.labels:
        raise DatasetError(f"the classes of {data} differ from those of {artifact.path}")
    if has_other_split(artifact, dataset):
        raise DatasetError(
            f"{data} is split differently than in the training of {artifact.path}, which may have seen the images that "
            "would be measured: files were added or removed, or it is the network of another run; measure it with "
            "`alexnet evaluate`"
        )
    if artifact.image_contract != config.run.image_contract:
        raise DatasetError(
            f"{artifact.path} reads images differently from the run in {run} ({artifact.image_contract.name}, "
            f"{config.run.image_contract.name}): measure it with `alexnet evaluate`"
        )


def write_report(
    folder: Path,
    config: TrainConfig,
    artifact: Artifact,
    dataset: Dataset,
    cache: ImageCache,
    predictions: Predictions,
) -> Path:
    """Write report.html, report.json, predictions.csv and per_class.csv of a run into its folder; the report's path.

    `predictions`: of the held-out split, in its order.
    """
    write_tables(folder, predictions, dataset.labels)
    summary = _summarize(folder, config, artifact, dataset, cache, predictions)
    summary.write(folder)
    sections = list_sections(summary, config, folder, dataset, cache, predictions)
    target = folder / REPORT
    with atomic_write(target, "wb") as file:
        text = page(f"{artifact.manifest.name} version {artifact.manifest.version}", sections)
        file.write(text.encode("utf-8", "surrogateescape"))  # commands with paths as they are on the disk
    return target


def _summarize(
    folder: Path,
    config: TrainConfig,
    artifact: Artifact,
    dataset: Dataset,
    cache: ImageCache,
    predictions: Predictions,
) -> RunSummary:
    """The result in numbers, with baselines; and what comes next."""
    check = check_images(dataset, cache.traits, cache.skipped, cache.copies)
    records, split = read_metrics(folder), dataset.held_out_split
    num_train, num_held_out = [size.train for size in check.sizes], [size.count(split) for size in check.sizes]
    return RunSummary(
        artifact=artifact,
        measured=predictions.measurements(f"{dataset.split_description}, {split}", dataset.groupings)[-1],
        split=split,
        baselines=[*read_baselines(folder), majority_class_baseline(split, num_train, num_held_out)],
        check=check,
        epochs=int(records[-1]["epoch"]) if records else 0,  # some lines may be damaged
        seconds=run_seconds(records),
        commands=[
            *next_commands(artifact.path, config),
            ("write this report again", str(Command("report", folder))),
        ],
    )
