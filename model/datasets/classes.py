"""Classes of a data set: their order and the names that are shown for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from model.artifacts.artifact import Label
from model.exceptions import DatasetError


def list_classes(ids: Iterable[str], names: Mapping[str, str] | None = None) -> tuple[Label, ...]:
    """The classes in their order, with the names to show: those given, or else the ids with spaces for `_`.

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
        raise DatasetError(f"the class {problem['input']!a}: {problem['msg']}") from error


def class_order(name: str) -> tuple[bool, int, str]:
    """Sort key of classes: numbers by value, then words."""
    is_number = name.isascii() and name.isdecimal()
    return not is_number, int(name) if is_number else 0, name


def similar_classes(ids: Iterable[str]) -> list[str]:
    """A sentence for each group of classes that differ only in case: perhaps they are meant to be the same."""
    by_case: dict[str, list[str]] = {}
    for name in sorted(set(ids)):
        by_case.setdefault(name.casefold(), []).append(name)
    return [f"classes that differ only in case: {', '.join(same)}" for same in by_case.values() if len(same) > 1]
