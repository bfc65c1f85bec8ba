"""Save matplotlib figures, with one warning for all letters that the font lacks."""

from __future__ import annotations

import logging
import re
import warnings
from functools import cache
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
_MISSING_GLYPH = re.compile(r"Glyph (\d+) ")


def save_figure(figure: Figure, target: Path | IO[bytes], dpi: int) -> None:
    """Save a figure as PNG. Letters in class names that are drawn as boxes are logged once per process.

    Raises OSError.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=_MISSING_GLYPH.pattern)
        figure.savefig(target, format="png", dpi=dpi)
    letters = set[str]()
    for warning in caught:
        if match := _MISSING_GLYPH.match(str(warning.message)):
            letters.add(chr(int(match[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if letters:
        _warn_of("".join(sorted(letters)))


@cache
def _warn_of(letters: str) -> None:
    logger.warning("figures show boxes for characters that matplotlib's font lacks: %s", letters)
