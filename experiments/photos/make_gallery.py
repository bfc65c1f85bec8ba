"""Make the gallery of `alexnet demo` from photographs that may be redistributed.

    python -m experiments.photos.make_gallery --photographs FOLDER --grocery grocery.zip

FOLDER has images/*.webp (240 x 240) and attribution.csv with the columns file, label, class_of_photos, author,
author_page, page and licence. The images are copied as they are. Escapes in authors' names (`&amp;`, or `\\303\\251`
for UTF-8 bytes) are decoded. 200 test images of the Grocery Store data set are added, evenly from its 81 classes: their
center squares, reduced to the same size.
"""

from __future__ import annotations

import csv
import html
import io
import re
import shutil
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from alexnet.demo import GALLERY, TABLE
from experiments import command
from model.checksums import write_checksums

COLUMNS = ("path", "label", "class_of_photos", "author", "author_page", "page", "license")
NUM_GROCERY, SIZE, QUALITY = 200, 240, 82
GROCERY = {
    "class_of_photos": "",
    "author": "Marcus Klasson, Cheng Zhang, Hedvig Kjellström",
    "author_page": "https://github.com/marcusklasson",
    "page": "https://github.com/marcusklasson/GroceryStoreDataset",
    "license": "MIT",
}


def copy_photographs(source: Path, target: Path) -> list[dict[str, str]]:
    """Copy the photographs of a folder. Returns their rows of the table."""
    rows = []
    with (source / "attribution.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            shutil.copyfile(source / row["file"], target / row["file"])
            renamed = {"path": row.pop("file"), "license": row.pop("licence")}
            rows.append(row | renamed | {"author": decode_name(row["author"])})
    return rows


def decode_name(text: str) -> str:
    """Undo HTML escapes and octal escapes of UTF-8 bytes. Raises UnicodeDecodeError."""

    def decode(octal: re.Match[str]) -> str:
        return bytes(int(number, 8) for number in octal[0].split("\\")[1:]).decode()

    return re.sub(r"(?:\\[0-3][0-7]{2})+", decode, html.unescape(text))


def add_grocery(archive: Path, target: Path) -> list[dict[str, str]]:
    """Reduce 200 test images of Grocery Store, chosen with a fixed seed. Returns their rows of the table."""
    with zipfile.ZipFile(archive) as grocery:
        names = [name for name in grocery.namelist() if name.startswith("dataset/test/") and name.endswith(".jpg")]
        rows = []
        for number, name in enumerate(_choose(names)):
            path = f"images/grocery-{number:03}.webp"
            with Image.open(io.BytesIO(grocery.read(name))) as image:
                _cut_center_square(image.convert("RGB")).save(target / path, "WEBP", quality=QUALITY, method=6)
            rows.append({"path": path, "label": _name_class(name), **GROCERY})
        return rows


def _choose(names: list[str]) -> list[str]:
    """Choose `NUM_GROCERY` names by taking turns among the classes."""
    shuffled = np.random.default_rng(0).permutation(sorted(names)).tolist()
    turns: dict[str, int] = {}
    numbered = []
    for name in shuffled:
        folder = name.rpartition("/")[0]
        turns[folder] = turns.get(folder, 0) + 1
        numbered.append((turns[folder], name))
    return sorted(name for _, name in sorted(numbered, key=lambda pair: pair[0])[:NUM_GROCERY])


def _name_class(name: str) -> str:
    """The class in words: dataset/test/Fruit/Apple/Royal-Gala/1.jpg -> apple, royal gala."""
    return ", ".join(part.replace("-", " ").lower() for part in name.split("/")[3:-1])


def _cut_center_square(image: Image.Image) -> Image.Image:
    size = min(image.size)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main(
    photographs: Annotated[Path, typer.Option(help="Folder of photographs with attribution.csv.")],
    grocery: Annotated[Path, typer.Option(help="Grocery Store data set as published, a zip archive.")],
    output: Annotated[Path, typer.Option(help="Folder to write.")] = GALLERY,
) -> None:
    """Write the gallery's images, attribution.csv and checksums."""
    (output / "images").mkdir(parents=True, exist_ok=True)
    rows = copy_photographs(photographs, output) + add_grocery(grocery, output)
    with (output / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_checksums(output)
    typer.echo(f"{len(rows):,} images in {output}")


if __name__ == "__main__":
    command.run(main)
