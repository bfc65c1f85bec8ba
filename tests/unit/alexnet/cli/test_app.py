"""The shape of the command line: short commands, options that mean the same everywhere, help, completion."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner

from alexnet.cli import app as cli
from alexnet.cli.command_groups import first_sentence
from alexnet.cli.options import Precision
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from tests.helpers.commands import invoke

ALEXNET = Path(sys.executable).parent / "alexnet"
MAX_LINES = 15
SHARED = {
    "--artifact", "--index", "--data", "--split", "--output", "--seed", "--device", "--precision", "--archive",
    "--json", "--jsonl", "--csv", "--home", "--exclude", "--crops",
}  # fmt: skip
OWN_HELP = {"train", "serve"}
"""Commands with more precisions, devices or seeds than the others, or with the server's descriptions."""
HEAVY = ("numpy", "onnxruntime", "faiss", "torch", "pydantic", "fastapi", "PIL", "rich", "tqdm")
"""Packages that take longer to import than help may take."""


def all_commands() -> Iterator[tuple[str, TyperCommand]]:
    """Every command by its name, as typed."""
    group = get_command(cli.app)
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        members = command.commands if isinstance(command, TyperGroup) else {"": command}
        for part, member in members.items():
            assert isinstance(member, TyperCommand)
            yield f"{name} {part}".strip(), member


def test_commands_are_short() -> None:
    """They leave their work to a library."""
    for name, command in all_commands():
        if name not in OWN_HELP:
            (function,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(command.callback or main)))).body
            assert isinstance(function, ast.FunctionDef)
            lines = (function.body[-1].end_lineno or 0) - function.body[1].lineno + 1
            assert lines <= MAX_LINES, f"{name} has {lines} lines: move its work to a library"


def main() -> None:
    """Never inspected: every command has a function."""


def test_shared_options_are_explained_once() -> None:
    texts: dict[str, set[str]] = {}
    for name, command in all_commands():
        for parameter in command.params:
            if isinstance(parameter, TyperOption) and name not in OWN_HELP:
                for option in SHARED & set(parameter.opts):
                    texts.setdefault(option, set()).add(parameter.help or "")
    assert texts.keys() == SHARED
    for option, help_texts in texts.items():
        # --artifact: one, several, the one whose contract `check` uses, a run's; --data: labeled images, queries, the
        # demo's data; --output: what is written, and whether to a file or a folder; --home: the usual one, the demo's
        named = {"--artifact": 4, "--data": 3, "--output": 5, "--home": 2}
        assert len(help_texts) <= named.get(option, 1), f"{option}: {help_texts}"


def test_where_an_index_is_named_so_is_the_network_that_it_belongs_to_by_default() -> None:
    """The same options and environment variables name the same network as in `alexnet index add`."""
    indexing = {
        name: {option: parameter.envvar for parameter in command.params for option in parameter.opts}
        for name, command in all_commands()
        if any("--index" in parameter.opts for parameter in command.params) and name != "serve"  # uses settings instead
    }
    assert len(indexing) >= 14
    for name, options in indexing.items():
        for option in ("--artifact", "--precision", "--home"):
            assert options[option] == indexing["index add"][option], f"{name} {option}"


@pytest.mark.parametrize("help_option", ["--help", "-h"])
def test_help(help_option: str) -> None:
    names = {name for name, _ in all_commands()}
    assert {"train", "classify", "similar", "serve", "index add", "index merge", "codes train", "report"} <= names
    for name in names | {"", "index", "codes"}:
        result = CliRunner().invoke(cli.app, [*name.split(), help_option], prog_name="alexnet")
        assert result.exit_code == 0, result.output
        assert result.output.startswith(f"Usage: alexnet {name}".strip())
        assert max(len(line) for line in result.output.splitlines()) <= 80, name


def test_a_group_without_a_command_prints_its_help() -> None:
    for name in ([], ["index"]):
        assert invoke(*name) == invoke(*name, "--help")


def test_every_option_says_what_it_does() -> None:
    for name, command in all_commands():
        for parameter in command.params:
            help_text = (getattr(parameter, "help", "") or "").partition("  [default: ")[0]
            assert help_text.endswith((".", ").")), f"{name} {parameter.name}: {help_text!r}"
            assert len(help_text.split()) >= 2, f"{name} {parameter.name}: {help_text!r}"


def test_summaries_are_the_first_sentences_of_the_commands() -> None:
    group = get_command(cli.app)
    assert isinstance(group, TyperGroup)
    for name, command in cli.Commands.table.items():
        assert first_sentence(group.commands[name].help or "") == command.summary, name


def test_choices_are_listed_with_their_default() -> None:
    printed = " ".join(invoke("classify", "--help").split())
    assert "--device <auto|cpu|cuda>" in printed
    assert "--crops <1|10>" in printed
    assert "[default: 10]" in printed
    assert Precision == artifacts.Precision
    serve = " ".join(invoke("serve", "--help").split())
    assert "until the listener closes. [default: 0.0]" in serve
    assert "[default: False]" not in serve


def test_version() -> None:
    assert invoke("--version") == invoke("-V") == f"alexnet-server {version('alexnet-server')}\n"


def test_names_that_the_terminal_can_not_show(tmp_path: Path) -> None:
    terminal = {"PYTHONIOENCODING": "iso-8859-1"}
    (tmp_path / "机").mkdir()
    done = subprocess.run(
        [ALEXNET, "check", "--data", tmp_path / "机"], env=os.environ | terminal, capture_output=True, check=False
    )
    assert rb"\u673a" in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr


def test_a_name_that_is_not_utf8_is_printed_as_its_bytes(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    """Most UTF-8 locales make standard output strict, so the command used to end with a traceback."""
    image = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    shutil.copy(few / "circles" / "00.jpg", image)
    command: list[str | Path] = [ALEXNET, "classify", "--artifact", artifact.path, "--csv", image]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, env=strict, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert os.fsencode(image) + b",1," in done.stdout


def test_help_imports_little() -> None:
    """`alexnet --help` answers at once, although commands use large packages."""
    code = (
        "import sys; from typer.testing import CliRunner; from alexnet.cli.app import app; "
        "result = CliRunner().invoke(app, ['--help']); assert 'classify' in result.output; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_bash_completes_commands_and_options() -> None:
    """Bash runs the script that `alexnet --show-completion` prints."""
    path = f"{ALEXNET.parent}:{os.environ['PATH']}"
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "PATH": path}
    script = subprocess.run(
        [ALEXNET, "--show-completion", "bash"], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    (function,) = [line.split("()")[0] for line in script.splitlines() if line.endswith("() {")]
    for words, expected in (("alexnet cla", "classify\n"), ("alexnet index dup", "duplicates\n")):
        complete = f"COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}; {function} alexnet; "
        done = subprocess.run(
            ["/bin/bash", "-c", f'{script}\n{complete}printf "%s\\n" "${{COMPREPLY[@]}}"'],
            env=environment, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert done.stdout == expected
