"""Checks of names and texts in artifacts, which may come from anybody: file and network names must be one path
component; no name or text may have control characters."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator

MAX_NAME_LENGTH = 200


def check_path_name(name: str) -> str:
    """Return the name if it is a single path component that isn't hidden. Raises ValueError."""
    if not name or name.startswith(".") or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_LENGTH:
        raise ValueError(f"a name must have 1 to {MAX_NAME_LENGTH} bytes and not start with '.'")
    if "/" in name or "\\" in name or has_controls(name):
        raise ValueError("a name must not contain '/', '\\' or control characters")
    return name


def check_class_name(name: str) -> str:
    """Return the name if it can be shown on one line. It is never part of a path. Raises ValueError."""
    if not name or name in (".", "..") or has_controls(name):
        raise ValueError("a class name must not be empty, '.' or '..', nor contain control characters")
    return name


def check_plain_text(text: str) -> str:
    """Return the text if it can be printed as is: a terminal would obey control characters. Raises ValueError."""
    if has_controls(text):
        raise ValueError("a text must not contain control characters")
    return text


PathName = Annotated[str, AfterValidator(check_path_name)]
ClassName = Annotated[str, AfterValidator(check_class_name)]
PlainText = Annotated[str, AfterValidator(check_plain_text)]


def has_controls(name: str) -> bool:
    """Whether a text has control characters, line breaks or surrogates."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)
