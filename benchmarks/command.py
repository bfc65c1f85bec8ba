"""How the commands of the benchmarks run: errors on one line, and one that is terminated stops what it has started."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import typer

from model.exceptions import AlexNetError

TERMINATED = 128 + signal.SIGTERM


def run(main: Callable[..., None]) -> None:
    """Run `main` with the options of the command line; an AlexNetError or OSError ends it with exit status 1."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))  # as Ctrl-C: `finally` stops servers
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except (AlexNetError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
