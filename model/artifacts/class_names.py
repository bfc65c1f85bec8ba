"""Class names shortened or wrapped for where there is little room."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence


def short_names(names: Sequence[str]) -> list[str]:
    """The first synonym in each name ("tench, Tinca tinca" -> "tench"), or the whole name.

    The whole name is kept if two classes would get the same one: "mono, defect 0 %" and "mono, defect 33 %".
    """
    first = [name.partition(",")[0].strip() for name in names]
    counts = Counter(first)
    return [short if short and counts[short] == 1 else name for short, name in zip(first, names, strict=True)]


def name_in_figure(name: str, width: int = 26, max_lines: int = 3) -> str:
    """A name wrapped to at most `max_lines` lines of `width` characters; what doesn't fit is replaced by "…".

    `$` is escaped: in matplotlib it would start a formula.
    """
    lines = "\n".join(textwrap.wrap(name, width, max_lines=max_lines, placeholder=" …")) or name
    return lines.replace("$", r"\$")
