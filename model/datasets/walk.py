"""`walk`: all visible files below a folder, each real file once, whatever links, systems and users have put there."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path

from model.datasets.image_files import has_image_suffix, looks_like_image_file
from model.datasets.listing import Skipped, SkipReason
from model.datasets.names import is_hidden, is_system_name
from model.exceptions import DatasetError, DatasetNotFoundError

MAX_JUDGED_FILES = 16
"""Files per folder that are opened to find out whether it holds images; those with an image's suffix needn't be."""


@dataclass
class Folder:
    """What a folder holds directly."""

    num_files: int = 0
    has_images: bool = False


@dataclass
class WalkResult:
    """`files`: their paths below the root, in the order of their parts. `folders`: by path below the root, "" first.

    `unused_patterns`: those of `exclude` that matched nothing.
    """

    files: list[str] = field(default_factory=list)
    folders: dict[str, Folder] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    unused_patterns: tuple[str, ...] = ()


class Exclusions:
    """Patterns of files and folders to leave out. One with a `/` matches the path below the root, others the name."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = {pattern: re.compile(translate(pattern.strip("/"))) for pattern in patterns}
        self._uses = Counter[str]()

    def match(self, path: str) -> bool:
        """Whether the file or folder at `path`, relative to the root, is left out."""
        name = path.rpartition("/")[2]
        for pattern, compiled in self._patterns.items():
            if compiled.fullmatch(path if "/" in pattern.rstrip("/") else name):
                self._uses[pattern] += 1
                return True
        return False

    def match_any_part(self, path: str) -> bool:
        """Whether the path or a folder in it is left out."""
        parts = path.split("/")
        return any(self.match("/".join(parts[: end + 1])) for end in range(len(parts)))

    @property
    def unused(self) -> tuple[str, ...]:
        """The patterns that have matched nothing so far."""
        return tuple(pattern for pattern in self._patterns if not self._uses[pattern])


def walk(root: Path, exclude: Sequence[str] = (), keep: Callable[[Path], bool] | None = None) -> WalkResult:
    """Walk over the folder `root`; raises DatasetError if there is none or it can't be read.

    A link is followed if its target isn't read otherwise, to a folder once, to a file once per linking folder. A file
    or folder inside `root` is read at its own place. A link to a folder that holds `root` would never end, so it isn't
    followed. `keep`: only files for which it is true are returned, since a list of all might not fit in memory; a
    folder's `num_files` counts all.
    """
    if not root.is_dir():
        raise DatasetNotFoundError(f"no folder at {root}")
    walker = _Walker(root, Exclusions(exclude), keep)
    walker.visit("", follow_root=True)
    walker.follow_links()
    result = walker.result
    result.files.sort(key=lambda path: path.split("/"))
    result.skipped.sort()
    result.unused_patterns = walker.exclusions.unused
    return result


class _Walker:
    def __init__(self, root: Path, exclusions: Exclusions, keep: Callable[[Path], bool] | None) -> None:
        self.root, self.exclusions, self.keep = str(root), exclusions, keep
        self.real_root = os.path.realpath(root)
        self.result = WalkResult()
        self._folders_read: set[tuple[int, int]] = set()
        self._linked_files: set[tuple[str, str]] = set()
        self._links: list[str] = []

    def visit(self, start: str, follow_root: bool = False) -> None:
        """Read a folder and those below it; links are kept for later, so that real files and folders come first."""
        pending = [start]
        while pending:
            folder = pending.pop()
            subfolders = self._read_folder(folder, must_exist=follow_root and folder == start)
            pending += sorted(subfolders, reverse=True)

    def follow_links(self) -> None:
        """Follow the links to folders, then those to files. More may turn up on the way."""
        to_files: list[str] = []
        while self._links:
            links, self._links = sorted(self._links), []
            for path in links:
                if (status := self._stat(path)) is None:
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    to_files.append(path)
                elif (status.st_dev, status.st_ino) in self._folders_read or self._holds_root(path):
                    self._skip(path, "links to data already read")
                else:
                    self.visit(path)
        for path in to_files:
            self._follow_to_file(path)

    def _follow_to_file(self, path: str) -> None:
        status = self._stat(path)
        if status is None:
            return
        if not stat.S_ISREG(status.st_mode):
            self._skip(path, "pipes, sockets and devices")
            return
        target = os.path.realpath(self._full(path))
        linked = target, path.rpartition("/")[0]  # in another folder it may have another class, so it is read again
        if self._is_read(target) or linked in self._linked_files:
            self._skip(path, "links to data already read")
        else:
            self._linked_files.add(linked)
            self._add_file(path)

    def _is_read(self, target: str) -> bool:
        """Whether a file was read at its own place: its folder was read, and the file isn't left out."""
        folder, _, name = target.rpartition("/")
        try:
            status = os.stat(folder or "/")  # noqa: PTH116
        except OSError:
            return False
        if (status.st_dev, status.st_ino) not in self._folders_read or is_hidden(name) or is_system_name(name):
            return False
        below = target.removeprefix(f"{self.real_root}/")
        return below == target or not self.exclusions.match_any_part(below)

    def _read_folder(self, folder: str, must_exist: bool) -> list[str]:
        """Add the files of one folder. Returns its subfolders."""
        subfolders: list[str] = []
        try:
            status = os.stat(self._full(folder))  # noqa: PTH116
            if (status.st_dev, status.st_ino) in self._folders_read:
                self._skip(folder, "links to data already read")
                return []
            with os.scandir(self._full(folder)) as entries:
                self._folders_read.add((status.st_dev, status.st_ino))
                self.result.folders[folder] = Folder()
                names: list[str] = []
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if self._leaves_out(path, entry.name):
                        continue
                    if entry.is_symlink():
                        self._links.append(path)
                    elif entry.is_dir():
                        subfolders.append(path)
                    elif entry.is_file():
                        names.append(path)
                    else:
                        self._skip(path, "pipes, sockets and devices")
        except OSError as error:
            if must_exist:
                raise DatasetError(f"can't read the folder {self.root}: {error.strerror}") from error
            self._skip(folder, "unreadable folders", error.strerror or "")
            return []
        for path in sorted(names):
            self._add_file(path)
        return subfolders

    def _leaves_out(self, path: str, name: str) -> bool:
        if is_hidden(name):
            self._skip(path, "hidden")
        elif is_system_name(name):
            self._skip(path, "system files and folders")
        elif self.exclusions.match(path):
            self._skip(path, "excluded")
        else:
            return False
        return True

    def _add_file(self, path: str) -> None:
        folder = self.result.folders[path.rpartition("/")[0]]
        folder.num_files += 1
        if not folder.has_images:
            is_judged = folder.num_files <= MAX_JUDGED_FILES
            folder.has_images = has_image_suffix(path) or (is_judged and looks_like_image_file(self._full(path)))
        if self.keep is None or self.keep(Path(self._full(path))):
            self.result.files.append(path)

    def _stat(self, path: str) -> os.stat_result | None:
        """The status of a link's target; None, and an entry in `skipped`, if there is none."""
        try:
            return os.stat(self._full(path))  # noqa: PTH116
        except PermissionError as error:
            self._skip(path, "unreadable files", error.strerror or "")
        except OSError as error:
            self._skip(path, "broken links", error.strerror or "")
        return None

    def _holds_root(self, path: str) -> bool:
        target = os.path.realpath(self._full(path))
        return self.real_root == target or self.real_root.startswith(target.rstrip("/") + "/")

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _skip(self, path: str, reason: SkipReason, detail: str = "") -> None:
        self.result.skipped.append(Skipped(self._full(path), reason, detail))
