"""Measure the cost and effect of converting embedded color profiles to sRGB when decoding an image.

    python -m benchmarks.color_profiles

Cost: CPU milliseconds to decode a 640 x 480 JPEG without a profile, with one, and at the profile's first use.
Effect: by how many of 255 levels values differ from those with the profile ignored, for random colors and for
photographs of the bundled gallery, converted to the profile's colors as a camera would store them. The CMYK profile is
Ghostscript's; if it is missing, its rows are left out.
"""

from __future__ import annotations

import io
import statistics
import struct
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL
import typer
from PIL import Image, ImageCms, features

from alexnet.demo import GALLERY
from benchmarks.command import run_main
from benchmarks.icc_profiles import ADOBE_RGB, DISPLAY_P3, GAMMA
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.timing import time_call, time_in_turns
from experiments.photos.measure import GROCERY_LICENSE, read_gallery
from model.images.contract import ImageContract
from model.images.icc import make_profile
from model.images.preprocess import decode_image

CMYK_PROFILE = Path("/usr/share/color/icc/ghostscript/default_cmyk.icc")
SIZE = (640, 480)
NUM_COLORS = (40, 30)
"""Columns and rows of random colors in an image, with smooth transitions."""
JPEG_QUALITY = 90
DATE_OFFSET = 24
"""Byte offset of the date in a profile's header."""
IGNORE_PROFILES = ImageContract(color_profiles=False)


def read_profiles(cmyk: Path) -> dict[str, bytes]:
    """ICC profiles by name; CMYK only if its file exists."""
    profiles = {
        "Display P3": make_profile(DISPLAY_P3, GAMMA, "Display P3"),
        "Adobe RGB": make_profile(ADOBE_RGB, GAMMA, "Adobe RGB (1998)"),
    }
    if cmyk.is_file():
        return profiles | {"CMYK": cmyk.read_bytes()}
    typer.echo(f"{cmyk} is missing: the CMYK rows are left out")
    return profiles


def read_mode(profile: bytes) -> str:
    """The pixel mode that a profile is for."""
    return {b"RGB ": "RGB", b"CMYK": "CMYK"}[profile[16:20]]


def set_date(profile: bytes, year: int) -> bytes:
    """The same profile with another creation date, so that it isn't in the profile cache."""
    date = struct.pack(">6H", year, 1, 1, 0, 0, 0)
    return profile[:DATE_OFFSET] + date + profile[DATE_OFFSET + len(date) :]


def encode(image: Image.Image, profile: bytes = b"") -> bytes:
    """A JPEG file with an embedded profile."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, icc_profile=profile)
    return buffer.getvalue()


def draw_colors(mode: str) -> Image.Image:
    """An image of random colors, with values in the profile's color space."""
    colors = np.random.default_rng(0).integers(0, 256, (*NUM_COLORS[::-1], 3), np.uint8)
    return Image.fromarray(colors).resize(SIZE, Image.Resampling.BICUBIC).convert(mode)


def measure_cost(profile: bytes, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds to decode an image of random colors: without a profile, with it, and at its first use."""
    image = draw_colors(read_mode(profile))
    files = {"without_profile_ms": encode(image), "with_profile_ms": encode(image, profile)}
    times = time_in_turns(
        {name: partial(decode_image, file) for name, file in files.items()}, rounds, clock=time.thread_time
    )
    times["first_use_ms"] = [
        time_call(partial(decode_image, encode(image, set_date(profile, year))), clock=time.thread_time)
        for year in range(1, 1 + rounds)
    ]
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


def measure_effect(files: Iterable[bytes]) -> dict[str, Any]:
    """By how many levels values differ between converting the profile and ignoring it: mean and maximum."""
    means, largest = [], 0
    for file in files:
        converted = decode_image(file).pixels.astype(np.int16)
        difference = np.abs(converted - decode_image(file, contract=IGNORE_PROFILES).pixels)
        means.append(float(difference.mean()))
        largest = max(largest, int(difference.max()))
    return {"images": len(means), "mean_change": statistics.mean(means), "max_change": largest}


def iter_photographs(profile: bytes, max_images: int) -> Iterator[bytes]:
    """Photographs of the bundled gallery, converted from sRGB to the profile's colors, as JPEG files."""
    srgb, target = ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile))
    convert = ImageCms.buildTransform(srgb, target, "RGB", read_mode(profile), ImageCms.Intent.RELATIVE_COLORIMETRIC)
    rows = [row for row in read_gallery() if row["license"] != GROCERY_LICENSE]
    for row in rows[:max_images]:
        with Image.open(GALLERY / row["path"]) as image:
            converted = ImageCms.applyTransform(image.convert("RGB"), convert)
        assert converted is not None
        yield encode(converted, profile)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Measured calls.")] = 100,
    max_images: Annotated[int, typer.Option(min=1, help="Maximum number of photographs.")] = 800,
    cmyk_profile: Annotated[Path, typer.Option(help="ICC profile of CMYK colors.")] = CMYK_PROFILE,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    cost, effect = {}, {}
    for name, profile in read_profiles(cmyk_profile).items():
        cost[name] = measure_cost(profile, rounds)
        effect[f"{name}, random colors"] = measure_effect([encode(draw_colors(read_mode(profile)), profile)])
        effect[f"{name}, photographs"] = measure_effect(iter_photographs(profile, max_images))
    typer.echo(format_table(cost, "CPU time of a 640 x 480 JPEG"))
    typer.echo(format_table(effect, "effect, in levels of 255"))
    versions = {"pillow": PIL.__version__, "littlecms": features.version("littlecms2")}
    write_result(output, "color-profiles-cpu", {"versions": versions, "cost": cost, "effect": effect})


if __name__ == "__main__":
    run_main(main)
