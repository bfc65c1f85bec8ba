"""The command `alexnet`, and the only place that knows all packages."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from alexnet.cli.artifact import DataOption, draw, evaluate, export, pull, quantize
from alexnet.cli.evaluate_index import evaluate_index
from alexnet.cli.index import IndexArgument, add_commands, opened
from alexnet.cli.options import (
    ARTIFACTS,
    ArchiveOption,
    ArtifactOption,
    DeviceOption,
    ImageArgument,
    IndexOption,
    JsonOption,
    PrecisionOption,
    RowsOption,
    indexes_folder,
)
from alexnet.cli.serve import require_free, run, serve_command, settings
from alexnet.cli.similar import similar
from model.artifacts.artifact import ENCODER, Artifact
from model.exceptions import AlexNetError, StoppedError
from training.run import DATA_HELP, train

if TYPE_CHECKING:
    from index.shards import Shard

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train the 2012 AlexNet on your own images, and serve it: name an image, find the images most like it.",
)

app.command(name="train")(train)
app.command(name="similar")(similar)
app.command(name="evaluate")(evaluate)
app.command(name="quantize")(quantize)
app.command(name="draw")(draw)
app.command(name="pull")(pull)
app.command(name="export")(export)
app.command(name="evaluate-index")(evaluate_index)
app.command(name="serve")(serve_command())


ShardOption = Annotated[str | None, typer.Option(help="The part of the images for this machine, as 3/16.")]

codes = typer.Typer(no_args_is_help=True, help="Binary codes of features (section 6.1 of the paper).")
app.add_typer(codes, name="codes")

indexes = typer.Typer(no_args_is_help=True, invoke_without_command=True)
add_commands(indexes)
app.add_typer(indexes, name="index")


@indexes.callback()
def index(
    context: typer.Context,
    data: Annotated[str, typer.Option(help=DATA_HELP)] = "",
    artifact: ArtifactOption = ARTIFACTS,
    index: IndexOption = None,
    archive: ArchiveOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    rows: RowsOption = "float32",
    shard: ShardOption = None,
) -> None:
    """Compute the features of images and keep them, with labels and thumbnails, to be searched.

    Call it again to go on after an interruption, or to add more images; what is there already is not computed anew.
    The commands below look at an index and change it.
    """
    if context.invoked_subcommand is not None:
        return
    if not data:
        raise typer.BadParameter("expected images, found none", param_hint="--data")
    add(data, artifact, index, archive, device, precision, rows, shard)


@indexes.command()
def add(
    data: DataOption,
    artifact: ArtifactOption = ARTIFACTS,
    index: IndexOption = None,
    archive: ArchiveOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    rows: RowsOption = "float32",
    shard: ShardOption = None,
) -> None:
    """The same as `alexnet index --data ...`."""
    from index.shards import Shard
    from model.artifacts import artifact as artifacts

    part = Shard.named(shard) if shard else None
    loaded = artifacts.load(artifact, precision)
    whole = loaded.index_in(indexes_folder())
    _index(data, archive, loaded, index or (part.index(whole) if part else whole), device, rows, part)


@app.command()
def classify(
    image: ImageArgument,
    artifact: ArtifactOption = ARTIFACTS,
    top: Annotated[int, typer.Option(min=1, help="How many classes.")] = 5,
    crops: Annotated[int, typer.Option(min=1, max=10, help="10 as in the paper, or 1: the center.")] = 10,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    as_json: JsonOption = False,
) -> None:
    """Name an image: its most probable classes, from ten crops."""
    import numpy as np

    from model.artifacts import artifact as artifacts
    from model.images.crops import CENTER_CROP, TEN_CROP
    from model.images.preprocess import decode_file
    from model.runtime import OnnxModel

    if crops not in (1, 10):
        raise typer.BadParameter("expected 1 or 10", param_hint="--crops")
    loaded = artifacts.load(artifact, precision)
    pixels = decode_file(image).pixels
    model = OnnxModel(loaded.network, device)
    probabilities = model.run(pixels[None], TEN_CROP if crops == 10 else CENTER_CROP)[0][0]
    chosen = np.argsort(-probabilities, kind="stable")[:top]
    answer = [
        {"id": loaded.labels[i].id, "name": loaded.labels[i].name, "probability": float(probabilities[i])}
        for i in chosen
    ]
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        for entry in answer:
            typer.echo(f"{100 * float(str(entry['probability'])):6.2f} %  {entry['name']}")


MOST_TO_TRAIN_ON = 50_000
"""Features that a code is trained on: 0.8 GB."""


@codes.command(name="train")
def train_codes(
    index: IndexArgument,
    artifact: ArtifactOption = ARTIFACTS,
    bits: Annotated[int, typer.Option(min=8, max=1024, help="Of a code; up to 32, codes are addresses, too.")] = 128,
    coder: Annotated[str, typer.Option(help="autoencoder; itq, pca or lsh to compare.")] = "autoencoder",
    steps: Annotated[int, typer.Option(min=1, help="Of the autoencoder's training.")] = 300,
    supervised: Annotated[float, typer.Option(min=0, help="Weight of the images' labels; 0: not used.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train a binary code on an index's features, and put its encoder into the artifact that made them.

    The index must have over 400 images. A server that is started or reloaded from then on keeps codes of all
    images, and answers `search=binary`.
    """
    import numpy as np

    from model.artifacts import artifact as artifacts
    from training.hashing.autoencoder import CodeConfig
    from training.hashing.train_codes import add_encoder

    with opened(index) as found:
        found.require(artifacts.load(artifact))
        entries = [entry for entry in found.catalog.everything() if entry.id not in found.damaged]
        if len(entries) > MOST_TO_TRAIN_ON:
            drawn = np.random.default_rng(seed).permutation(len(entries))[:MOST_TO_TRAIN_ON]
            entries = [entries[place] for place in np.sort(drawn)]
        features = np.stack([found.feature(entry.id) for entry in entries]) if entries else np.empty((0, 1), np.float32)
    numbers: dict[str | None, int] = {}
    labels = np.array([numbers.setdefault(entry.label, len(numbers)) for entry in entries]) if supervised else None
    chosen = CodeConfig(steps=steps, supervised=supervised, seed=seed)
    made = add_encoder(artifact, features, coder, bits, chosen, labels, typer.echo)
    typer.echo(f"added {made.path / ENCODER}")


@app.command()
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    folder: Annotated[Path, typer.Option(help="Where the unpacked artifact and the index go.")] = Path("demo"),
) -> None:
    """Unpack the bundled solar-cell network, index the 2,624 ELPV images, and serve both."""
    from model.artifacts.packed import unpack_bundled
    from training.data.archives import elpv
    from training.evaluation.evaluate import table

    require_free(host, port)
    artifact = unpack_bundled("elpv", folder / "artifacts")
    typer.echo("the bundled network, as measured on images held out from its training:")
    typer.echo(table(artifact.manifest.measurements))
    index = artifact.index_in(folder / "indexes")
    _index("elpv", None, artifact, index, "auto", "float32", None)
    examples = [example.path for example in elpv().test[:3]]
    url = f"http://{host}:{port}"
    typer.echo(f"\nthe page: {url}/   the interface: {url}/openapi.json\ntry:")
    typer.echo(f"  curl -F image=@{examples[0]} {url}/classify")
    typer.echo(f"  curl -F image=@{examples[1]} {url}/similar")
    typer.echo(f"  curl {url}/images/1/thumbnail -o neighbor.jpg\n")
    run(settings(None, {"artifact": artifact.path, "index": index, "host": host, "port": port}))


def _index(
    data: str, archive: Path | None, artifact: Artifact, folder: Path, device: str, rows: str, shard: Shard | None
) -> None:
    from index.backends import open_writable
    from index.build import Source, build, find_images
    from index.metadata import parse_dtype
    from model.runtime import OnnxModel
    from training.data import datasets

    if data in datasets.NAMED or data.endswith(".csv"):
        dataset = datasets.load(data, archive=archive)
        mine = list(dataset.examples)
        if shard:
            root = Path(os.path.commonpath([example.path.absolute() for example in mine]))
            mine = [example for example in mine if shard.has(example.path.absolute(), root)]
        sources = [Source(example.path, dataset.labels[example.label].name) for example in mine]
    else:
        sources = find_images(Path(data), shard)
    store = open_writable(folder, artifact, parse_dtype(rows))
    try:
        report = build(store, OnnxModel(artifact.network, device), sources)
    except KeyboardInterrupt:
        raise StoppedError("stopped: what was added is kept; the same command goes on") from None
    typer.echo(
        f"index {folder}: {len(store):,} images ({report.added:,} added, {report.known:,} there already, "
        f"{report.skipped:,} unreadable)"
    )
    store.close()


def main() -> None:
    """Run a command; our own errors become one line on standard error and exit status 1."""
    try:
        app()
        return
    except AlexNetError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)  # noqa: T201
    except ValidationError as error:
        problem = error.errors()[0]
        print(f"error: {problem['loc'][0]}: {problem['msg']}", file=sys.stderr)  # noqa: T201
    raise SystemExit(1)


if __name__ == "__main__":
    main()
