"""`alexnet index ...`: an index looked at and changed from the command line."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from index.search import Query
from index.store import CATALOG, ImageIndex
from model.exceptions import IndexStoreError, InvalidRequestError

IndexArgument = Annotated[Path, typer.Argument(help="The index's folder.")]
IdsArgument = Annotated[list[int], typer.Argument(help="Ids of images.", min=1)]
DRAWS = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}
"""Modules that drawing needs, and their packages."""


def add_commands(app: typer.Typer) -> None:
    """Everything but the building of an index, which needs a network and data."""
    for command in (listing, remove, restore, verify, compact, merge, export, duplicates, draw):
        app.command(name="list" if command is listing else None)(command)


@contextmanager
def opened(path: Path, writable: bool = False) -> Iterator[ImageIndex]:
    """Raises IndexStoreError."""
    if not (path / CATALOG).is_file():
        raise IndexStoreError(f"expected an index at {path}, found none: build one with `alexnet index`")
    index = ImageIndex(path, writable)
    try:
        yield index
    finally:
        index.close()


def listing(
    index: IndexArgument,
    label: Annotated[str | None, typer.Option(help="Only those with this label.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
) -> None:
    """The images of an index, by id."""
    with opened(index) as found:
        if label is not None and label not in found.labels():
            raise InvalidRequestError(f"expected a label of the index, found {label[:80]!r}")
        for e in found.catalog.everything(label):
            row = {"id": e.id, "key": e.key, "label": e.label, "source": str(e.source) if e.source else None}
            typer.echo(json.dumps(row) if as_json else f"{e.id:8}  {e.label or '-'}  {e.source or e.key or ''}")


def remove(index: IndexArgument, ids: IdsArgument) -> None:
    """Take images out; `restore` brings them back until the index is compacted."""
    with opened(index, writable=True) as found:
        for number in ids:
            found.remove(number)
    typer.echo(f"{_images(len(ids))} removed")


def restore(index: IndexArgument, ids: IdsArgument) -> None:
    """Bring removed images back."""
    with opened(index, writable=True) as found:
        for number in ids:
            found.restore(number)
    typer.echo(f"{_images(len(ids))} restored")


def verify(index: IndexArgument) -> None:
    """Compare every row with its checksum; an error where one is damaged."""
    with opened(index) as found:
        for number, fault in found.damaged.items():
            typer.echo(f"image {number}: {fault}", err=True)
        if found.damaged:
            raise IndexStoreError(
                f"expected {len(found) + len(found.damaged):,} whole images, found {len(found.damaged):,} damaged: "
                "`alexnet index compact` takes them out, adding their files again brings them back"
            )
        typer.echo(f"{_images(len(found))}, all whole")


def compact(index: IndexArgument) -> None:
    """Forget removed and damaged images for good, and give their room back."""
    with opened(index, writable=True) as found:
        typer.echo(f"{_images(found.compact())} forgotten, {len(found):,} kept")


def merge(
    into: Annotated[Path, typer.Argument(help="The index to add to; begun where there is none.")],
    others: Annotated[list[Path], typer.Argument(help="Indexes by the same network.", min=1)],
) -> None:
    """Add the images of other indexes; what is there already counts once. Call it again after an interruption."""
    from index.merge import merge as merged

    report = merged(into, others)
    typer.echo(f"index {into}: {report.images:,} images ({report.added:,} added, {report.known:,} there already)")


def export(index: IndexArgument, target: Annotated[Path, typer.Argument(help="A file, .npz.")]) -> None:
    """Ids, labels and features as numpy's arrays `ids`, `labels`, `features`."""
    with opened(index) as found:
        entries = [entry for entry in found.catalog.everything() if entry.id not in found.damaged]
        features = [found.feature(entry.id) for entry in entries]
        np.savez(
            target,
            ids=np.array([entry.id for entry in entries], np.int64),
            labels=np.array([entry.label or "" for entry in entries]),
            features=np.stack(features) if features else np.empty((0, found.dim), np.float32),
        )
        typer.echo(f"{_images(len(entries))} in {target}")


def duplicates(
    index: IndexArgument,
    distance: Annotated[float, typer.Option(min=0, help="Pairs at most as far apart.")] = 1e-3,
    neighbors: Annotated[int, typer.Option(min=1, max=100, help="Looked at for each image.")] = 10,
) -> None:
    """Pairs of images that are nearly the same: id, id, distance."""
    if not distance >= 0:
        raise InvalidRequestError(f"expected a distance of 0 or more, found {distance}")
    with opened(index) as found:
        pairs = 0
        for entry in found.catalog.everything():
            if entry.id in found.damaged:
                continue
            for near in found.search(Query(found.feature(entry.id), neighbors + 1, max_distance=distance)):
                if near.entry.id > entry.id:
                    pairs += 1
                    typer.echo(f"{entry.id}\t{near.entry.id}\t{near.distance:.6g}")
        typer.echo(f"{pairs:,} pair{'' if pairs == 1 else 's'}", err=True)


def draw(
    index: IndexArgument,
    output: Annotated[Path, typer.Option(help="The folder for neighbors.png and map.png.")],
    queries: Annotated[int, typer.Option(min=1, help="Rows of the first.")] = 5,
    most: Annotated[int, typer.Option(min=10, help="Images on the map, drawn from all.")] = 3_000,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn at random.")] = 0,
) -> None:
    """Figure 4's right half, images with their six neighbors; and a map of the features by t-SNE, by label.

    Needs the extras `train` and `baselines`.
    """
    from index.drawing import draw as drawn

    if missing := [package for module, package in DRAWS.items() if importlib.util.find_spec(module) is None]:
        raise IndexStoreError(
            f"expected {' and '.join(missing)} to draw, found none: pip install -e '.[cpu,train,baselines]'"
        )
    with opened(index) as found:
        for file in drawn(found, output, queries, most, seed):
            typer.echo(f"wrote {file}")


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
