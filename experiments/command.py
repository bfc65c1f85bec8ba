"""Shared by the commands of experiments: options, errors on one line, training of a network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from model.artifacts.artifact import Artifact, Measurement
from model.exceptions import AlexNetError, StoppedError
from training.config import TrainConfig
from training.loop.run_directory import CHECKPOINT, resume_config
from training.train import train

RESULTS = Path("runs/experiments")
"""Default folder of results; not docs/results, whose files have other settings."""
QUICK = "quick"
"""Folder in it for results of `--quick`, which must not be mistaken for others."""
OutputOption = Annotated[Path, typer.Option(help="Folder of the results.")]
CacheOption = Annotated[Path, typer.Option(help="Folder of decoded images.")]
ArchiveOption = Annotated[Path | None, typer.Option(help="Archive of the data set (default: it is downloaded).")]
CACHE = Path("cache")


def train_network(config: TrainConfig, resume: Path | None = None) -> Artifact:
    """Train a network of an experiment, or resume the run in the folder `resume`. Raises StoppedError."""
    try:
        artifact = train(config, resume)
    except StoppedError:  # it names the command that resumes the run alone, not the experiment
        raise StoppedError("stopped; finished runs are kept: resume with the same command") from None
    assert artifact is not None
    return artifact


def train_or_resume(config: TrainConfig) -> tuple[Artifact, Path]:
    """The artifact of a run and its folder; one that was stopped before is resumed.

    The folder of runs must be this run's own.
    """
    folder = config.environment.runs_folder
    runs = [run for run in folder.iterdir() if (run / CHECKPOINT).is_file()] if folder.is_dir() else []
    if runs:
        return train_network(resume_config(runs[0], config.environment, set()), runs[0]), runs[0]
    shutil.rmtree(folder, ignore_errors=True)
    artifact = train_network(config)
    (run,) = folder.iterdir()
    return artifact, run


def run_folder(name: str) -> str:
    """The name of a run of an experiment as the name of a folder."""
    return re.sub(r"\W+", "-", name)


def list_errors(measurements: Sequence[Measurement]) -> dict[str, list[float]]:
    """Number of crops -> top-1 and top-5 error from 0 to 1."""
    return {f"{m.crops}": [m.top1_error, m.top5_error or 0.0] for m in measurements}


def run(main: Callable[..., None]) -> None:
    """Run `main` with the options of the command line; an AlexNetError ends with exit status 1."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except AlexNetError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
