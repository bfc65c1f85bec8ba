"""The documents and the commands in their shell blocks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def shell_blocks(document: Path) -> list[str]:
    """The shell blocks of a document, with continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    return [block.replace("\\\n", " ") for block in blocks]


def commands() -> list[list[str]]:
    """Every line of the shell blocks of all documents, as words."""
    lines = [line for document in DOCUMENTS for block in shell_blocks(document) for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def inline_commands() -> list[list[str]]:
    """Every `alexnet ...` in the text of all documents, as words; `a|b|c` gives one line for each."""
    lines = []
    for document in DOCUMENTS:
        prose = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
        for code in re.findall(r"`([^`]+)`", prose):
            words = code.split()
            names = [word.rpartition("/")[2] for word in words[:-1]]
            if "alexnet" in names and words[0] != "from":
                words = words[names.index("alexnet") :]
                several = next((word for word in words if "|" in word), "")
                lines += [[choice if word == several else word for word in words] for choice in several.split("|")]
    return lines
