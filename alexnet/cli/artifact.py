"""Commands about artifacts: measured, made smaller, taken from elsewhere, written for elsewhere."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from alexnet.cli.options import ARTIFACTS, ArchiveOption, DeviceOption, PrecisionOption
from model.artifacts.artifact import NETWORKS
from model.exceptions import ArtifactError, InvalidRequestError
from model.shell_command import alexnet
from training.run import DATA_HELP

DataOption = Annotated[str, typer.Option(help=DATA_HELP)]


def evaluate(
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
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
    imagenet_val: Annotated[
        Path | None, typer.Option(help="Instead of --data: the folder of ImageNet's 50,000 validation images.")
    ] = None,
    baseline: Annotated[
        Literal["fisher"] | None,
        typer.Option(help="Instead of artifacts: SIFT, Fisher vectors and linear SVMs; the extra baselines."),
    ] = None,
) -> None:
    """Measure top-1 and top-5 error, center crop and ten crops, of an artifact, or of several as one.

    Several networks answer with the mean of their probabilities (section 6: 5 CNNs, 7 CNNs).
    """
    from training.evaluation.ensemble import evaluate as measure
    from training.evaluation.ensemble import on_imagenet
    from training.evaluation.evaluate import table

    chosen = artifacts or [Path(os.environ.get("ALEXNET_ARTIFACT", ARTIFACTS))]
    if (data is None) == (imagenet_val is None):
        found = "neither" if data is None else "both"
        raise InvalidRequestError(f"expected one of --data and --imagenet-val, found {found}")
    if baseline is not None and data is not None:
        from training.evaluation import fisher

        typer.echo(table(fisher.evaluate(data, part, archive, typer.echo)))
        return
    if data is None:
        assert imagenet_val is not None
        typer.echo(table(on_imagenet(chosen, imagenet_val, device, precision)))
        return
    typer.echo(table(measure(chosen, data, part, archive, weighted, device, precision, typer.echo)))


def quantize(
    artifact: Annotated[Path, typer.Argument(help="An artifact, or a folder whose newest one is taken.")],
    data: DataOption,
    archive: ArchiveOption = None,
    images: Annotated[int, typer.Option(min=1, help="Training images to measure the activations' ranges on.")] = 200,
    max_loss: Annotated[float, typer.Option(min=0, help="Percentage points of top-1 error that int8 may lose.")] = 0.5,
    device: DeviceOption = "auto",
) -> None:
    """Add the network in int8 to an artifact, with the errors of both measured on its held-out images.

    Refused, with nothing written, where int8 makes more errors than --max-loss allows. Serve it with --precision int8.
    """
    from training.evaluation.quantize import add_int8

    found = add_int8(artifact, data, archive, images, max_loss, device, typer.echo)
    typer.echo(f"added {found.path / NETWORKS['int8']}")


def draw(
    artifact: Annotated[Path, typer.Argument(help="An artifact, or a folder whose newest one is taken.")],
    data: DataOption,
    output: Annotated[Path, typer.Option(help="The folder for kernels.png and answers.png.")],
    archive: ArchiveOption = None,
    count: Annotated[int, typer.Option(min=1, help="Images with their five classes.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of images.")] = 0,
) -> None:
    """Figures 3 and 4 of any artifact: the first layer's kernels, and held-out images with their five classes.

    The figure's right half, neighbors, is drawn by `alexnet index draw`.
    """
    from training.publish.drawing import draw as drawn

    for file in drawn(artifact, data, archive, output, count, seed):
        typer.echo(f"wrote {file}")


def pull(
    name: Annotated[str, typer.Argument(help="bvlc-alexnet, caffenet or torchvision-alexnet.")],
    file: Annotated[
        Path | None, typer.Option("--from", help="A file on disk, instead of fetching: .onnx, .pth or .caffemodel.")
    ] = None,
    unverified: Annotated[
        bool,
        typer.Option("--unverified", help="With --from: whatever its checksum; a .caffemodel has none to compare."),
    ] = False,
    mirror: Annotated[str, typer.Option(help="An address that has the file, instead of its publisher's.")] = "",
    artifacts: Annotated[Path, typer.Option(help="Where the artifact goes.")] = ARTIFACTS,
) -> None:
    """Fetch a network that others trained on ImageNet's 1000 classes, and make an artifact of it.

    The file's checksum and every layer are compared with what they should be, and the artifact's answers with the
    file's own, before anything is published. What was fetched stays below data/, or the folder in ALEXNET_DATA.
    """
    from model.pretrained import importer
    from model.pretrained.specs import named
    from training.evaluation.evaluate import table

    published = named(name)
    downloads = Path(os.environ.get("ALEXNET_DATA", "data")) / "published"
    if file is None:
        artifact = importer.pull(published, artifacts, downloads, mirror, typer.echo)
    else:
        release = None if unverified else importer.known(published, file)
        artifact = importer.take(published, artifacts, file, release, typer.echo)
    typer.echo(table(artifact.manifest.measurements))
    typer.echo(f"license: {artifact.manifest.license}")
    typer.echo(f"artifact: {artifact.path}")
    asked = (["classify", "image.jpg"], ["serve"])
    commands = [shlex.join([alexnet(), *words, "--artifact", str(artifact.path)]) for words in asked]
    typer.echo(f"next: {'; '.join(commands)}")


def export(
    artifact: Annotated[Path, typer.Argument(help="An artifact, or a folder whose newest one is taken.")],
    target: Annotated[Path, typer.Argument(help="The file, or for Triton the folder, to write.")],
    form: Annotated[
        Literal["onnx", "safetensors", "triton"], typer.Option("--format", help="onnx, safetensors or triton.")
    ] = "onnx",
) -> None:
    """Write an artifact's network for other programs: an ONNX file, torch's weights, or Triton's model repository."""
    from model.artifacts import artifact as artifacts

    try:
        from model.artifacts import formats
    except ModuleNotFoundError as error:
        raise ArtifactError(f"expected {error.name}, found none: pip install -e '.[cpu,pull]'") from error
    typer.echo(f"wrote {formats.write(artifacts.load(artifact), target, form)}")
