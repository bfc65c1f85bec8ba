"""The command `alexnet`, run in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from alexnet.cli import app as cli


def invoke(*words: object) -> str:
    """Run a command that succeeds; what it prints on standard output."""
    result = CliRunner().invoke(cli.app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout
