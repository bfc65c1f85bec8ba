"""What the experiments' commands share: options, errors on one line, training a network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.command import run_typer
from model.artifacts.artifact import Measurement
from model.exceptions import AlexNetError, StoppedError
from training.config import TrainConfig
from training.loop.run_directory import CHECKPOINT, resume_config
from training.train import FinishedRun, train_run

RESULTS = Path("runs/experiments")
"""Default folder of results; not docs/results, whose files have other settings."""
QUICK = "quick"
"""Subfolder for results of `--quick`, which must not be mistaken for real ones."""
OutputOption = Annotated[Path, typer.Option(help="Folder for the results.")]
CacheOption = Annotated[Path, typer.Option(help="Folder of decoded images.")]
ArchiveOption = Annotated[Path | None, typer.Option(help="Archive of the data set (default: download it).")]
ThreadsOption = Annotated[int, typer.Option(min=0, help="CPU threads; 0 chooses them by a short trial.")]
CACHE = Path("cache")


def train_or_resume(config: TrainConfig) -> FinishedRun:
    """Train a network of an experiment, or resume its run if it was stopped. Raises StoppedError.

    The folder of runs must belong to this run alone (`run_home`).
    """
    folder = config.environment.runs_folder
    resumed = next(folder.glob(f"*/{CHECKPOINT}"), None)
    if resumed is None:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        if resumed is None:
            finished = train_run(config)
        else:
            finished = train_run(resume_config(resumed.parent, config.environment, set()), resumed.parent)
    except StoppedError:  # its message would resume the run alone, not the experiment
        raise StoppedError("stopped; finished runs are kept: resume with the same command") from None
    assert finished is not None
    return finished


@contextmanager
def run_home(folder: Path, name: str) -> Iterator[Path]:
    """A folder below `folder` for the files of one run: deleted after the block, but kept if the run is stopped or
    fails, so that it can be resumed."""
    home = folder / re.sub(r"\W+", "-", name)
    yield home
    shutil.rmtree(home)


def list_errors(measurements: Sequence[Measurement]) -> dict[str, list[float]]:
    """Number of crops -> top-1 and top-5 error from 0 to 1; top-5 is 0 with five classes or fewer."""
    return {f"{m.crops}": [m.top1_error, m.top5_error or 0.0] for m in measurements}


def run(main: Callable[..., None]) -> None:
    """Run `main` with the command line's options; an AlexNetError ends it with exit status 1."""
    run_typer(main, AlexNetError)
