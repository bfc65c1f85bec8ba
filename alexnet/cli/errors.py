"""Show errors to users: one line says what is wrong, another names the command that helps; set the exit status."""

from __future__ import annotations

import errno
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import typer

from model.exceptions import (
    AlexNetError,
    ArtifactError,
    DatasetError,
    DatasetNotFoundError,
    DeviceError,
    IndexNotFoundError,
    IndexStoreError,
    InvalidImageError,
    StoppedError,
)
from model.requirements import missing_package
from model.shell_command import alexnet_command

ADD_COMMAND = "alexnet index add --data"
"""The command as it stands in messages of the index, which don't know what the user typed."""
FAILED, WRONG_USAGE, STOPPED = 1, 2, 130
"""Exit statuses: an error, or an image that `classify`, `similar` or `features` skipped; a command line that isn't
understood; Ctrl-C or SIGTERM."""

_OS_HELP = {
    errno.EACCES: "choose a folder you can write to, for example with --home, or change its permissions",
    errno.EPERM: "choose a folder you can write to, for example with --home, or change its permissions",
    errno.EROFS: "this disk is read-only: choose another folder, for example with --home",
    errno.ENOSPC: "the disk is full: free some space, or choose a folder on another disk, for example with --home",
    errno.EDQUOT: "your disk quota is used up: free some space, or choose a folder on another disk, for example with "
    "--home",
    errno.EMFILE: "too many open files: raise the limit with `ulimit -n 4096`",
}


HELP: dict[type[AlexNetError], str] = {
    ArtifactError: "`alexnet train` and `alexnet pull` create an artifact; --artifact chooses another folder",
    DatasetError: "`alexnet check --data DATA` shows what is wrong with images",
    DeviceError: "--device cpu works everywhere",
    IndexStoreError: "`alexnet index add` builds an index, `alexnet index verify` checks one; --index chooses another",
    InvalidImageError: "convert it to JPEG or PNG",
}
"""Help by kind of error, for messages that name no command; other kinds get `COMMAND --help`."""


class Failure(NamedTuple):
    """An error as it is shown. `help`: the command that helps, or what to do; empty if the message says it. Commands in
    backticks are shown as the user can type them."""

    message: str
    help: str
    status: int = FAILED

    def __str__(self) -> str:
        text = f"{self.message}\nhelp: {self.help}" if self.help else self.message
        return text.replace("`alexnet ", f"`{alexnet_command()} ")


def run(command: Callable[..., Any], show: Callable[[Exception, Failure], None] | None = None) -> None:
    """Run a typer command and exit. Errors that a user can act on are shown; others keep their traceback.

    `show`: called to show an error; by default it is printed on standard error.
    """
    try:
        status = command(standalone_mode=False)
    except Exception as error:
        path = find_command(command, sys.argv[1:])
        failure = describe(error, " ".join([alexnet_command(), *path]), sys.argv[1 + len(path) :])
        if failure is None:
            raise
        (show or _show)(error, failure)
        sys.exit(failure.status)
    if status == STOPPED:
        typer.echo("stopped", err=True)
    sys.exit(status if isinstance(status, int) else 0)


def describe(error: Exception, command: str = "alexnet", words: Sequence[str] = ()) -> Failure | None:
    """An error as it is shown; None for an unexpected one.

    `command`: the command that failed, as typed. `words`: what was typed after it.
    """
    usage = f"{command} --help"
    if isinstance(error, StoppedError):
        return Failure(str(error), "", STOPPED)
    if isinstance(error, AlexNetError):
        message = f"error: {error}"
        if isinstance(error, IndexNotFoundError):
            message = message.replace(ADD_COMMAND, _same_place(ADD_COMMAND, words))
        return Failure(message, "" if _suggests_command(message) else _find_help(error, usage))
    if isinstance(error, typer.TyperException):
        message = (
            _extra_argument(error)
            or _forgotten_option(error, words)
            or _file_like_an_option(error, words)
            or error.format_message().replace("Value error, ", "").removesuffix(".")
        )
        return Failure(f"error: {message[:1].lower()}{message[1:]}", usage, WRONG_USAGE)
    if isinstance(error, ModuleNotFoundError) and (missing := missing_package(error.name)):
        return Failure(f"error: {missing}", "")
    if isinstance(error, OSError):
        return _describe_os_error(error, usage)
    if isinstance(error, MemoryError):
        return Failure("error: not enough memory", usage)
    return None


def _same_place(command: str, words: Sequence[str]) -> str:
    """Add the typed options for the network, index and home to a command, so that it uses the same index."""
    options = list[str]()
    for word, following in pairwise([*words, ""]):
        name, _, value = word.partition("=")
        if name in ("--artifact", "--index", "--precision", "--home"):
            options += [name, value or following]
    return command.replace(" --data", f" {shlex.join([*options, '--data'])}")


def find_command(command: Any, words: Sequence[str]) -> list[str]:
    """The words of a command line that name its command, such as `index`, `add`."""
    path: list[str] = []
    for word in words:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        path.append(word)
    return path


def _extra_argument(error: Any) -> str:
    """The message for an extra argument of a command that has --data; empty for other errors."""
    extra = re.fullmatch(r"Got unexpected extra argument\(?s?\)? \((.*)\)", error.format_message().removesuffix("."))
    context = getattr(error, "ctx", None)
    if not extra or context is None or "data" not in {parameter.name for parameter in context.command.params}:
        return ""
    source = context.get_parameter_source("data")
    if source is not None and source.name == "COMMANDLINE":
        return f"unexpected argument '{extra[1]}': put quotation marks around a path with spaces"
    return _suggest_data(extra[1])


def _forgotten_option(error: Any, words: Sequence[str]) -> str:
    """The message for a path without the required --data; empty for other errors."""
    is_path_alone = len(words) == 1 and not words[0].startswith("-")
    return _suggest_data(words[0]) if is_path_alone and error.format_message() == "Missing option '--data'." else ""


def _file_like_an_option(error: Any, words: Sequence[str]) -> str:
    """The message for a file whose name begins with a dash; empty for other errors."""
    name = next((word for word in words if word.startswith("-") and Path(word).exists()), None)
    message = error.format_message().removesuffix(".")
    return (
        f"{message}; to name the file {name}, write ./{name}" if name and message.startswith("No such option") else ""
    )


def _suggest_data(word: str) -> str:
    return f"unexpected argument '{word}': did you mean --data {shlex.quote(word)}?"


def _show(error: Exception, failure: Failure) -> None:
    typer.echo(str(failure), err=True)


def _describe_os_error(error: OSError, usage: str) -> Failure:
    reason = error.strerror or str(error) or type(error).__name__
    where = "" if error.filename is None else f": {Path(str(error.filename)).absolute()}"
    return Failure(f"error: {reason[:1].lower()}{reason[1:]}{where}", _OS_HELP.get(error.errno or 0, usage))


def _find_help(error: AlexNetError, usage: str) -> str:
    if isinstance(error.__cause__, OSError) and (help_ := _OS_HELP.get(error.__cause__.errno or 0)):
        return help_
    if isinstance(error, DatasetNotFoundError):  # there is nothing to check
        return usage
    if isinstance(error, ArtifactError | DatasetError) and " --" in str(error):  # it names the option to change
        return ""
    text = next((text for kind, text in HELP.items() if isinstance(error, kind)), usage)
    failed = usage.removesuffix("--help").removeprefix(alexnet_command())
    return usage if text.startswith(f"`alexnet{failed}") else text


def _suggests_command(message: str) -> bool:
    texts = ("`alexnet ", f"{alexnet_command()} ", "pip install", "pipx runpip", "uvx --from", "install the package")
    return any(text in message for text in texts)
