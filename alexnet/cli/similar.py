"""`alexnet similar`: find the indexed images most similar to images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from alexnet.cli.image_results import Result, format_list, print_results
from alexnet.cli.options import (
    HOME,
    MAX_PIXELS,
    ArtifactOption,
    CsvOption,
    DeviceOption,
    FilesFromOption,
    HomeOption,
    ImagesArgument,
    IndexOption,
    JsonLinesOption,
    JsonOption,
    MaxPixelsOption,
    PrecisionOption,
    index_uri,
    load_artifact_while_importing,
    require_images,
)
from alexnet.cli.output import choose_format
from model.datasets.names import show_path, show_text

if TYPE_CHECKING:
    from index.search import Neighbor
    from model.images.info import WarningKind

COLUMNS = ("image", "rank", "id", "key", "distance", "label", "path", "error")


def similar(
    images: ImagesArgument = None,
    files_from: FilesFromOption = None,
    artifact: ArtifactOption = None,
    index: IndexOption = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, metavar="N", help="Neighbors per image.")] = 6,
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Search only images with this label.", show_default=False)
    ] = None,
    search: Annotated[
        Literal["exact", "binary", "hash_lookup"],
        typer.Option(help="exact compares with every image; the others need codes (`alexnet codes train`)."),
    ] = "exact",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    as_json: JsonOption = False,
    as_jsonl: JsonLinesOption = False,
    as_csv: CsvOption = False,
    home: HomeOption = HOME,
) -> None:
    """Find indexed images most similar to given ones.

    Prints the distance, label and file of each neighbor, nearest first. The distance is the Euclidean distance between
    the features of two images; it is 0 for the same image. Exits with status 1 if an image can't be read; the search
    still runs for the others.

    \b
    Examples:
      alexnet similar photo.jpg
      alexnet similar -k 1 --csv 'photos/**/*.jpg' > neighbors.csv
    """
    require_images(images, files_from)
    form = choose_format(as_json, as_jsonl, as_csv)
    loaded = load_artifact_while_importing("alexnet.similarity", artifact, home, precision)
    from alexnet.similarity import find_similar
    from model.images.limits import ImageLimits

    limits = ImageLimits(max_pixels)
    uri = index_uri(index, loaded, home)

    def search_all(names: Sequence[str], warnings: Counter[WarningKind]) -> Iterable[Result]:
        for name, result in find_similar(names, loaded, uri, k, label, search, device, warnings, limits):
            yield Result(name, [_row(n) for n in result]) if isinstance(result, list) else Result(name, error=result)

    print_results(images, files_from, search_all, "neighbors", form, loaded, COLUMNS, _format)


def _row(neighbor: Neighbor) -> dict[str, Any]:
    entry = neighbor.entry
    path = None if entry.source is None else str(entry.source)
    return {"id": entry.id, "key": entry.key, "distance": neighbor.distance, "label": entry.label, "path": path}


def _format(result: Result, name_width: int) -> str:
    rows = [
        (
            f"{row['distance']:9.3f}",
            show_text(row["label"] or "-"),
            show_path(row["path"] or row["key"] or f"image {row['id']}"),
        )
        for row in result.rows
    ]
    text = format_list(rows) if rows else "no neighbor found"
    return f"{result.image}\n{text}" if name_width else text
