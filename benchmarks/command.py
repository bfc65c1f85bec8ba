"""How commands of benchmarks and experiments run: errors on one line; a terminated benchmark ends its servers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import typer

from model.exceptions import AlexNetError

TERMINATED = 128 + signal.SIGTERM


def run_main(main: Callable[..., None]) -> None:
    """`run_typer` of a benchmark, which an OSError ends in the same way, and SIGTERM as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))  # so that `finally` stops servers
    run_typer(main, AlexNetError, OSError)


def run_typer(main: Callable[..., None], *errors: type[Exception]) -> None:
    """Run `main` with the options of the command line; one of `errors` ends it in one line, with exit status 1."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except errors as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
