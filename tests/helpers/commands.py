"""The command `alexnet`, run in this process."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from alexnet.cli import app as cli


def invoke(*words: object) -> str:
    """Run a command that succeeds; what it prints on standard output."""
    result = CliRunner().invoke(cli.app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


def invoke_failing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object
) -> tuple[str, str, object]:
    """Run a command that fails; its standard output, its standard error, and its exit status."""
    monkeypatch.setattr(sys, "argv", ["alexnet", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr()
    return printed.out, printed.err, end.value.code
