"""What users see when a command fails: the message, the command that helps, and the exit status."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from alexnet.cli.app import app
from alexnet.cli.errors import HELP, Failure, describe, find_command, run
from model.exceptions import (
    ArtifactError,
    DatasetError,
    DatasetNotFoundError,
    IndexNotFoundError,
    InvalidRequestError,
    StoppedError,
)
from model.requirements import install_extra
from model.shell_command import alexnet_command
from tests.helpers.commands import run_alexnet


def failure_of(*words: str) -> tuple[str, int]:
    """Standard error and exit status of a failing command, which prints nothing else."""
    status, output, errors = run_alexnet(*words)
    assert output == ""
    return errors, status


@pytest.mark.parametrize(
    ("words", "message", "command"),
    [
        (["clasify"], "no such command 'clasify'. Did you mean 'classify'?", "alexnet"),
        (["index", "lst"], "no such command 'lst'. Did you mean 'list'?", "alexnet index"),
        (["classify", "--tpo", "3"], "no such option: --tpo", "alexnet classify"),
        (["index", "--data", "x"], "--data is an option of a command: alexnet index add --data", "alexnet index"),
        (["index", "--nothing"], "no such option: --nothing", "alexnet index"),
        (["train", "two"], "unexpected argument 'two': did you mean --data two?", "alexnet train"),
        (["train", "my photos"], "unexpected argument 'my photos': did you mean --data 'my photos'?", "alexnet train"),
        (
            ["train", "--data", "my", "photos"],
            "unexpected argument 'photos': put quotation marks around",
            "alexnet train",
        ),
        (["check", "my photos"], "unexpected argument 'my photos': did you mean --data 'my photos'?", "alexnet check"),
        (["index", "add", "two"], "unexpected argument 'two': did you mean --data two?", "alexnet index add"),
        (["index", "add", "--json"], "missing option '--data'", "alexnet index add"),
        (["report", "one", "two"], "got unexpected extra argument(s) (two)", "alexnet report"),
        (["similar"], "missing argument 'IMAGE': name images, or give a list", "alexnet similar"),
        (["train", "--recipe", "foo"], "invalid value for '--recipe': 'foo' is not one of '", "alexnet train"),
        (["train", "--epochs", "abc"], "invalid value for '--epochs': ", "alexnet train"),
        (["codes", "train", "--bits", "7"], "invalid value for '--bits': ", "alexnet codes train"),
        (["serve", "--threads", "0"], "invalid value for --threads: '0': ", "alexnet serve"),
        (["serve", "--open", "--uds", "s"], "invalid value for --open: no browser can open a Unix", "alexnet serve"),
        (["serve", "--log-level", "loud"], "invalid value for '--log-level': 'loud' is not one of", "alexnet serve"),
    ],
)
def test_wrong_usage(words: list[str], message: str, command: str) -> None:
    printed, status = failure_of(*words)
    assert status == 2
    first, last = printed.splitlines()
    assert first.startswith(f"error: {message}")
    assert last.endswith(f"{command} --help")
    assert "Value error" not in first


@pytest.mark.parametrize(
    ("name", "value", "source"),
    [
        ("ALEXNET_THREADS", "0", "ALEXNET_THREADS: '0': "),
        ("ALEXNET_CONFIG", "server.toml", "the setting threads: '0': "),
    ],
)
def test_a_wrong_setting_is_named_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("server.toml").write_text("threads = 0")
    monkeypatch.setenv(name, value)
    printed, status = failure_of("serve")
    assert (printed.startswith(f"error: invalid value for {source}"), status) == (True, 2), printed


def test_a_file_whose_name_begins_with_a_dash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-2-übung.jpg").touch()
    printed, status = failure_of("similar", "-2-übung.jpg")
    assert printed.startswith("error: no such option: -2; to name the file -2-übung.jpg, write ./-2-übung.jpg\n")
    assert status == 2


def test_an_error_shows_no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("server.toml").write_text(f"keys = ['write:{'s' * 16}']")
    printed, status = failure_of("serve", "--config", "server.toml")
    assert status == 2
    assert printed.startswith("error: invalid value for the setting keys: input should be a valid string\n")


def test_what_fails_names_the_command_that_helps(tmp_path: Path) -> None:
    printed, status = failure_of("similar", "a.jpg", "--json", "--csv")
    assert printed.splitlines()[0] == "error: --json and --csv can't be combined: give one of them"
    assert printed.splitlines()[1].endswith("alexnet similar --help")
    assert status == 1
    printed, status = failure_of("index", "list", "--index", str(tmp_path))
    command = f"alexnet index add --index {tmp_path} --data FOLDER"  # repeats what was typed
    assert printed == f"error: no index at {tmp_path}: build one with `{command}`\n"
    assert status == 1
    for words in (["index", "list"], ["index", "duplicates"], ["similar", "a.jpg"]):
        done = run_alexnet(*words, "--csv", "--index", str(tmp_path))
        assert done.stdout == "", words  # not even a header, which a program would read as an empty table
    printed, _ = failure_of("index", "list", "--index", str(tmp_path / "a b"), "--home", str(tmp_path))
    assert f"build one with `alexnet index add --index '{tmp_path}/a b' --home {tmp_path} --data FOLDER`" in printed


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (DatasetError("too few"), Failure("error: too few", HELP[DatasetError])),
        (DatasetNotFoundError("no folder"), Failure("error: no folder", "alexnet x --help")),
        (ArtifactError("broken: `alexnet pull` makes one"), Failure("error: broken: `alexnet pull` makes one", "")),
        (IndexNotFoundError("none"), Failure("error: none", HELP[IndexNotFoundError.__mro__[1]])),
        (InvalidRequestError("no"), Failure("error: no", "alexnet x --help")),
        (StoppedError("stopped; run again"), Failure("stopped; run again", "", 130)),
        (MemoryError(), Failure("error: not enough memory", "alexnet x --help")),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs"),
            Failure(
                f"error: permission denied: {Path('runs').absolute()}",
                "choose a folder you can write to, for example with --home, or change its permissions",
            ),
        ),
        (
            ArtifactError("network.pack is damaged; reinstall the package"),
            Failure("error: network.pack is damaged; reinstall the package", ""),
        ),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            Failure(f"error: torch is not installed: {install_extra('train')}", ""),
        ),
    ],
)
def test_errors_as_they_are_shown(error: Exception, failure: Failure) -> None:
    assert describe(error, "alexnet x") == failure


def test_commands_are_shown_as_they_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an activated environment, too: by the path of the program that runs."""
    program = tmp_path / "alexnet"
    program.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    failure = Failure("error: run `alexnet index add --data FOLDER` in alexnet's folder", "`alexnet train` makes one")
    assert str(failure) == (
        f"error: run `{program} index add --data FOLDER` in alexnet's folder\nhelp: `{program} train` makes one"
    )


def test_no_command_recommends_itself() -> None:
    command = f"{alexnet_command()} check"
    assert describe(DatasetError("too few"), command) == Failure("error: too few", f"{command} --help")
    assert "docs/" not in "".join(HELP.values())  # an installed package has no such folder


def test_an_error_of_the_disk_names_what_helps_against_it() -> None:
    try:
        raise ArtifactError("can't publish in x: Operation not permitted") from OSError(errno.EPERM, "not permitted")
    except ArtifactError as error:
        failure = describe(error)
    assert failure is not None
    assert "--home" in failure.help


def test_an_error_that_nobody_foresaw_keeps_its_traceback() -> None:
    assert describe(KeyError("x")) is None
    assert describe(ModuleNotFoundError("No module named 'ours'", name="ours")) is None
    with pytest.raises(ZeroDivisionError):
        run(lambda **_: 1 // 0)


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alexnet.cli.inspect_index.open_index", interrupt)
    assert failure_of("index", "verify") == ("stopped\n", 130)


def test_the_command_of_a_command_line() -> None:
    group = get_command(app)
    for words, path in (
        (["index", "add", "--data", "x"], "index add"),
        (["classify", "index"], "classify"),
        (["--version"], ""),
        ([], ""),
    ):
        assert find_command(group, words) == path.split()
