"""Limits on images and on the memory that decoding them takes, checked before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from model.exceptions import ImageTooLargeError, InvalidImageError

BYTES_PER_ALLOWED_PIXEL = 8
"""Memory that is allowed for each of `max_pixels`: half a gigabyte for 64 million."""


@dataclass(frozen=True)
class ImageLimits:
    """Limits that are checked before any pixel is decoded.

    `max_pixels`: pixels in memory, at most 8 bytes each. `max_reduced_pixels`: pixels of a JPEG that is decoded at a
    reduced scale, so that fewer are in memory. `max_scanned_pixels`: pixels times scans of a progressive JPEG, since
    decoding a scan of a few bytes takes as long as the whole image. `max_file_bytes`: size of a file on disk.
    """

    max_pixels: int = 64_000_000
    max_side: int = 30_000
    max_reduced_pixels: int = 256_000_000
    max_scanned_pixels: int = 1_000_000_000
    max_file_bytes: int = 512_000_000

    @property
    def max_memory(self) -> int:
        """Bytes that decoding one image may take."""
        return BYTES_PER_ALLOWED_PIXEL * self.max_pixels


DEFAULT_LIMITS = ImageLimits()
MORE = "; commands allow more with --max-pixels"


def check_size(width: int, height: int, max_pixels: int, limits: ImageLimits) -> None:
    """Raise InvalidImageError for an empty image, ImageTooLargeError for too many pixels or too long a side."""
    if min(width, height) < 1:
        raise InvalidImageError(f"invalid image: it has {width} x {height} pixels")
    if width * height > max_pixels or max(width, height) > limits.max_side:
        is_raisable = max(width, height) <= limits.max_side and max_pixels >= limits.max_pixels
        advice = f"downscale it{MORE}" if is_raisable else "downscale it"
        raise ImageTooLargeError(
            f"image too large: {width:,} x {height:,} pixels; at most {max_pixels:,} pixels and {limits.max_side:,} "
            f"per side are allowed: {advice}"
        )


def check_memory(what: str, width: int, height: int, memory: int, limits: ImageLimits) -> None:
    """Raise ImageTooLargeError if decoding `what` would take more memory than is allowed."""
    if memory > limits.max_memory:
        raise ImageTooLargeError(
            f"image too large: {what} of {width:,} x {height:,} pixels takes {memory / 1e6:,.0f} MB of memory to "
            f"decode, but only {limits.max_memory / 1e6:,.0f} MB are allowed: downscale it, or save it as JPEG{MORE}"
        )
