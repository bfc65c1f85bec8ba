"""Shared by the commands of experiments: options, errors on one line, training of a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from model.artifacts.artifact import Artifact
from model.exceptions import AlexNetError, StoppedError
from training.config import TrainConfig
from training.train import train

RESULTS = Path("runs/experiments")
"""Default folder of results; not docs/results, whose files have other settings."""
QUICK = "quick"
"""Folder in it for results of `--quick`, which must not be mistaken for others."""
OutputOption = Annotated[Path, typer.Option(help="Folder of the results.")]
CacheOption = Annotated[Path, typer.Option(help="Folder of decoded images.")]
ArchiveOption = Annotated[Path | None, typer.Option(help="Archive of the data set (default: it is downloaded).")]
CACHE = Path("cache")


def train_network(config: TrainConfig) -> Artifact:
    """Train a network of an experiment. Raises StoppedError."""
    try:
        artifact = train(config)
    except StoppedError:  # it names the command that resumes the run alone, whose folder is temporary
        raise StoppedError("stopped; finished runs are kept: resume with the same command") from None
    assert artifact is not None
    return artifact


def run(main: Callable[..., None]) -> None:
    """Run `main` with the options of the command line; an AlexNetError ends with exit status 1."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except AlexNetError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
