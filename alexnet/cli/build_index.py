"""`alexnet index`: build an index, and keep it up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alexnet.cli.options import (
    HOME,
    MAX_PIXELS,
    ArchiveOption,
    ArtifactOption,
    DataOption,
    DeviceOption,
    ExcludeOption,
    HomeOption,
    IndexOption,
    JsonOption,
    ListSkippedOption,
    MaxPixelsOption,
    PrecisionOption,
    index_uri,
    load_artifact,
)
from alexnet.cli.output import log_to_stderr, print_json
from model.images.limits import ImageLimits
from model.plurals import count_of
from model.shell_command import Command

if TYPE_CHECKING:
    from index.backends import IndexUri
    from index.shards import Shard


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
    command = _sync_command(artifact, index, device, precision, exclude, max_pixels, home)
    options = IndexingOptions(archive, device, dtype, part, tuple(exclude or ()), list_skipped, ImageLimits(max_pixels))
    with log_to_stderr(as_json):
        indexed = replace(index_dataset(data, loaded, uri, options), sync=command)
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
