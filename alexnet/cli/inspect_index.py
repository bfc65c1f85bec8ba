"""`alexnet index`: list, verify, draw and export what is in an index, and find duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet.cli.change_index import check_utf8
from alexnet.cli.options import (
    HOME,
    ArtifactOption,
    CsvOption,
    DeviceOption,
    HomeOption,
    IndexOption,
    JsonLinesOption,
    JsonOption,
    OutputOption,
    PrecisionOption,
    SeedOption,
    load_artifact,
    open_index,
)
from alexnet.cli.output import ResultPrinter, choose_format, print_json
from model.datasets.names import compose, show_path, show_text
from model.exceptions import IndexStoreError, InvalidRequestError
from model.plurals import count_of

if TYPE_CHECKING:
    from index.entries import Entry
    from index.protocol import Index

PAIR_COLUMNS = ("first_id", "second_id", "distance", "first_label", "second_label", "first_path", "second_path")


def list_images(
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Only images with this label.", show_default=False)
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Only the image with this key.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N images.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    as_jsonl: JsonLinesOption = False,
    as_csv: CsvOption = False,
    home: HomeOption = HOME,
) -> None:
    """List the images of an index: id, label, file."""
    if key is not None and label is not None:
        raise InvalidRequestError("give either --label or --key")
    printer = ResultPrinter(choose_format(as_json, as_jsonl, as_csv), ("id", "key", "label", "path"))
    with open_index(index, artifact, home, precision) as store:
        for e in islice(_iter_entries(store, label, key), limit):
            row = {"id": e.id, "key": e.key, "label": e.label, "path": str(e.source) if e.source else None}
            text = f"{e.id:8}  {show_text(e.label or '-')}  {show_path(e.source or e.key or '')}"
            printer.print(row, text, [tuple(row.values())])
    printer.close()


def _iter_entries(store: Index, label: str | None, key: str | None) -> Iterator[Entry]:
    """The entries of all images, of those with a label, or of the one with a key. Raises InvalidRequestError or
    UnknownImageError."""
    from index.entries import unknown_label_error
    from index.protocol import ids_of_keys

    if key is not None:
        check_utf8("key", key)
        return iter([store.entry(image_id) for image_id in ids_of_keys(store, [key])])
    label = compose(label)
    if label is not None and label not in store.labels():
        raise unknown_label_error(label)
    return store.catalog.iter_entries(label)


def verify(
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """Verify the checksums of features, entries and thumbnails.

    Exits with status 1 if an image is damaged.
    """
    from index.protocol import require_compaction

    with open_index(index, artifact, home, precision) as store:
        damaged = require_compaction(store).verify()
        if as_json:
            print_json({"num_images": len(store), "damaged": [{"id": key, "fault": damaged[key]} for key in damaged]})
        for image_id, fault in damaged.items():
            typer.echo(f"image {image_id}: {fault}", err=True)
        if damaged:
            raise IndexStoreError(
                f"{count_of(len(damaged), 'image')} damaged, {len(store):,} intact: remove the damaged ones with "
                "`alexnet index compact`, then add their files again"
            )
        if not as_json:
            typer.echo(f"{count_of(len(store), 'image')}, all intact")


def duplicates(
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    max_distance: Annotated[
        float,
        typer.Option(
            min=0, metavar="X", help="Maximum distance between two features, relative to the smaller of their norms."
        ),
    ] = 0.05,
    neighbors: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="Number of nearest neighbors to compare each image with.")
    ] = 10,
    as_json: JsonOption = False,
    as_jsonl: JsonLinesOption = False,
    as_csv: CsvOption = False,
    home: HomeOption = HOME,
) -> None:
    """Find pairs of near-duplicate images by their features.

    Prints one tab-separated line per pair: both ids, their relative distance, both labels, both files. The number of
    pairs, and of those with different labels, is printed on standard error.
    """
    from index.duplicates import find_duplicates

    printer = ResultPrinter(choose_format(as_json, as_jsonl, as_csv), PAIR_COLUMNS)
    with open_index(index, artifact, home, precision) as store:
        pairs = mislabeled = 0
        for pair in find_duplicates(store, max_distance, neighbors):
            pairs, mislabeled = pairs + 1, mislabeled + pair.has_two_labels
            ids, labels = (pair.first.id, pair.second.id), (pair.first.label, pair.second.label)
            paths = [str(e.source) if e.source else None for e in (pair.first, pair.second)]
            row = {"ids": ids, "distance": pair.distance, "labels": labels, "paths": paths}
            texts = (*(show_text(label or "-") for label in labels), *(show_path(path or "-") for path in paths))
            text = "\t".join([str(ids[0]), str(ids[1]), f"{pair.distance:.6g}", *texts])
            printer.print(row, text, [(*ids, pair.distance, *labels, *paths)])
    printer.close(num_pairs=pairs, num_with_two_labels=mislabeled)
    typer.echo(f"{count_of(pairs, 'pair')}, {mislabeled:,} with different labels", err=True)


def draw(
    output: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder to write the figures to.", show_default=False),
    ],
    index: IndexOption = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of query images, like the paper's test images (default: images in the index).",
            show_default=False,
        ),
    ] = None,
    num_queries: Annotated[int, typer.Option(min=1, metavar="N", help="Number of query images to draw.")] = 5,
    max_images: Annotated[int, typer.Option(min=2, metavar="N", help="Maximum number of images on the map.")] = 3_000,
    artifact: ArtifactOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    seed: SeedOption = 0,
    home: HomeOption = HOME,
) -> None:
    """Draw images with their neighbors, and a map of the index.

    The first figure is the right half of the paper's Figure 4: images with their six nearest neighbors. The second is a
    t-SNE map of at most --max-images features, colored by label. Needs the extra `train`.
    """
    from alexnet.index_drawing import draw_index

    loaded = load_artifact(artifact, home, precision) if queries or artifact or index is None else None
    with open_index(index, loaded, home) as store:
        for file in draw_index(store, loaded, queries, num_queries, output, max_images, seed, device):
            typer.echo(f"wrote {file}")


def export(
    output: OutputOption,
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    home: HomeOption = HOME,
) -> None:
    """Export the features as NumPy arrays (.npz).

    The file has the arrays ids, labels, paths, keys and features, with one row per image; read it with
    numpy.load(FILE).
    """
    from index.export import export_features

    with open_index(index, artifact, home, precision) as store:
        typer.echo(f"{count_of(export_features(store, output), 'image')} in {output}")
