"""Names of classes as they are shown where there is little room."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence


def short_names(names: Sequence[str]) -> list[str]:
    """The first of the synonyms in each name ("tench, Tinca tinca" -> "tench"), or the whole name.

    The whole where two classes would be called the same: "mono, defect 0 %" and "mono, defect 33 %".
    """
    first = [name.partition(",")[0].strip() for name in names]
    counts = Counter(first)
    return [short if short and counts[short] == 1 else name for short, name in zip(first, names, strict=True)]


def name_in_figure(name: str, width: int = 26, max_lines: int = 3) -> str:
    """A name in lines of at most `width` characters; only what is longer than all lines is cut, with "…".

    For matplotlib, where `$` would start a formula.
    """
    lines = "\n".join(textwrap.wrap(name, width, max_lines=max_lines, placeholder=" …")) or name
    return lines.replace("$", r"\$")
