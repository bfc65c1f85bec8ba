"""An experiment as a program: what goes wrong is one line on standard error, as in `alexnet`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from model.artifacts.artifact import Artifact
from model.exceptions import AlexNetError, StoppedError
from training.config import RunConfig
from training.run import main as train

RESULTS = Path("runs/experiments")
"""Not docs/results, whose files other settings made."""
OutputOption = Annotated[Path, typer.Option(help="Where the results go.")]
QUICK = "quick"
"""The folder in it of trials: they can't be taken for results, nor stand in their way."""


def trained(chosen: RunConfig) -> Artifact:
    """One of an experiment's networks. Raises StoppedError."""
    try:
        artifact = train(chosen)
    except StoppedError:  # which says how to go on with the run alone, whose folder is gone now
        raise StoppedError("stopped; the runs before this one are kept: go on with the same command") from None
    assert artifact is not None
    return artifact


def run(main: Callable[..., None]) -> None:
    """Run `main` with the options of the command line; our own errors end with exit status 1."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except AlexNetError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
