"""Names of folders, columns and labels as people write them: splits, system files, Unicode forms."""

from __future__ import annotations

import os
import re
import string
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args, overload

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing", "tst"),
}
"""Names of each split, in upper or lower case, and in forms such as `train_set`, `Test Images` and `val2017`."""
SYSTEM_NAMES = (
    "@eaDir", "@Recycle", "@Recently-Snapshot", "@tmp", "#recycle", "#snapshot",  # Synology, QNAP
    "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "Thumbs.db", "ehthumbs.db", "desktop.ini",  # Windows
    "__MACOSX", "Icon\r", "Network Trash Folder", "Temporary Items",  # macOS
    "lost+found", "found.000", "__pycache__",
)  # fmt: skip
"""Files and folders that systems create, in upper or lower case: trash, thumbnails, files that a repair recovered."""
SYSTEM_SUFFIXES = ("@synoeastream", "@synoresource", ".lrdata")  # Synology, previews of Lightroom

_SPLIT_PATTERNS = {
    split: re.compile(rf"(?:{'|'.join(names)})(?:[ _-]?(?:set|data|split|images|imgs))?(?:[ _-]?[0-9]{{1,4}})?")
    for split, names in SPLIT_NAMES.items()
}
_BLANK = string.whitespace + "\u00a0\u200b\ufeff"
_SYSTEM_NAMES = {name.casefold() for name in SYSTEM_NAMES}


def name_of_data(data: str | os.PathLike[str]) -> str:
    """The name of the images at a path: their folder's full name, or their file's name without its suffix."""
    path = Path(data).resolve()
    return path.name if path.is_dir() else path.name.removesuffix(path.suffix).removesuffix(".tar")


def parse_split(name: str) -> Split | None:
    """The split that the name of a folder or a value in a table stands for; None if it is another name."""
    plain = to_text(name).casefold()
    return next((split for split, pattern in _SPLIT_PATTERNS.items() if pattern.fullmatch(plain)), None)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that systems hide, such as `.thumbnails` and `._0001.jpg`."""
    return name.startswith(".")


def is_system_name(name: str) -> bool:
    """Whether a file or folder is one of `SYSTEM_NAMES`, or ends with one of `SYSTEM_SUFFIXES`."""
    folded = name.casefold()
    return folded in _SYSTEM_NAMES or folded.endswith(SYSTEM_SUFFIXES)


def is_utf8(name: str) -> bool:
    """Whether the bytes of a path, as Python has read them, are UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_text(name: str) -> str:
    """A label as text: in Unicode's composed form (NFC), without spaces around it.

    Bytes that aren't UTF-8 are read as Windows' cp1252, or else as cp437, in which old zip programs write names.
    """
    if not is_utf8(name):
        content = os.fsencode(name)
        try:
            name = content.decode("cp1252")
        except UnicodeDecodeError:
            name = content.decode("cp437")
    return compose(name).strip(_BLANK)


@overload
def compose(label: str) -> str: ...
@overload
def compose(label: None) -> None: ...
def compose(label: str | None) -> str | None:
    """A label in Unicode's composed form (NFC), which all labels of an index have; macOS names have another."""
    return None if label is None else unicodedata.normalize("NFC", label)


def common_folder(files: Iterable[str]) -> str:
    """The absolute path of the folder that holds all `files` (absolute or relative)."""
    return os.path.commonpath([os.path.abspath(parent) for parent in {os.path.dirname(file) for file in files}])  # noqa: PTH100, PTH120


def path_formatter(files: Iterable[str]) -> Callable[[str], str]:
    """A function that shows a file's path below the folder that holds all `files` (absolute or relative)."""
    folder = common_folder(files)
    return lambda file: show_path(os.path.relpath(file, folder))


def show_path(path: str | os.PathLike[str]) -> str:
    r"""A printable form of a path, with bytes that aren't UTF-8 and control characters as `\xe9`."""
    return show_text(os.fsencode(path).decode("utf-8", "backslashreplace"))


def show_text(text: str) -> str:
    r"""A printable form of a text, with control characters as `\x1b`: an index's labels may be somebody else's."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
