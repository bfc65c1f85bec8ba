"""The command `alexnet`, run in this process."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from typer.testing import CliRunner

from alexnet.cli import app as cli


class Completed(NamedTuple):
    """Exit status and outputs of a command, named as subprocess names them."""

    returncode: int
    stdout: str
    stderr: str


def run_alexnet(*words: object, folder: Path | None = None) -> Completed:
    """Run a command in `folder`, whether it succeeds or fails."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["alexnet", *map(str, words)]),
        mock.patch.object(sys.modules["__main__"], "__package__", None),  # else it is called "python -m pytest"
        contextlib.chdir(folder or Path()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        cli.main()
    return Completed(int(end.value.code or 0), out.getvalue(), err.getvalue())


def invoke(*words: object) -> str:
    """Run a command that must succeed. Returns its standard output."""
    result = CliRunner().invoke(cli.app, [*map(str, words)])
    assert result.exit_code == 0, f"{result.output}{result.exception!r}"
    return result.stdout
