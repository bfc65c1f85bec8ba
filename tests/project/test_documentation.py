"""Documents agree with the code: commands, options, links, settings, error codes, recipes."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from alexnet.cli import app as cli
from model.shell_command import option_name
from tests.helpers.documents import DOCUMENTS, ROOT, commands, inline_commands
from tests.helpers.errors import all_errors
from training.config import EPOCH_FIELDS
from training.recipes import RECIPES

SOURCE = ("alexnet", "server", "index", "model", "training")


def require_known(words: list[str]) -> str:
    """Return the command of a line `alexnet COMMAND ...`; it and its options must exist."""
    group = get_command(cli.app)
    assert isinstance(group, typer.core.TyperGroup)
    name, arguments = words[1], words[2:]
    if name == "COMMAND" or name in (option for parameter in group.params for option in parameter.opts):
        return name
    assert name in group.commands, words
    command = group.commands[name]
    if isinstance(command, typer.core.TyperGroup) and arguments and not arguments[0].startswith("--"):
        assert arguments[0] in command.commands, words
        command, arguments = command.commands[arguments[0]], arguments[1:]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known = {"--help", *options}
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
        names = [word.rpartition("/")[2] for word in words[:-1]]
        if words[0] in ("uvx", "alexnet") or names[:1] == ["alexnet"]:
            seen.add(require_known(words[names.index("alexnet") :]))
        elif "training/run.py" in words:
            seen.add(require_known(["alexnet", "train", *words[words.index("training/run.py") + 1 :]]))
    assert {"demo", "train", "classify", "similar", "serve", "index"} <= seen


def test_alexnet_commands_and_options_in_the_text_exist() -> None:
    lines = inline_commands()
    assert ["alexnet", "evaluate", "--artifact", "elpv", "--data", "elpv"] in lines
    for words in lines:
        require_known(words)
    with pytest.raises(AssertionError):
        require_known(["alexnet", "evaluate", "--data", "elpv", "--index", "elpv"])


def test_no_training_command_has_options_without_effect() -> None:
    """If it fits only an output layer, `alexnet train` refuses the options of training in epochs."""
    changed = {
        option_name(name) for name in (*EPOCH_FIELDS, "batch_size", "augment", "lr_multipliers", "frozen", "find_rate")
    }
    lines = [words for words in (*commands(), *inline_commands()) if words[:2] == ["alexnet", "train"]]
    named = [words for words in lines if changed & set(words)]
    assert len(named) > 2
    for words in named:
        from_nothing = "--recipe" in words or "--init-from none" in " ".join(words)
        assert from_nothing or {"--epochs", "--minutes", "--resume"} & set(words), words


def test_scripts_and_their_options_exist() -> None:
    """Each script that a document calls is a file that knows the options."""
    scripts = set()
    for words in commands():
        for place, word in enumerate(words):
            script = word
            if words[place - 1] == "-m" and re.fullmatch(r"(benchmarks|experiments)(\.\w+)+", word):
                script = word.replace(".", "/") + ".py"
                if not (ROOT / script).is_file():
                    script = word.replace(".", "/") + "/__main__.py"
            elif not re.fullmatch(r"(training|experiments)/(\w+/)*\w+\.(py|sh)", word):
                continue
            text = (ROOT / script).read_text()
            scripts.add(script)
            if script != "training/run.py":
                for option in words[place + 1 :]:
                    name = option.partition("=")[0].removeprefix("--").replace("-", "_")
                    assert not option.startswith("--") or re.search(rf"\b{name}\b", text), words
    assert {"benchmarks/training.py", "benchmarks/serving.py", "benchmarks/gpu/__main__.py"} <= scripts


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
        "--master-addr",
        "--nnodes",
        "--node-rank",
        "--nproc-per-node",
        "--wider",
        "--rounds",
        "--group",
        "--times",
        "--help",
    }
    for document in (ROOT / "docs" / "training.md", ROOT / "docs" / "performance.md", ROOT / "README.md"):
        for option in re.findall(r"`(--[a-z][a-z0-9-]*)", prose(document)):
            assert option in known | elsewhere, (document.name, option)


def test_extras_and_groups_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    for words in commands():
        line = " ".join(words)
        named = {extra for match in re.findall(r"\.\[([a-z,]+)\]", line) for extra in match.split(",")}
        assert named <= set(extras), line
        assert set(re.findall(r"--group ([a-z-]+)", line)) <= set(groups), line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """To an existing file and, if they name one, to a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            file = document.parent / path if path else document
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def test_every_result_is_named_in_a_document() -> None:
    documents = [*DOCUMENTS, *(ROOT / "experiments").rglob("*.md")]
    text = "".join(document.read_text(encoding="utf-8") for document in documents)
    assert [file.name for file in sorted((ROOT / "docs/results").iterdir()) if file.name not in text] == []


def test_commits_of_figures_exist() -> None:
    """So that the code that a figure was measured with can be read."""
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("needs the whole history of the repository")
    for document in DOCUMENTS:
        for clause in re.findall(r"(?i)\bcommits?\s[^.;:|)]*", document.read_text(encoding="utf-8")):
            for commit in re.findall(r"\b[0-9a-f]{7,12}\b", clause):
                assert git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0, (document.name, commit)


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)


def prose(document: Path) -> str:
    """The text of a document without its code blocks."""
    return re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The headings of a document, as GitHub turns them into anchors."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w -]", "", heading).strip().replace(" ", "-") for heading in plain}


def test_a_wrong_anchor_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# One `two` three\n[here](#one-two-three)\n")
    test_links_lead_somewhere(document)
    document.write_text("# One\n[there](#two)\n")
    with pytest.raises(AssertionError):
        test_links_lead_somewhere(document)


def test_every_error_code_is_documented() -> None:
    """With the program's own description, and with what to do."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    for error in all_errors():
        row = rf"^\| {error.status} \| `{error.code}` \| {re.escape(error.description)} \| [^|]{{10,}} \|$"
        assert re.search(row, text, re.MULTILINE), error.code


def test_the_table_of_recipes_is_the_recipes() -> None:
    rows = {}
    for line in (ROOT / "docs" / "training.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5:
            rows[cells[0]] = dict(zip(("paper", "source", "small"), cells[1:4], strict=True))
    for name in ("paper", "source", "small"):
        recipe = RECIPES[name]
        assert rows["batch size"][name] == str(recipe.batch_size)
        assert rows["learning rate"][name] == str(recipe.learning_rate)
        assert rows["epochs"][name] == str(recipe.epochs)
        assert rows["weight decay of biases"][name].startswith("yes" if recipe.decay_biases else "no")
        if recipe.schedule == "plateau":
            assert rows["divided by ten after"][name].startswith(str(recipe.patience))
        else:
            assert all(f"{epoch:g}" in rows["divided by ten after"][name] for epoch in recipe.milestones)


def test_the_table_of_the_recipe_photos_is_the_recipe() -> None:
    section = (ROOT / "docs" / "training.md").read_text().partition("### The recipe photos")[2].partition("## Data")[0]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", section, re.MULTILINE))
    recipe = RECIPES["photos"]
    assert recipe.boxes
    assert recipe.degradation
    assert recipe.jitter
    assert recipe.mixing
    assert recipe.pruning
    numbers = {
        "batch size": (recipe.batch_size,),
        "learning rate": (recipe.learning_rate,),
        "schedule": (100 * recipe.warmup,),
        "epochs": (recipe.epochs,),
        "boxes": (*(100 * share for share in recipe.boxes.area), recipe.boxes.max_aspect),
        "warps": (recipe.boxes.rotation_std, recipe.boxes.shear),
        "color jitter": (100 * recipe.jitter.strength, 100 * recipe.jitter.share, 100 * recipe.jitter.gray),
        "mixup, cutmix": (100 * recipe.mixing.mixup, 100 * (1 - recipe.mixing.until)),
        "competition": (100 * recipe.competition,),
        "sparse layers": (
            *(100 * density for density in recipe.pruning.density.values()),
            *(100 * share for share in (recipe.pruning.start, recipe.pruning.end)),
        ),
    }
    for name, values in numbers.items():
        shown = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", rows[name])}
        assert {round(float(value), 6) for value in values} <= shown, name
    degradation = recipe.degradation
    for low, high in (
        degradation.stored_size, degradation.stored_quality, degradation.size, degradation.compressed_quality
    ):  # fmt: skip
        assert re.search(rf"{low:g}\s+to\s+{high:g}", section)


def test_every_message_of_troubleshooting_is_one_of_the_program() -> None:
    """A heading is a message; `…` stands for what differs."""
    messages = [text for folder in SOURCE for path in (ROOT / folder).rglob("*.py") for text in strings(path)]
    headings = re.findall(r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(headings) > 10
    for heading in headings:
        pattern = ".*".join(map(re.escape, heading.split("…")))
        assert any(re.search(pattern, message, re.DOTALL) for message in messages), heading


def strings(path: Path) -> Iterator[str]:
    """Every string of a module; the values of an f-string become {}."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
