"""What the documents say is so: commands, options, links, settings, error codes, recipes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from alexnet.cli import app as cli
from server.error_handlers import STATUS
from server.settings import Settings
from training.config import RECIPES

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def commands() -> list[list[str]]:
    """Every line of the shell blocks of all documents, as words."""
    lines = []
    for document in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL):
            joined = block.replace("\\\n", " ")
            lines += [shlex.split(line, comments=True) for line in joined.splitlines() if line.strip()]
    return [words for words in lines if words]


def inline() -> list[list[str]]:
    """Every `alexnet ...` in the text of all documents, as words; of `a|b|c`, one line each."""
    lines = []
    for document in DOCUMENTS:
        prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
        for code in re.findall(r"`([^`]+)`", prose):
            words = code.split()
            if "alexnet" in (names := [word.rpartition("/")[2] for word in words[:-1]]):
                words = words[names.index("alexnet") :]
                several = next((word for word in words if "|" in word), "")
                lines += [[one if word == several else word for word in words] for one in several.split("|")]
    return lines


def require_known(words: list[str]) -> str:
    """The command of a line `alexnet COMMAND ...`, which must exist, as must its options."""
    group = get_command(cli.app)
    assert isinstance(group, typer.core.TyperGroup)
    name, arguments = words[1], words[2:]
    assert name in group.commands, words
    command = group.commands[name]
    if isinstance(command, typer.core.TyperGroup) and arguments and not arguments[0].startswith("--"):
        assert arguments[0] in command.commands, words
        command, arguments = command.commands[arguments[0]], arguments[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for argument in arguments:
        assert not argument.startswith("--") or argument.partition("=")[0] in known, words
    return name


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {word for words in commands() if words[0] == "make" for word in words[1:]}
    assert {"demo", "test"} <= asked <= targets


def test_alexnet_commands_and_options_exist() -> None:
    group = get_command(cli.app)
    assert isinstance(group, typer.core.TyperGroup)
    seen = set()
    for words in commands():
        if words[0].endswith("alexnet"):
            seen.add(require_known(words))
        elif "training/run.py" in words:
            seen.add(require_known(["alexnet", "train", *words[words.index("training/run.py") + 1 :]]))
    assert seen == set(group.commands)


def test_alexnet_commands_and_options_in_the_text_exist() -> None:
    found = inline()
    assert ["alexnet", "evaluate", "demo/artifacts", "--data", "elpv"] in found
    assert {"list", "merge"} <= {words[2] for words in found if words[1] == "index" and len(words) > 2}
    for words in found:
        require_known(words)
    with pytest.raises(AssertionError):
        require_known(["alexnet", "evaluate", "--data", "elpv", "--artifact", "demo/artifacts"])


def test_scripts_and_their_options_exist() -> None:
    """Whatever else is called: the file is there, and knows the options."""
    for words in commands():
        for script in (word for word in words if re.fullmatch(r"(training|benchmarks)/(\w+/)*\w+\.(py|sh)", word)):
            text = (ROOT / script).read_text()
            if script != "training/run.py":
                for option in words[words.index(script) + 1 :]:
                    name = option.partition("=")[0].removeprefix("--").replace("-", "_")
                    assert not option.startswith("--") or re.search(rf"\b{name}\b", text), words


def test_options_named_in_the_text_exist() -> None:
    group = get_command(cli.app)
    assert isinstance(group, typer.core.TyperGroup)
    known = {
        option
        for command in group.commands.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    elsewhere = {
        "--nnodes",
        "--node-rank",
        "--nproc-per-node",
        "--wider",
        "--turns",
        "--compiled",
        "--times",
        "--help",
    }
    for document in (ROOT / "docs" / "training.md", ROOT / "docs" / "performance.md", ROOT / "README.md"):
        prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
        for option in re.findall(r"`(--[a-z][a-z-]*)", prose):
            assert option in known | elsewhere, (document.name, option)


def test_extras_exist() -> None:
    configured = (ROOT / "pyproject.toml").read_text()
    for words in commands():
        for extras in re.findall(r"\[([a-z,]+)\]", " ".join(words)):
            for extra in extras.split(","):
                assert f"\n{extra} = [" in configured, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    defaults = Settings()
    for name in Settings.model_fields:
        assert f"`ALEXNET_{name.upper()}`" in text, name
    for name in ("max_body_bytes", "max_pixels", "max_waiting"):
        assert f"| `ALEXNET_{name.upper()}` | {getattr(defaults, name)} |" in text


def test_every_error_code_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    for status, code in STATUS.values():
        assert re.search(rf"^\| {status} \|.*`{code}`", text, re.MULTILINE), code


def test_the_table_of_recipes_is_the_recipes() -> None:
    rows = {}
    for line in (ROOT / "docs" / "training.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5:
            rows[cells[0]] = dict(zip(("paper", "source", "small"), cells[1:4], strict=True))
    for name, recipe in RECIPES.items():
        assert rows["batch"][name] == str(recipe.batch)
        assert rows["learning rate"][name] == str(recipe.learning_rate)
        assert rows["epochs"][name] == str(recipe.epochs)
        assert rows["decay of biases"][name].startswith("yes" if recipe.decay_biases else "no")
        if recipe.schedule == "plateau":
            assert rows["divided by ten after"][name].startswith(str(recipe.patience))
        else:
            assert all(str(epoch) in rows["divided by ten after"][name] for epoch in recipe.milestones)
