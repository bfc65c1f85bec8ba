"""Group commands: their help is plain text in sections, and each is imported only when it is used.

Plain text instead of typer's panels: importing what draws panels takes longer than `alexnet --help` may take in all.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

Context = Any
Formatter = Any
AnyCommand = Any
"""Classes that typer doesn't export."""


MAX_TERM_WIDTH = 30
"""Width of the first column of a help page; a longer term gets its own line."""


class LazyCommand(NamedTuple):
    """A command that is imported when it is used.

    `target`: MODULE:NAME of a function or a `typer.Typer`. `section`: of the help page. `summary`: first sentence of
    its help.
    """

    target: str
    section: str
    summary: str


class Command(TyperCommand):
    """A command whose help lists its options in sections."""

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        pieces: list[str] = super().collect_usage_pieces(ctx)
        return [re.sub(r"[{}]", "", piece) for piece in pieces]

    def format_options(self, ctx: Context, formatter: Formatter) -> None:
        _write_parameters(self, ctx, formatter)

    def format_help_text(self, ctx: Context, formatter: Formatter) -> None:
        _write_text(formatter, self.help or "")


class Group(TyperGroup):
    """A group whose help lists its commands in sections; without a command, it prints its help."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit()
        option = args[0].partition("=")[0] if args else ""
        if option.startswith("--") and (name := self._command_with(option, ctx)):
            raise typer.TyperException(f"{option} is an option of a command: {ctx.command_path} {name} {option}")
        return super().parse_args(ctx, args)

    def _command_with(self, option: str, ctx: Context) -> str | None:
        """The first command that has this option; None for a help option, which the group has, too."""
        if option in ctx.help_option_names:
            return None
        commands = self.commands.items()
        return next((name for name, one in commands if any(option in param.opts for param in one.params)), None)

    def format_options(self, ctx: Context, formatter: Formatter) -> None:
        _write_sections(formatter, self.summaries(ctx))
        _write_parameters(self, ctx, formatter)

    def summaries(self, ctx: Context) -> Iterator[tuple[str, tuple[str, str]]]:
        """Section, name and first sentence of every command."""
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            assert command is not None
            yield getattr(command, "rich_help_panel", None) or "Commands", (name, first_sentence(command.help or ""))


class LazyGroup(Group):
    """A group of commands that are imported when they are used. `table`: all of them, by name."""

    table: dict[str, LazyCommand] = {}  # noqa: RUF012 - a subclass has its own

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _LazyCommands(self.table)

    def _command_with(self, option: str, ctx: Context) -> None:
        """None: commands aren't imported just to look at their options."""

    def get_command(self, ctx: Context, cmd_name: str) -> AnyCommand | None:
        return self.commands[cmd_name] if cmd_name in self.table else None

    def list_commands(self, ctx: Context) -> list[str]:
        return list(self.table)

    def summaries(self, ctx: Context) -> Iterator[tuple[str, tuple[str, str]]]:
        for name, command in self.table.items():
            yield command.section, (name, command.summary)


class _LazyCommands(MutableMapping[str, Any]):
    """The commands of a table by name; each is imported on first access."""

    def __init__(self, table: dict[str, LazyCommand]) -> None:
        self._table, self._imported = table, dict[str, AnyCommand]()

    def __getitem__(self, name: str) -> AnyCommand:
        if name not in self._imported:
            self._imported[name] = _import_command(name, self._table[name])
        return self._imported[name]

    def __setitem__(self, name: str, command: AnyCommand) -> None:
        raise TypeError("commands are those of the table")

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands are those of the table")

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def new_app(**options: Any) -> typer.Typer:
    """An empty `typer.Typer` with this program's kind of help and errors."""
    settings: dict[str, Any] = {"cls": Group, "add_completion": False, "no_args_is_help": True}
    return typer.Typer(**settings | options, pretty_exceptions_enable=False, rich_markup_mode=None)


def add_command(app: typer.Typer, function: Callable[..., Any], name: str | None = None, section: str = "") -> None:
    """Add a command to an app. `section`: of the help."""
    app.command(name=name, cls=Command, rich_help_panel=section or None)(function)


def add_commands(app: typer.Typer, section: str, *functions: Callable[..., Any]) -> None:
    """Add commands, named like their functions, to a section of an app."""
    for function in functions:
        add_command(app, function, section=section)


def first_sentence(text: str) -> str:
    """The first sentence of a help text, without its full stop."""
    paragraph = " ".join(text.strip().partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".")


def _import_command(name: str, command: LazyCommand) -> AnyCommand:
    module, _, attribute = command.target.partition(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        app = new_app(no_args_is_help=False)
        add_command(app, target, name)
        target = app
    result = get_command(target)
    result.name = name
    return result


def _write_parameters(command: TyperCommand | TyperGroup, ctx: Context, formatter: Formatter) -> None:
    """Write the arguments, then the options in the order of their sections."""
    records = []
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        if parameter.param_type_name == "argument":
            name = f"{parameter.metavar}{'' if parameter.nargs == 1 else '...'}"
            records.append(("Arguments", (name, record[1].removesuffix("  [required]"))))
        else:
            records.append((getattr(parameter, "rich_help_panel", None) or "Options", record))
    _write_sections(formatter, sorted(records, key=lambda record: record[0] != "Arguments"))


def _write_sections(formatter: Formatter, rows: Iterable[tuple[str, tuple[str, str]]]) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for section, row in rows:
        sections.setdefault(section, []).append(row)
    for section, terms in sections.items():
        with formatter.section(typer.style(section, bold=True)):
            _write_terms(formatter, terms)


def _write_terms(formatter: Formatter, terms: Sequence[tuple[str, str]]) -> None:
    """Write terms and their explanations in two columns. Unlike typer's own, words aren't broken at hyphens."""
    start = min(max(len(term) for term, _ in terms), MAX_TERM_WIDTH) + 4
    for term, text in terms:
        head = f"  {term}"
        if len(head) > start - 2:
            formatter.write(f"{head}\n")
            head = ""
        for line in _wrap(text, formatter.width - start) or [""]:
            formatter.write(f"{head:{start}}{line}\n")
            head = ""


def _write_text(formatter: Formatter, text: str) -> None:
    """Write paragraphs, wrapped; a paragraph whose first line is `\\b` keeps its line breaks."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        marker, _, lines = paragraph.partition("\n")
        kept = marker.strip() == "\b"
        formatter.write("\n")
        for line in lines.splitlines() if kept else _wrap(" ".join(paragraph.split()), formatter.width - 2):
            formatter.write(f"  {line}\n")


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 20), break_on_hyphens=False, break_long_words=False)
