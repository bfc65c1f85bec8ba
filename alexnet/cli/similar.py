"""`alexnet similar`: the indexed images most like given ones, without a server."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from alexnet.cli.options import (
    ARTIFACTS,
    ArtifactOption,
    DeviceOption,
    ImageArgument,
    IndexOption,
    JsonOption,
    PrecisionOption,
    indexes_folder,
)


def similar(
    image: ImageArgument,
    artifact: ArtifactOption = ARTIFACTS,
    index: IndexOption = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="How many neighbors.")] = 6,
    label: Annotated[str | None, typer.Option(help="Of the images with this label only.")] = None,
    search: Annotated[str, typer.Option(help="exact; binary or addresses where there are codes.")] = "exact",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    as_json: JsonOption = False,
) -> None:
    """Find the indexed images most like an image, by the Euclidean distance of their features."""
    from index.backends import open_readonly
    from index.search import Query, parse_search_mode
    from model.artifacts import artifact as artifacts
    from model.encoder import Encoder
    from model.images.preprocess import decode_file
    from model.runtime import OnnxModel

    loaded = artifacts.load(artifact, precision)
    store = open_readonly(index or loaded.index_in(indexes_folder()))
    try:
        store.require(loaded)
        way = parse_search_mode(search)
        if way != "exact":
            store.use(Encoder.of(loaded))
        pixels = decode_file(image).pixels
        feature = OnnxModel(loaded.network, device).features(pixels[None], store.crops)[0]
        neighbors = store.search(Query(feature, k, label, search=way))
    finally:
        store.close()
    if as_json:
        rows = [
            {"id": n.entry.id, "distance": n.distance, "label": n.entry.label, "path": str(n.entry.source)}
            for n in neighbors
        ]
        typer.echo(json.dumps(rows))
    else:
        for n in neighbors:
            typer.echo(f"{n.distance:9.3f}  {n.entry.label or '-'}  {n.entry.source}")
