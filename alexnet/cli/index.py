"""`alexnet index`: build, inspect and change an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from alexnet.cli.evaluate_index import evaluate
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
    MaxImagesOption,
    MaxPixelsOption,
    OutputOption,
    PrecisionOption,
    SeedOption,
    index_uri,
    load_artifact,
    open_index,
)
from model.exceptions import IndexStoreError, InvalidRequestError

IdsArgument = Annotated[list[int], typer.Argument(help="Ids of images.", min=1)]

index_app = typer.Typer(no_args_is_help=True, help="Build, inspect and change an index.")
index_app.command()(evaluate)


@index_app.command()
def add(
    data: DataOption,
    artifact: ArtifactOption = None,
    index: IndexOption = None,
    archive: ArchiveOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    dtype: Annotated[str, typer.Option(help="Feature type of a new index: float32, or float16 (half the size).")] = (
        "float32"
    ),
    shard: Annotated[str | None, typer.Option(help="Index only shard K of N, as K/N (for several machines).")] = None,
    exclude: ExcludeOption = None,
    list_skipped: ListSkippedOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    home: HomeOption = HOME,
) -> None:
    """Add images to an index, with their features, labels and thumbnails; the index is created if needed.

    Run it again to resume after an interruption or to add more images: indexed images are not computed again.
    """
    from alexnet.indexing import IndexingOptions, index_dataset
    from index.backends import IndexUri
    from index.shards import Shard
    from model.images.limits import ImageLimits

    loaded, part = load_artifact(artifact, home, precision), Shard.parse(shard) if shard else None
    uri = index_uri(index, loaded, home)
    if part and index is None and uri.folder is not None:
        uri = IndexUri(part.index_path(uri.folder))
    options = IndexingOptions(archive, device, dtype, part, tuple(exclude or ()), list_skipped, ImageLimits(max_pixels))
    typer.echo(str(index_dataset(data, loaded, uri, options)))


@index_app.command()
def sync(
    folder: Annotated[Path, typer.Argument(help="Folder of images that the index follows.", show_default=False)],
    artifact: ArtifactOption = None,
    index: IndexOption = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove the images whose file is gone.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be changed, and change nothing.")] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    exclude: ExcludeOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """Bring an index to what is in a folder: added, moved, relabeled, edited and gone images, each named and counted.

    Images whose file is gone stay in the index unless --prune is given, and can be restored until it is compacted.
    """
    from alexnet.indexing import SyncOptions, sync_folder
    from model.images.limits import ImageLimits

    loaded = load_artifact(artifact, home, precision)
    uri = index_uri(index, loaded, home)
    options = SyncOptions(device, tuple(exclude or ()), prune, dry_run, ImageLimits(max_pixels))
    report, summary = sync_folder(folder, loaded, uri, options)
    if as_json:
        typer.echo(json.dumps(report.to_json()))
        return
    for change in report.changes:
        typer.echo(str(change))
    typer.echo(f"{summary}\nindex {uri}: {report}")


@index_app.command(name="list")
def list_images(
    index: IndexOption = None,
    label: Annotated[str | None, typer.Option(help="Only images with this label.")] = None,
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """List the images of an index by id (--json: one JSON object per line)."""
    with open_index(index, home) as store:
        if label is not None and label not in store.labels():
            raise InvalidRequestError(f"no image of the index has the label {label[:80]!r}")
        for e in store.catalog.iter_entries(label):
            row = {"id": e.id, "key": e.key, "label": e.label, "source": str(e.source) if e.source else None}
            typer.echo(json.dumps(row) if as_json else f"{e.id:8}  {e.label or '-'}  {e.source or e.key or ''}")


@index_app.command()
def remove(ids: IdsArgument, index: IndexOption = None, home: HomeOption = HOME) -> None:
    """Remove images; `alexnet index restore` undoes it until the index is compacted."""
    with open_index(index, home, writable=True) as store:
        for image_id in ids:
            store.remove(image_id)
    typer.echo(f"{_num_images(len(ids))} removed")


@index_app.command()
def restore(ids: IdsArgument, index: IndexOption = None, home: HomeOption = HOME) -> None:
    """Restore removed images."""
    with open_index(index, home, writable=True) as store:
        for image_id in ids:
            store.restore(image_id)
    typer.echo(f"{_num_images(len(ids))} restored")


@index_app.command()
def verify(index: IndexOption = None, home: HomeOption = HOME) -> None:
    """Verify all checksums: features, entries and thumbnails; exit with status 1 if an image is damaged."""
    from index.protocol import require_compaction

    with open_index(index, home) as store:
        damaged = require_compaction(store).verify()
        for image_id, fault in damaged.items():
            typer.echo(f"image {image_id}: {fault}", err=True)
        if damaged:
            raise IndexStoreError(
                f"{_num_images(len(damaged))} damaged, {len(store):,} intact: remove the damaged ones with "
                "`alexnet index compact`, then add their files again"
            )
        typer.echo(f"{_num_images(len(store))}, all intact")


@index_app.command()
def compact(index: IndexOption = None, home: HomeOption = HOME) -> None:
    """Delete removed and damaged images for good and free their disk space."""
    from index.protocol import require_compaction

    with open_index(index, home, writable=True) as store:
        typer.echo(f"{_num_images(require_compaction(store).compact())} deleted, {len(store):,} kept")


@index_app.command()
def merge(
    others: Annotated[list[Path], typer.Argument(help="Indexes of the same network.", min=1, show_default=False)],
    index: IndexOption = None,
    home: HomeOption = HOME,
) -> None:
    """Add the images of other indexes to an index; the index is created if needed.

    Run it again to resume after an interruption: images that are in both count once.
    """
    from index.backends import require_folder
    from index.merge import merge as merge_indexes

    uri = index_uri(index, None, home)
    report = merge_indexes(require_folder(uri), others)
    counts = f"{report.added:,} added, {report.existing:,} already indexed"
    typer.echo(f"index {uri}: {report.images:,} images ({counts})")


@index_app.command()
def export(output: OutputOption, index: IndexOption = None, home: HomeOption = HOME) -> None:
    """Export ids, labels and features as NumPy arrays (.npz)."""
    from index.export import export_features

    with open_index(index, home) as store:
        typer.echo(f"{_num_images(export_features(store, output))} in {output}")


@index_app.command()
def duplicates(
    index: IndexOption = None,
    max_distance: Annotated[
        float, typer.Option(min=0, help="Maximum distance of two features, relative to the shorter one.")
    ] = 0.05,
    neighbors: Annotated[int, typer.Option(min=1, max=100, help="Neighbors to compare per image.")] = 10,
    home: HomeOption = HOME,
) -> None:
    """Find pairs of near-duplicate images by their features: id, id, relative distance, label, label.

    How many pairs there are, and how many of them have two labels, is printed on standard error.
    """
    from index.duplicates import find_duplicates

    with open_index(index, home) as store:
        pairs = mislabeled = 0
        for pair in find_duplicates(store, max_distance, neighbors):
            pairs, mislabeled = pairs + 1, mislabeled + pair.has_two_labels
            labels = f"{pair.first.label or '-'}\t{pair.second.label or '-'}"
            typer.echo(f"{pair.first.id}\t{pair.second.id}\t{pair.distance:.6g}\t{labels}")
        typer.echo(f"{pairs:,} pair{'' if pairs == 1 else 's'}, {mislabeled:,} with different labels", err=True)


@index_app.command()
def draw(
    output: OutputOption,
    index: IndexOption = None,
    queries: Annotated[int, typer.Option(min=1, help="Images in the figure of neighbors.")] = 5,
    max_images: MaxImagesOption = 3_000,
    seed: SeedOption = 0,
    home: HomeOption = HOME,
) -> None:
    """Draw images with their six nearest neighbors (Figure 4, right) and a t-SNE map of the features by label.

    Needs the extra `train`.
    """
    from index.drawing import draw as draw_figures

    with open_index(index, home) as store:
        for file in draw_figures(store, output, queries, max_images, seed):
            typer.echo(f"wrote {file}")


def _num_images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
