"""Find the files that a table names, even if their names are written as on another system."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from model.datasets.listing import Skipped
from model.datasets.names import is_utf8, show_path, to_text
from model.plurals import count_of


class FileFinder:
    """Finds the files that a table in the folder `root` names, and counts what had to be changed in their names.

    `first_missing`: the first name without a file; "" if there is none.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._changes = Counter[str]()
        self.first_missing = ""

    def locate(self, path: str) -> str | Skipped:
        """The file of a row, or why it can't be used."""
        problem: Skipped | None = None
        for change, candidate in _spellings(path):
            file = os.path.join(self._root, candidate)  # noqa: PTH118
            try:
                status = os.stat(file)  # noqa: PTH116
            except PermissionError as error:
                return Skipped(file, "unreadable files", error.strerror or "")
            except (OSError, ValueError):
                problem = problem or Skipped(file, "missing files")
                continue
            if change:
                self._changes[change] += 1
            if stat.S_ISDIR(status.st_mode):
                return Skipped(file, "missing files", "it is a folder")
            if not stat.S_ISREG(status.st_mode):
                return Skipped(file, "pipes, sockets and devices")
            return _normalize(file, status)
        self.first_missing = self.first_missing or show_path(path)
        return problem or Skipped(path, "missing files")

    def notes(self) -> list[str]:
        """How many names were changed and how, and the first missing file."""
        notes = [f"{count_of(count, 'path')} {change}" for change, count in self._changes.most_common()]
        return notes + ([f"missing files, such as {self.first_missing}"] if self.first_missing else [])


def _normalize(file: str, status: os.stat_result) -> str:
    """Normalize a path, so that two spellings of it are one file; but `link/..` isn't the folder of the link."""
    plain = os.path.normpath(file)
    if ".." not in file:
        return plain
    with suppress(OSError):
        if os.path.samestat(os.stat(plain), status):  # noqa: PTH116
            return plain
    return os.path.realpath(file)


def _spellings(path: str) -> Iterator[tuple[str, str]]:
    """Yield a path as it is, and then as it may have been meant, each with a description of the change."""
    yield "", path
    text = to_text(path)
    if path.strip() != path:
        yield "stripped of surrounding spaces", path.strip()
    if "\\" in path:
        yield "with \\ changed to /", path.strip().replace("\\", "/")
    if not is_utf8(path):
        yield "read as cp1252 or cp437", text
    if path.startswith("file:"):
        yield "read as file URLs", unquote(re.sub("^file:(//(localhost)?(?=/))?", "", path))
    elif "%" in path:
        yield "with escapes such as %20 decoded", unquote(path)
    for form in ("NFC", "NFD"):
        if (other := unicodedata.normalize(form, text)) != path:
            yield "in another Unicode form", other.replace("\\", "/")
