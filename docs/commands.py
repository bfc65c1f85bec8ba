"""`python docs/commands.py`: write docs/commands.md, every command of `alexnet` with its options, from the program.

`tests/project/test_commands_page.py` fails when it is out of date.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from alexnet.cli.app import Commands, app

PAGE = Path(__file__).with_name("commands.md")
INTRODUCTION = """# Commands

<!-- written by docs/commands.py from the commands themselves -->

`alexnet COMMAND --help` (or `-h`) prints what is below. `python -m alexnet` is the same program, and
`alexnet --version` prints its version.

**Exit status.** 0: success. 1: an error, or an image given to `classify`, `similar` or `features` was skipped. 2: the
command line was not understood. 130: stopped by Ctrl-C or SIGTERM; servers end with 0 then. An error is one line on
standard error, followed by a hint.

**Output.** Results go to standard output, everything else (progress, warnings, what was skipped) to standard error.
With `--json` a command prints one JSON document. Where there can be many results, they are the list `results` of that
document, and `--jsonl` prints one JSON object per line instead, `--csv` a table with a line of column names.

**Completion.** `alexnet --install-completion` makes the Tab key complete commands, options and choices in bash, zsh,
fish and PowerShell; it adds a line to the startup file of your shell. `alexnet --show-completion` only prints the
script.
"""


def main() -> None:
    PAGE.write_text("\n".join(commands_page()), encoding="utf-8")


def commands_page() -> Iterator[str]:
    """Every command, in the order and the sections of `alexnet --help`."""
    yield INTRODUCTION
    group = get_command(app)
    section = ""
    for name, entry in Commands.table.items():
        if entry.section != section:
            section = entry.section
            yield f"## {section}\n"
        command = group.commands[name]  # type: ignore[attr-defined]
        yield from _command(name, command)
        for part, member in command.commands.items() if isinstance(command, TyperGroup) else ():
            yield from _command(f"{name} {part}", member)


def _command(name: str, command: Any) -> Iterator[str]:
    context = command.make_context(f"alexnet {name}", [], resilient_parsing=True, help_option_names=["-h", "--help"])
    yield f"### alexnet {name}\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        marker, _, lines = paragraph.partition("\n")
        if marker.strip() == "\b":
            title, *examples = lines.splitlines()
            code = "\n".join(line.strip() for line in examples)
            yield f"{title}\n\n```sh\n{code}\n```\n"
        else:
            yield f"{' '.join(paragraph.split())}\n"
    if isinstance(command, TyperGroup):
        return
    yield f"```text\n{' '.join([f'alexnet {name}', *command.collect_usage_pieces(context)])}\n```\n"
    yield "| option | meaning |\n|---|---|"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and parameter.name != "help":
            term = f"{parameter.metavar}" if parameter.param_type_name == "argument" else record[0]
            yield f"| `{_escape(term)}` | {_escape(record[1]).replace('  [', ' [')} |"
    yield ""


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
