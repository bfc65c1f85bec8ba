"""Run commands of benchmarks and experiments: errors take one line, and a terminated benchmark stops its servers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import typer

from model.exceptions import AlexNetError

TERMINATED = 128 + signal.SIGTERM


def run_main(main: Callable[..., None]) -> None:
    """Run a benchmark by `run_typer`: an OSError also ends it in one line, and SIGTERM lets it clean up and exit."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))  # so that `finally` stops servers
    run_typer(main, AlexNetError, OSError)


def run_typer(main: Callable[..., None], *errors: type[Exception]) -> None:
    """Run `main` with the command line's options; one of `errors` ends it with a one-line message and exit status 1."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except errors as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
