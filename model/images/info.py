"""The result of decoding an image: its pixels, the properties of its file, and what was guessed or ignored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

WarningKind = Literal[
    "stretched",
    "nearly_black",
    "nearly_uniform",
    "floating_point",
    "page",
    "frames",
    "no_end_mark",
    "metadata",
    "color_profile",
    "color_profile_ignored",
    "transparency",
    "narrow",
]
WARNING_KINDS: tuple[WarningKind, ...] = get_args(WarningKind)
"""The kinds of warnings, by which they are counted: a message may contain numbers of one file."""

_SUMMARIES: dict[WarningKind, str] = {
    "stretched": "that use few of their bits (stretched)",
    "nearly_black": "that use few of their bits (nearly black)",
    "nearly_uniform": "with signed samples that use few of their levels (little contrast)",
    "floating_point": "with floating-point samples (their range was guessed)",
    "page": "with several pages (one was used)",
    "frames": "with several frames (the first was used)",
    "no_end_mark": "without an end marker",
    "metadata": "with damaged metadata (ignored)",
    "color_profile": "with a color profile (converted to sRGB)",
    "color_profile_ignored": "with a color profile (ignored)",
    "transparency": "that are fully transparent",
    "narrow": "over twice as long as wide (the middle was used)",
}


@dataclass(frozen=True)
class ImageWarning:
    """Something that was guessed, converted or left out while an image was read. `message`: for people."""

    kind: WarningKind
    message: str


def count_warnings(images: Iterable[Iterable[ImageWarning]]) -> dict[WarningKind, int]:
    """How many of several images have each kind of warning."""
    counts = Counter(kind for warnings in images for kind in {warning.kind for warning in warnings})
    return {kind: counts[kind] for kind in WARNING_KINDS if kind in counts}


def summarize_warnings(counts: Mapping[WarningKind, int]) -> str:
    """A line about images that were read with warnings; empty if there are none."""
    parts = [f"{counts[kind]:,} {_SUMMARIES[kind]}" for kind in WARNING_KINDS if counts.get(kind)]
    return f"images read with a warning: {'; '.join(parts)}" if parts else ""


class WarningList:
    """Collects the warnings of one image, in order, each once."""

    def __init__(self) -> None:
        self._warnings: dict[ImageWarning, None] = {}

    def add(self, kind: WarningKind, message: str) -> None:
        """Add a warning."""
        self._warnings[ImageWarning(kind, message)] = None

    def __iter__(self) -> Iterator[ImageWarning]:
        return iter(self._warnings)


@dataclass(frozen=True)
class ImageInfo:
    """An image file, before it was turned upright and cropped.

    `mode`: pixel mode of the file. `orientation`: the EXIF orientation that was applied; 1: upright. `frames_ignored`:
    the file has several images, of which one was used.
    """

    format: str
    width: int
    height: int
    mode: str
    orientation: int = 1
    frames_ignored: bool = False
    warnings: tuple[ImageWarning, ...] = ()


@dataclass(frozen=True)
class DecodedImage:
    """The pixels of an image, and the properties of its file.

    `pixels`: (256, 256, 3) uint8 RGB as the network sees them. `preview`: the same in full detail, for people; it is
    `pixels` unless the image contract reduces detail.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    preview: NDArray[np.uint8] = field(repr=False)
    info: ImageInfo
