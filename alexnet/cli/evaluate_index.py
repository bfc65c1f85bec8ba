"""`alexnet evaluate-index`: precision by label, and the recall of every search against the exact one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from alexnet.cli.index import IndexArgument, opened
from alexnet.cli.options import ARTIFACTS, ArtifactOption, DeviceOption, PrecisionOption
from index.evaluation import LabeledQuery, evaluate, plot, table
from index.search import Search
from index.store import ImageIndex
from model.artifacts import artifact as artifacts
from model.encoder import Encoder
from model.exceptions import IndexStoreError


def evaluate_index(
    index: IndexArgument,
    images: Annotated[
        Path | None, typer.Option(help="A folder with a subfolder a label, to ask with; else indexed ones ask.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="At most so many queries, drawn with a seed.")] = 500,
    artifact: ArtifactOption = ARTIFACTS,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    image: Annotated[Path | None, typer.Option("--plot", help="A .png of it.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="A .json of it.")] = None,
) -> None:
    """Ask an index with images whose labels are known, and measure its answers."""
    with opened(index) as found:
        loaded = artifacts.load(artifact, precision)
        found.require(loaded)
        encoder = Encoder.of(loaded)
        searches: list[Search] = []
        if encoder is not None:
            found.use(encoder)
            searches = ["binary", "addresses"] if encoder.bits <= 32 else ["binary"]
        asked = _indexed(found, count) if images is None else _sent(found, images, count, loaded.network, device)
        if not asked:
            raise IndexStoreError("expected images with labels to ask with, found none")
        result = evaluate(found, asked, searches)
    typer.echo(table(result))
    if image is not None:
        plot(result, image)
    if as_json is not None:
        as_json.write_text(json.dumps(result.plain(), indent=1) + "\n")


def _drawn(total: int, count: int) -> list[int]:
    return sorted(np.random.default_rng(0).permutation(total)[:count].tolist())


def _indexed(index: ImageIndex, count: int) -> list[LabeledQuery]:
    entries = [entry for entry in index.catalog.everything() if entry.label and entry.id not in index.damaged]
    chosen = [entries[place] for place in _drawn(len(entries), count)]
    return [LabeledQuery(index.feature(entry.id), entry.label or "", entry.id) for entry in chosen]


def _sent(index: ImageIndex, folder: Path, count: int, network: Path, device: str) -> list[LabeledQuery]:
    from index.build import find_images
    from model.images.preprocess import decode_image
    from model.runtime import OnnxModel

    model, sources = OnnxModel(network, device), [source for source in find_images(folder) if source.label]
    asked = []
    for place in _drawn(len(sources), count):
        pixels = decode_image(sources[place].path.read_bytes()).pixels
        asked.append(LabeledQuery(model.features(pixels[None], index.crops)[0], sources[place].label or ""))
    return asked
