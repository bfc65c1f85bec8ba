"""`alexnet index`: build, inspect and change an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alexnet.cli.command_groups import add_command, add_commands, new_app
from alexnet.cli.evaluate_index import evaluate
from alexnet.cli.options import (
    HOME,
    MAX_PIXELS,
    ArchiveOption,
    ArtifactOption,
    CsvOption,
    DataOption,
    DeviceOption,
    ExcludeOption,
    HomeOption,
    IndexOption,
    JsonLinesOption,
    JsonOption,
    ListSkippedOption,
    MaxPixelsOption,
    OutputOption,
    PrecisionOption,
    SeedOption,
    index_uri,
    load_artifact,
    open_index,
)
from alexnet.cli.output import ResultPrinter, choose_format, log_to_stderr, print_json
from model.datasets.names import compose, is_utf8, show_path, show_text
from model.exceptions import IndexStoreError, InvalidRequestError, UnknownImageError
from model.images.limits import ImageLimits
from model.plurals import count_of
from model.shell_command import Command

if TYPE_CHECKING:
    from index.backends import IndexUri
    from index.bulk_change import Selection
    from index.entries import Entry
    from index.protocol import Index
    from index.shards import Shard
    from model.artifacts.artifact import Precision

IdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="ID", help="Ids of images, as `alexnet index list` shows them.", show_default=False),
]
LabelOption = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="All images with this label, instead of ids.", show_default=False),
]
KeysOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key", metavar="KEY", help="The image with this key, instead of ids; repeatable.", show_default=False
    ),
]
PAIR_COLUMNS = ("first_id", "second_id", "distance", "first_label", "second_label", "first_path", "second_path")
CHANGE, INSPECT = "Build and change", "Inspect"

index_app = new_app(help="Build, inspect and change an index of images.")


def add(
    data: DataOption,
    artifact: ArtifactOption = None,
    index: IndexOption = None,
    archive: ArchiveOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    dtype: Annotated[
        Literal["float32", "float16"],
        typer.Option(help="Data type of the features in a new index; float16 takes half the disk space."),
    ] = "float32",
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Index only the K-th of N parts of the images, so that N machines can share the work; merge the parts "
            "with `alexnet index merge`.",
            show_default=False,
        ),
    ] = None,
    exclude: ExcludeOption = None,
    list_skipped: ListSkippedOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """Add images, with their features, labels and thumbnails.

    Creates the index if there is none. Run it again to resume after an interruption or to add more images: features of
    images that are already indexed aren't computed again.
    """
    from alexnet.indexing import IndexingOptions, index_dataset
    from index.shards import Shard

    loaded, part = load_artifact(artifact, home, precision), Shard.parse(shard) if shard else None
    uri = index_uri(index, loaded, home)
    uri = uri if part is None or index is not None else _index_of_shard(uri, part)
    sync = _sync_command(artifact, index, device, precision, exclude, max_pixels, home)
    options = IndexingOptions(archive, device, dtype, part, tuple(exclude or ()), list_skipped, ImageLimits(max_pixels))
    with log_to_stderr(as_json):
        indexed = replace(index_dataset(data, loaded, uri, options), sync=sync)
    if as_json:
        print_json(indexed.to_json())
    else:
        typer.echo(str(indexed))


def _index_of_shard(uri: IndexUri, shard: Shard) -> IndexUri:
    """The default index of a shard, beside that of the whole data set."""
    from index.backends import IndexUri

    return uri if uri.folder is None else IndexUri(shard.index_path(uri.folder))


def _sync_command(
    artifact: Path | None,
    index: str | None,
    device: str,
    precision: str,
    exclude: Sequence[str] | None,
    max_pixels: int,
    home: Path,
) -> Command:
    """`alexnet index sync` with those of these options that differ from their defaults, and without its data."""
    return (
        Command("index", "sync")
        .option("artifact", artifact)
        .option("index", index)
        .option("precision", precision, "float32")
        .option("device", device, "auto")
        .option("exclude", exclude)
        .option("max_pixels", max_pixels, MAX_PIXELS)
        .option("home", home, HOME)
    )


def sync(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Folder or table of images to sync with.", show_default=False),
    ],
    artifact: ArtifactOption = None,
    index: IndexOption = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove images whose file is gone.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    exclude: ExcludeOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """Bring an index up to date with a folder or a table.

    Adds new images, updates moved, relabeled and edited ones, and lists and counts the changes. Images whose file is
    gone stay in the index; with --prune they are removed, and can be restored until the index is compacted.
    """
    from alexnet.indexing import SyncOptions, sync_data

    loaded = load_artifact(artifact, home, precision)
    uri = index_uri(index, loaded, home)
    options = SyncOptions(device, tuple(exclude or ()), prune, dry_run, ImageLimits(max_pixels))
    with log_to_stderr(as_json):
        report, summary = sync_data(data, loaded, uri, options)
    if as_json:
        print_json(report.to_json())
        return
    for change in report.changes:
        typer.echo(str(change))
    typer.echo(f"{summary}\nindex {uri}: {report}")


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
        _check_utf8("key", key)
        return iter([store.entry(image_id) for image_id in ids_of_keys(store, [key])])
    label = compose(label)
    if label is not None and label not in store.labels():
        raise unknown_label_error(label)
    return store.catalog.iter_entries(label)


def _check_utf8(kind: str, text: str) -> None:
    """Raise InvalidRequestError for a label or key that isn't UTF-8; an index has only UTF-8."""
    if not is_utf8(text):
        raise InvalidRequestError(f"invalid {kind} {text[:80]!r}: it isn't UTF-8")


def remove(
    ids: IdsArgument = None,
    label: LabelOption = None,
    keys: KeysOption = None,
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    home: HomeOption = HOME,
) -> None:
    """Remove images from an index.

    `alexnet index restore` undoes the removal until the index is compacted.
    """
    _change_many(_select(ids, label, keys), index, artifact, home, precision, removed=True)


def restore(
    ids: IdsArgument = None,
    label: LabelOption = None,
    keys: KeysOption = None,
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    home: HomeOption = HOME,
) -> None:
    """Restore removed images.

    Name them by the ids that they had, or by their label or key. This works until the index is compacted.
    """
    _change_many(_select(ids, label, keys), index, artifact, home, precision, removed=False)


def _select(ids: list[int] | None, label: str | None, keys: list[str] | None) -> Selection:
    """The images that a command names. Raises InvalidRequestError."""
    from index.bulk_change import Selection
    from index.entries import MAX_ID

    if [bool(ids), bool(keys), label is not None].count(True) != 1:
        raise InvalidRequestError("give either image ids, --key or --label")
    if ids and max(map(abs, ids)) > MAX_ID:
        raise InvalidRequestError(f"no image has an id above {MAX_ID}: `alexnet index list` shows the existing ids")
    if label is not None:
        _check_utf8("label", label)
    for key in keys or ():
        _check_utf8("key", key)
    return Selection(ids or None, compose(label), keys or None)


def _change_many(
    selection: Selection, index: str | None, artifact: Path | None, home: Path, precision: Precision, removed: bool
) -> None:
    """Remove or restore images in one commit. Raises InvalidRequestError or UnknownImageError."""
    from index.bulk_change import BulkChange

    with open_index(index, artifact, home, precision, writable=True) as store:
        result = store.change_many(selection, BulkChange(removed))
    if selection.label is not None and not result.changed:
        kind = "image" if removed else "removed image"
        raise InvalidRequestError(f"no {kind} in the index has the label {selection.label[:80]!r}")
    typer.echo(f"{count_of(len(result.changed), 'image')} {'removed' if removed else 'restored'}")
    for kind, unknown, form in (("ids", result.unknown_ids, ""), ("keys", result.unknown_keys, " --csv")):
        if unknown:
            shown = ", ".join(show_text(str(name)) for name in unknown[:10])
            raise UnknownImageError(
                f"no indexed image has these {kind}: {shown}; `alexnet index list{form}` shows the existing {kind}"
            )


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


def compact(
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    home: HomeOption = HOME,
) -> None:
    """Delete removed and damaged images for good and free their disk space."""
    from index.protocol import require_compaction

    with open_index(index, artifact, home, precision, writable=True) as store:
        typer.echo(f"{count_of(require_compaction(store).compact(), 'image')} deleted, {len(store):,} kept")


def merge(
    others: Annotated[
        list[str],
        typer.Argument(
            metavar="OTHER", help="Indexes to add, as for --index; all of the same network.", show_default=False
        ),
    ],
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    home: HomeOption = HOME,
) -> None:
    """Add the images of other indexes to an index.

    Creates the index if there is none. Run it again to resume after an interruption: an image that is already in the
    index isn't added twice.
    """
    from index.backends import IndexUri
    from index.merge import merge as merge_indexes

    uri = index_uri(index, artifact, home, precision)
    report = merge_indexes(uri, [IndexUri.parse(other) for other in others])
    counts = f"{report.added:,} added, {report.existing:,} already indexed"
    typer.echo(f"index {uri}: {count_of(report.images, 'image')} ({counts})")


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


add_commands(index_app, CHANGE, add, sync, merge, remove, restore, compact)
add_command(index_app, list_images, "list", section=INSPECT)
add_commands(index_app, INSPECT, verify, evaluate, duplicates, draw, export)
