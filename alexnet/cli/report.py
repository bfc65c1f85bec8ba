"""`alexnet report`: write the report of a training run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alexnet.cli.browser import OpenReportOption, open_in_browser
from alexnet.cli.options import RunArgument


def report(
    run: RunArgument,
    artifact: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Artifact to measure (default: the one that the run published).",
            show_default=False,
        ),
    ] = None,
    open_: OpenReportOption = False,
) -> None:
    """Rewrite the report of a training run.

    Measures the run's artifact on the held-out images, and writes report.html to the run's folder. Needs the extra
    `train`.
    """
    from training.publish.report import rewrite_report

    path = rewrite_report(run, artifact).resolve()
    typer.echo(f"report: {path.as_uri()}")
    if open_:
        open_in_browser(path.as_uri())
