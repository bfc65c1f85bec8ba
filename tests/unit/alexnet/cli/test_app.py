"""The shape of the command line: short commands, options that mean the same everywhere, help."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner

from alexnet.cli import app as cli

FOLDER = Path(cli.__file__).parent
MAX_LINES = 15
SHARED = {"--artifact", "--index", "--data", "--split", "--output", "--seed", "--device", "--precision", "--archive"}
OWN_HELP = {"train", "serve"}
"""Commands with more precisions, devices or seeds than the others, or with the server's descriptions."""


def all_commands() -> Iterator[tuple[str, TyperCommand]]:
    """Every command by its name, as typed."""
    group = get_command(cli.app)
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        members = command.commands if isinstance(command, TyperGroup) else {"": command}
        for part, member in members.items():
            assert isinstance(member, TyperCommand)
            yield f"{name} {part}".strip(), member


@pytest.mark.parametrize("module", [path for path in FOLDER.glob("*.py") if path.stem != "train"], ids=lambda p: p.stem)
def test_functions_are_short(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef) and module.stem not in ("app", "serve"):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0
            assert lines <= MAX_LINES, f"{module.stem}.{node.name} has {lines} lines: move its work to a library"


def test_shared_options_are_explained_once() -> None:
    texts: dict[str, set[str]] = {}
    for name, command in all_commands():
        for parameter in command.params:
            if isinstance(parameter, TyperOption) and name not in OWN_HELP:
                for option in SHARED & set(parameter.opts):
                    texts.setdefault(option, set()).add(parameter.help or "")
    assert texts.keys() == SHARED
    for option, help_texts in texts.items():
        # several artifacts; a folder of queries; a .json file, a folder of tables
        named = {"--artifact": 2, "--data": 2, "--output": 3}
        assert len(help_texts) <= named.get(option, 1), f"{option}: {help_texts}"


def test_help() -> None:
    names = {name for name, _ in all_commands()}
    assert {"train", "classify", "similar", "serve", "index add", "index merge", "codes train", "report"} <= names
    for name in names | {"", "index", "codes"}:
        result = CliRunner().invoke(cli.app, [*name.split(), "--help"], prog_name="alexnet")
        assert result.exit_code == 0, result.output
        assert f"Usage: alexnet {name}".strip() in " ".join(result.output.split())
