"""The image contract of a network: how the bytes of an image become the pixels that the network sees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from model.exceptions import ArtifactError

IMAGE_SIZE: Final = 256
MIN_DETAIL, MAX_DETAIL = 8, IMAGE_SIZE - 1

_NAME = "rgb-256-center-bilinear-3"
"""Changes whenever the same bytes would give other pixels."""
_PATTERN = re.compile(rf"{_NAME}(?:-detail-(\d{{1,3}}))?(-no-profiles)?")


@dataclass(frozen=True)
class ImageContract:
    """What a network requires of its images. Its `name` is stored in caches, artifacts and indexes.

    `detail`: pixels that the shorter side is reduced to before it is enlarged to 256; None: as many as the file has.
    `color_profiles`: whether embedded color profiles are converted to sRGB, or ignored. Raises ArtifactError.
    """

    detail: int | None = None
    color_profiles: bool = True

    def __post_init__(self) -> None:
        if self.detail is not None and not MIN_DETAIL <= self.detail <= MAX_DETAIL:
            raise ArtifactError(f"invalid detail of {self.detail} pixels: choose {MIN_DETAIL} to {MAX_DETAIL}")

    @property
    def name(self) -> str:
        """The contract in one word, which `parse` reads."""
        detail = "" if self.detail is None else f"-detail-{self.detail}"
        return _NAME + detail + ("" if self.color_profiles else "-no-profiles")

    @classmethod
    def parse(cls, name: str) -> ImageContract:
        """The contract of this name. Raises ArtifactError if this program doesn't know it."""
        match = _PATTERN.fullmatch(name)
        if match is None:
            raise ArtifactError(f"images are decoded by the contract {_NAME}, not {name[:80]!r}")
        return cls(int(match[1]) if match[1] else None, match[2] is None)


DEFAULT_CONTRACT = ImageContract()
