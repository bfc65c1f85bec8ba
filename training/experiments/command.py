"""An experiment as a program: what goes wrong is one line on standard error, as in `alexnet`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from model.errors import AlexNetError

RESULTS = Path("runs/experiments")
"""Not docs/results, whose files other settings made."""
QUICK = "quick"
"""The folder in it of trials: they can't be taken for results, nor stand in their way."""


def run(main: Callable[..., None]) -> None:
    """Run `main` with the options of the command line; our own errors end with exit status 1."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except AlexNetError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
