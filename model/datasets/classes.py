"""Classes of a data set: their order and the names that are shown for them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal

from pydantic import ValidationError

from model.artifacts.artifact import Label
from model.datasets.names import show_path
from model.exceptions import DatasetError
from model.grouping import group_duplicates

MISSING_WORDS = {"nan", "null", "n/a", "#n/a", "na", "none", "<na>"}
"""What programs write for a missing value; a class may also have such a name."""


MAX_DIGITS = 20
"""Maximum digits of a class name that is sorted as a number; Python refuses to read thousands."""


def list_classes(ids: Iterable[str], names: Mapping[str, str] | None = None) -> tuple[Label, ...]:
    """The classes in order, with their display names: those given, else the ids with spaces for `_`.

    Two classes never get the same name. Raises DatasetError for a name that can't be shown.
    """
    ordered = sorted(set(ids), key=class_order)
    spaced = [(names or {}).get(name, name.replace("_", " ")) for name in ordered]
    counts = Counter(spaced)
    try:
        return tuple(
            Label(id=name, name=shown if counts[shown] == 1 else name)
            for name, shown in zip(ordered, spaced, strict=True)
        )
    except ValidationError as error:
        problem = error.errors()[0]
        name, reason = show_path(problem["input"]), problem["msg"].removeprefix("Value error, ")
        raise DatasetError(f"{name} can't be a class: {reason}; rename its folder or its label") from error


def class_order(name: str) -> tuple[bool, int, str]:
    """Sort key of classes: numbers by value, then words."""
    is_number = name.isascii() and name.isdecimal() and len(name) <= MAX_DIGITS
    return not is_number, int(name) if is_number else 0, name


def find_doubtful_classes(ids: Iterable[str]) -> list[str]:
    """Sentences about classes that may be unintended: spellings of one class, several labels in one, missing labels."""
    known = set(ids)
    names = sorted(known)
    notes = [f"classes that look alike: {', '.join(map(repr, same))}" for same in group_duplicates(names, _as_seen)]
    notes += [f"classes with the same numeric value: {', '.join(same)}" for same in group_duplicates(names, _as_number)]
    if missing := [name for name in names if name.casefold() in MISSING_WORDS]:
        notes.append(f"treated as classes, though they may mean a missing label: {', '.join(missing)}")
    if several := [name for name in names if _joins_classes(name, known)]:
        shown = ", ".join(several[:5])
        notes.append(f"treated as separate classes, though they look like several labels: {shown}")
    return notes


def _as_seen(name: str) -> str:
    """The same text for names that differ only in case, blanks, `_`, or the width of their characters."""
    return " ".join(unicodedata.normalize("NFKC", name).replace("_", " ").casefold().split())


def _as_number(name: str) -> str | None:
    """The same text for all spellings of a number: 1, 01, 1.0."""
    return str(Decimal(name).normalize()) if re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{0,5})?", name) else None


def _joins_classes(name: str, names: Collection[str]) -> bool:
    """Whether a class's name joins the names of several others: `cat|dog`, `cat, dog`."""
    parts = [part.strip() for part in re.split(r"[|;,/&+]", name)]
    return len(parts) > 1 and all(part in names for part in parts)
