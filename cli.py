"""The command `alexnet`, and the only place that knows all packages."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from index.command import add_commands
from model.artifact import NETWORKS, Artifact, Precision
from model.errors import AlexNetError
from server.command import require_free, run, serve_command, settings
from training.run import DATA_HELP, train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train the 2012 AlexNet on your own pictures, and serve it: name a picture, find the pictures most like it.",
)

ArtifactOption = Annotated[
    Path, typer.Option(envvar="ALEXNET_ARTIFACT", help="An artifact, or a folder whose newest one is taken.")
]
IndexOption = Annotated[
    Path | None, typer.Option(envvar="ALEXNET_INDEX", help="The index's folder; indexes/NAME/VERSION of the artifact.")
]
DataOption = Annotated[str, typer.Option(help=DATA_HELP)]
ArchiveOption = Annotated[Path | None, typer.Option(help="The zip file of grocery or cifar10, where it was fetched.")]
PrecisionOption = Annotated[Precision, typer.Option(envvar="ALEXNET_PRECISION", help="float32 or int8.")]
DeviceOption = Annotated[str, typer.Option(envvar="ALEXNET_DEVICE", help="auto, cpu or cuda.")]
PictureArgument = Annotated[Path, typer.Argument(help="A picture file.", exists=True, dir_okay=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]

ARTIFACTS, INDEXES = Path("artifacts"), Path("indexes")

app.command(name="train")(train)
app.command(name="serve")(serve_command())


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
) -> None:
    """Compute the features of pictures and keep them, with labels and thumbnails, to be searched.

    Call it again to go on after an interruption, or to add more pictures; what is there already is not computed anew.
    The commands below look at an index and change it.
    """
    from model import artifact as artifacts

    if context.invoked_subcommand is not None:
        return
    if not data:
        raise typer.BadParameter("expected pictures, found none", param_hint="--data")

    loaded = artifacts.load(artifact, precision)
    _index(data, archive, loaded, index or loaded.index_in(INDEXES), device)


@app.command()
def classify(
    picture: PictureArgument,
    artifact: ArtifactOption = ARTIFACTS,
    top: Annotated[int, typer.Option(min=1, help="How many classes.")] = 5,
    views: Annotated[int, typer.Option(min=1, max=10, help="10 as in the paper, or 1: the centre.")] = 10,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    as_json: JsonOption = False,
) -> None:
    """Name a picture: its most probable classes, from ten views."""
    import numpy as np

    from model import artifact as artifacts
    from model.preprocess import read_picture
    from model.runtime import OnnxModel
    from model.views import CENTRE, TEN

    if views not in (1, 10):
        raise typer.BadParameter("expected 1 or 10", param_hint="--views")
    loaded = artifacts.load(artifact, precision)
    pixels = read_picture(picture.read_bytes()).pixels
    model = OnnxModel(loaded.network, device)
    probabilities = model.run(pixels[None], TEN if views == 10 else CENTRE)[0][0]
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


@app.command()
def similar(
    picture: PictureArgument,
    artifact: ArtifactOption = ARTIFACTS,
    index: IndexOption = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="How many neighbours.")] = 6,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    as_json: JsonOption = False,
) -> None:
    """Find the indexed pictures most like a picture, by the Euclidean distance of their features."""
    from index.search import Query
    from index.store import PictureIndex
    from model import artifact as artifacts
    from model.preprocess import read_picture
    from model.runtime import OnnxModel

    loaded = artifacts.load(artifact, precision)
    store = PictureIndex.open(index or loaded.index_in(INDEXES))
    store.require(loaded)
    pixels = read_picture(picture.read_bytes()).pixels
    feature = OnnxModel(loaded.network, device).features(pixels[None], store.views)[0]
    neighbours = store.search(Query(feature, k))
    if as_json:
        rows = [
            {"id": n.entry.id, "distance": n.distance, "label": n.entry.label, "path": str(n.entry.source)}
            for n in neighbours
        ]
        typer.echo(json.dumps(rows))
    else:
        for n in neighbours:
            typer.echo(f"{n.distance:9.3f}  {n.entry.label or '-'}  {n.entry.source}")


@app.command()
def evaluate(
    data: DataOption,
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(help="Artifacts, or folders whose newest is taken; several are averaged."),
    ] = None,
    part: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    weighted: Annotated[
        bool, typer.Option("--weighted", help="Weigh several by their errors on the validation part.")
    ] = False,
    archive: ArchiveOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
) -> None:
    """Measure top-1 and top-5 error, centre view and ten views, of an artifact, or of several as one.

    Several networks answer with the mean of their probabilities (section 6: 5 CNNs, 7 CNNs).
    """
    from training.ensemble import evaluate as measure
    from training.evaluate import table

    chosen = artifacts or [Path(os.environ.get("ALEXNET_ARTIFACT", ARTIFACTS))]
    typer.echo(table(measure(chosen, data, part, archive, weighted, device, precision, typer.echo)))


@app.command()
def quantize(
    artifact: Annotated[Path, typer.Argument(help="An artifact, or a folder whose newest one is taken.")],
    data: DataOption,
    archive: ArchiveOption = None,
    pictures: Annotated[
        int, typer.Option(min=1, help="Training pictures to measure the activations' ranges on.")
    ] = 200,
    max_loss: Annotated[float, typer.Option(min=0, help="Percentage points of top-1 error that int8 may lose.")] = 0.5,
    device: DeviceOption = "auto",
) -> None:
    """Add the network in int8 to an artifact, with the errors of both measured on its held-out pictures.

    Refused, with nothing written, where int8 makes more errors than --max-loss allows. Serve it with --precision int8.
    """
    from training.calibration import add_int8

    found = add_int8(artifact, data, archive, pictures, max_loss, device, typer.echo)
    typer.echo(f"added {found.path / NETWORKS['int8']}")


@app.command()
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    folder: Annotated[Path, typer.Option(help="Where the unpacked artifact and the index go.")] = Path("demo"),
) -> None:
    """Unpack the bundled solar-cell network, index the 2,624 ELPV pictures, and serve both."""
    from model.compact import unpack_bundled
    from training.archives import elpv
    from training.evaluate import table

    require_free(host, port)
    artifact = unpack_bundled("elpv", folder / "artifacts")
    typer.echo("the bundled network, as measured on pictures held out from its training:")
    typer.echo(table(artifact.manifest.measurements))
    index = artifact.index_in(folder / "indexes")
    _index("elpv", None, artifact, index, "auto")
    examples = [example.path for example in elpv().test[:3]]
    url = f"http://{host}:{port}"
    typer.echo(f"\nthe page: {url}/   the interface: {url}/openapi.json\ntry:")
    typer.echo(f"  curl -F image=@{examples[0]} {url}/classify")
    typer.echo(f"  curl -F image=@{examples[1]} {url}/similar")
    typer.echo(f"  curl {url}/pictures/1/thumbnail -o neighbour.jpg\n")
    run(settings(None, {"artifact": artifact.path, "index": index, "host": host, "port": port}))


def _index(data: str, archive: Path | None, artifact: Artifact, folder: Path, device: str) -> None:
    from index.build import Source, build, sources_in
    from index.store import PictureIndex
    from model.runtime import OnnxModel
    from training import datasets

    if data in datasets.NAMED or data.endswith(".csv"):
        dataset = datasets.load(data, archive=archive)
        sources = [Source(example.path, dataset.labels[example.label].name) for example in dataset.examples]
    else:
        sources = sources_in(Path(data))
    store = PictureIndex.create(folder, artifact)
    report = build(store, OnnxModel(artifact.network, device), sources)
    typer.echo(
        f"index {folder}: {len(store):,} pictures ({report.added:,} added, {report.known:,} there already, "
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
