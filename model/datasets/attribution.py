"""Attribution of an image to its author, which many licenses require wherever the image is shown."""

from __future__ import annotations

import re
from typing import NamedTuple

_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"'\\]+", re.IGNORECASE)


class Attribution(NamedTuple):
    """The author and the license of an image; None: not known. `author_page`, `page`: web addresses of the author and
    of the image."""

    author: str | None = None
    author_page: str | None = None
    page: str | None = None
    license: str | None = None

    @classmethod
    def of(cls, *values: str | None) -> Attribution | None:
        """The attribution with these values, in the order of its fields; None if all are empty."""
        return cls(*values) if any(values) else None


def is_web_address(text: str) -> bool:
    """Whether a text is an address that a page may link to: http or https, never a script."""
    return _WEB_ADDRESS.fullmatch(text) is not None
