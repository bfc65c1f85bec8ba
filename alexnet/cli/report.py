"""`alexnet report`: the report of a training run, written again."""

from __future__ import annotations

import typer

from alexnet.cli.options import ArtifactOption, RunArgument


def report(run: RunArgument, artifact: ArtifactOption = None) -> None:
    """Measure the artifact of a run again and rewrite the run's report.html."""
    from training.publish.report import rewrite_report

    typer.echo(f"wrote {rewrite_report(run, artifact)}")
