"""`alexnet similar`: the indexed images most similar to an image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet.cli.options import (
    HOME,
    ArtifactOption,
    DeviceOption,
    HomeOption,
    ImageArgument,
    IndexOption,
    JsonOption,
    PrecisionOption,
    index_uri,
    load_artifact,
)

if TYPE_CHECKING:
    from index.search import Neighbor


def similar(
    image: ImageArgument,
    artifact: ArtifactOption = None,
    index: IndexOption = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="Number of neighbors.")] = 6,
    label: Annotated[str | None, typer.Option(help="Search only images with this label.")] = None,
    search: Annotated[str, typer.Option(help="Search mode: exact; with codes also binary or hash_lookup.")] = "exact",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    as_json: JsonOption = False,
    home: HomeOption = HOME,
) -> None:
    """Find the indexed images most similar to an image, by the Euclidean distance of their features."""
    from alexnet.similarity import find_similar

    loaded = load_artifact(artifact, home, precision)
    neighbors = find_similar(image, loaded, index_uri(index, loaded, home), k, label, search, device)
    if as_json:
        typer.echo(json.dumps([_row(neighbor) for neighbor in neighbors]))
    else:
        for n in neighbors:
            typer.echo(f"{n.distance:9.3f}  {n.entry.label or '-'}  {n.entry.source}")


def _row(neighbor: Neighbor) -> dict[str, object]:
    entry = neighbor.entry
    return {"id": entry.id, "distance": neighbor.distance, "label": entry.label, "path": str(entry.source)}
