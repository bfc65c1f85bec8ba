"""`alexnet classify`: the most probable classes of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet.cli.image_results import Result, format_list, print_results
from alexnet.cli.options import (
    HOME,
    MAX_PIXELS,
    ArtifactOption,
    CropsOption,
    CsvOption,
    DeviceOption,
    FilesFromOption,
    HomeOption,
    ImagesArgument,
    JsonLinesOption,
    JsonOption,
    MaxPixelsOption,
    PrecisionOption,
    load_artifact_while_importing,
    require_images,
)
from alexnet.cli.output import choose_format
from model.images.limits import ImageLimits
from model.plurals import count_of

if TYPE_CHECKING:
    from model.artifacts.artifact import Calibration
    from model.classification import Classification
    from model.datasets.listing import Skipped
    from model.images.info import WarningKind

MAX_OTHERS_IN_LINE = 2
"""Classes shown after the first one when each image has one line."""
COLUMNS = ("image", "rank", "index", "id", "name", "probability", "familiarity", "familiar", "error")


def classify(
    images: ImagesArgument = None,
    files_from: FilesFromOption = None,
    artifact: ArtifactOption = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Classes per image, most probable first.")] = 5,
    crops: CropsOption = "10",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    as_json: JsonOption = False,
    as_jsonl: JsonLinesOption = False,
    as_csv: CsvOption = False,
    home: HomeOption = HOME,
) -> None:
    """Classify images.

    Prints the most probable classes of each image, and a note if the image is unlike the network's training images.
    Exits with status 1 if an image can't be read; the others are still classified.

    \b
    Examples:
      alexnet classify photo.jpg
      alexnet classify --top 1 --csv photos/ > classes.csv
      curl -s https://example.org/cat.jpg | alexnet classify -
      find photos -name '*.jpg' -print0 | alexnet classify --files-from - --jsonl
    """
    require_images(images, files_from)
    form = choose_format(as_json, as_jsonl, as_csv)
    loaded = load_artifact_while_importing("alexnet.classification", artifact, home, precision)
    from alexnet.classification import classify_files

    def classify_all(names: Sequence[str], warnings: Counter[WarningKind]) -> Iterable[Result]:
        for name, result in classify_files(names, loaded, top, int(crops), device, warnings, ImageLimits(max_pixels)):
            yield _to_result(name, result)

    def format_text(result: Result, name_width: int) -> str:
        return _format(result, name_width, loaded.manifest.calibration)

    print_results(images, files_from, classify_all, "predictions", form, loaded, COLUMNS, format_text)


def _to_result(name: str, result: Classification | Skipped) -> Result:
    from model.datasets.listing import Skipped

    if isinstance(result, Skipped):
        return Result(name, error=result)
    fields = asdict(result)
    return Result(name, fields.pop("predictions"), fields)


def _format(result: Result, name_width: int, calibration: Calibration | None) -> str:
    """The classes of a single image, one per line; with several images, those of one image in a single line.

    `calibration`: of the network; it has the number of validation images that familiarity compares with.
    """
    unfamiliar = "unlike the images that the network was trained on" if result.extra["familiar"] is False else ""
    if not name_width:
        rows = [(f"{100 * row['probability']:6.2f} %", row["name"]) for row in result.rows]
        count = _count_less_familiar(result.extra["familiarity"] or 0, calibration.num_images if calibration else 0)
        return format_list(rows) + (f"\n{unfamiliar}: {count} less familiar" if unfamiliar else "")
    best, *others = result.rows
    notes = [f"{row['name']} {100 * row['probability']:.0f} %" for row in others[:MAX_OTHERS_IN_LINE]]
    line = f"{result.image:{name_width}}  {100 * best['probability']:5.1f} %  {best['name']}"
    notes += [unfamiliar] if unfamiliar else []
    return line + (f"  ({', '.join(notes)})" if notes else "")


def _count_less_familiar(familiarity: float, num_held_out: int) -> str:
    """A number of images, not a percentage: with few images, a small percentage would claim more than is known."""
    count = round(familiarity * num_held_out)
    return f"{count or 'none'} of its {count_of(num_held_out, 'validation image')} {'are' if count > 1 else 'is'}"
