"""Convert pixels of any mode to sRGB on white, with the embedded profile if there is one."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageCms

from model.images.info import WarningList

MAX_PROFILE_BYTES = 4_194_304
_CACHED_PROFILES = 16
_SPACES: Final = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
"""Pixel mode -> the color space of a profile that fits it."""
_NEUTRAL: Final = ("srgb", "iec61966-2")
"""Words in the names of profiles that usually change nothing; "Linear sRGB" and "srgbtrc" do change colors."""
_MAX_NEUTRAL_CHANGE: Final = 6
"""Levels by which versions of sRGB differ (black points, rounding)."""


@dataclass(frozen=True)
class Profile:
    """A color profile. `transform` is None if the profile changes nothing or can't be applied."""

    transform: ImageCms.ImageCmsTransform | None
    name: str
    space: str


_profiles: OrderedDict[tuple[bytes, str], Profile] = OrderedDict()
_profiles_lock = threading.Lock()


def to_srgb(image: Image.Image, profile: bytes, is_inverted: bool, warnings: WarningList) -> Image.Image:
    """A small image of any mode as RGB, composited on white where it is transparent.

    `profile`: the embedded color profile, or nothing. `is_inverted`: for CMYK, whether 255 means no ink.
    """
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        if alpha.getextrema() == (0, 0):
            warnings.add("transparency", "it is fully transparent, and was read as white")
        colors = to_srgb(image.convert(image.mode[:-1]), profile, False, warnings)
        white = Image.new("RGBA", image.size, "white")
        colors.putalpha(alpha)
        return Image.alpha_composite(white, colors).convert("RGB")
    if image.mode == "CMYK" and is_inverted:
        image = ImageChops.invert(image)
    if image.mode == "YCbCr":
        image = image.convert("RGB")
    if profile and image.mode in _SPACES:
        converted = _apply(image, profile, warnings)
        if converted is not None:
            return converted
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _lab_transform()) or image
    return image.convert("RGB")


def _apply(image: Image.Image, data: bytes, warnings: WarningList) -> Image.Image | None:
    """The image in sRGB; None if the profile changes nothing, or can't be used, for which a warning is added."""
    if len(data) > MAX_PROFILE_BYTES:
        warnings.add("color_profile_ignored", "its color profile is too large and was ignored: colors may be off")
        return None
    profile = _find_profile(data, image.mode)
    if not profile.space:
        warnings.add("color_profile_ignored", "its color profile is damaged and was ignored: colors may be off")
        return None
    if profile.space != _SPACES[image.mode]:
        if not (image.mode == "L" and profile.space == "RGB "):  # usual, and without effect on grays
            warnings.add(
                "color_profile_ignored",
                f"its color profile is for {profile.space.strip()}, not {image.mode}, and was ignored",
            )
        return None
    if profile.transform is None:
        return None
    warnings.add("color_profile", f"its colors were converted from {profile.name or 'its color profile'} to sRGB")
    return ImageCms.applyTransform(image, profile.transform)


def _find_profile(data: bytes, mode: str) -> Profile:
    """The profile and its transform to sRGB; cached, since the images of one camera share a profile."""
    key = hashlib.sha256(data).digest(), mode
    with _profiles_lock:
        if key in _profiles:
            _profiles.move_to_end(key)
            return _profiles[key]
    profile = _read_profile(data, mode)
    with _profiles_lock:
        _profiles[key] = profile
        while len(_profiles) > _CACHED_PROFILES:
            _profiles.popitem(last=False)
    return profile


def _read_profile(data: bytes, mode: str) -> Profile:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = opened.profile.xcolor_space
        name = " ".join((opened.profile.profile_description or "").split())[:60]
        if space != _SPACES[mode]:
            return Profile(None, name, space)
        srgb = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        transform = ImageCms.buildTransform(opened, srgb, mode, "RGB", intent, flags)
        is_named_neutral = space == "RGB " and any(word in name.lower() for word in _NEUTRAL)
        return Profile(None if is_named_neutral and _is_neutral(transform) else transform, name, space)
    except Exception:  # lcms doesn't document what it raises
        return Profile(None, "", "")


def _is_neutral(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform of RGB hardly changes any of 729 colors."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(colors), transform), np.int16)
    return int(np.abs(converted - colors).max()) <= _MAX_NEUTRAL_CHANGE


def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
