"""`compare.py [FILE ...]`: decode these images, or all in this folder, and compare each with its `.expected.png`."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import typer

from model.exceptions import AlexNetError
from model.images.preprocess import decode_image

FOLDER = Path(__file__).parent
FORMATS = {".gif", ".gz", ".jpg", ".png", ".tif"}
MAX_DIFFERENCE = 4.0
"""Mean pixel difference up to which images count as equal: JPEG and the order of scaling and converting cause some."""


def read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def describe(path: Path) -> str:
    """The result of decoding this image, in words."""
    try:
        pixels = decode_image(read(path)).pixels.astype(int)
    except AlexNetError as error:
        return f"refused: {error}"
    except Exception as error:  # the server answers with 500, and other commands end
        return f"FAILS: {type(error).__name__}: {error}"
    expected = path.with_name(f"{path.name}.expected.png")
    if not expected.exists():
        return f"read: mean {pixels.mean():.0f}, minimum {pixels.min()}, maximum {pixels.max()}"
    difference = np.abs(pixels - decode_image(expected.read_bytes()).pixels).mean()
    verdict = "read" if difference <= MAX_DIFFERENCE else "WRONG"
    return f"{verdict}: mean difference from expected.png {difference:.1f}, mean {pixels.mean():.0f}"


def main(paths: list[Path]) -> None:
    """Decode each of several images in a process of its own, because libtiff writes past Python's standard error."""
    if len(paths) == 1:
        typer.echo(f"{paths[0].name}: {describe(paths[0])}")
        return
    for path in paths:
        result = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, check=False)
        noise = len(result.stderr.splitlines())
        typer.echo(result.stdout.strip() + (f" ({noise:,} lines on standard error)" if noise else ""))


if __name__ == "__main__":
    images = sorted(path for path in FOLDER.iterdir() if path.suffix in FORMATS and ".expected." not in path.name)
    main([Path(argument) for argument in sys.argv[1:]] or images)
