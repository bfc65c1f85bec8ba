"""`alexnet pull`: make artifacts of published ImageNet networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alexnet.cli.options import HOME, HomeOption
from model.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from model.artifacts.artifact import Artifact


def pull(
    name: Annotated[
        Literal["bvlc-alexnet", "caffenet", "torchvision-alexnet"],
        typer.Argument(metavar="NAME", help="bvlc-alexnet, caffenet or torchvision-alexnet.", show_default=False),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Import this .onnx, .pth or .caffemodel file instead of downloading.",
            show_default=False,
        ),
    ] = None,
    skip_checksum: Annotated[
        bool,
        typer.Option(
            "--skip-checksum",
            help="Accept a file with a different checksum (only with --from); its license and errors are unknown.",
        ),
    ] = False,
    mean: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Mean image of a .caffemodel: a .binaryproto or .npy file (default: Caffe's per-channel means).",
            show_default=False,
        ),
    ] = None,
    mirror: Annotated[
        str,
        typer.Option(metavar="URL", help="Download from this server (default: the publisher's).", show_default=False),
    ] = "",
    home: HomeOption = HOME,
) -> None:
    """Download a published ImageNet network.

    Turns it into an artifact with ImageNet's 1000 classes. Before anything is written, the checksum, every layer and
    the outputs are compared with the published ones. Needs the extra `pull`.
    """
    from model.artifacts.measurements import format_measurements
    from model.shell_command import Command

    artifact = _import(name, file, skip_checksum, mean, mirror, home)
    measured = format_measurements(artifact.manifest.measurements)
    typer.echo(measured or "errors: unknown; measure them with `alexnet evaluate --imagenet-val`")
    typer.echo(f"images: {artifact.manifest.training['preprocessing']}")
    typer.echo(f"license: {artifact.manifest.license}")
    typer.echo(f"artifact: {artifact.path}")
    classify, serve = Command("classify", "image.jpg"), Command("serve")
    typer.echo(f"next: {classify.option('artifact', artifact.path)}; {serve.option('artifact', artifact.path)}")


def _import(name: str, file: Path | None, skip_checksum: bool, mean: Path | None, mirror: str, home: Path) -> Artifact:
    from model.pretrained import importer
    from model.pretrained.specs import get_pretrained

    spec, artifacts = get_pretrained(name), home / "artifacts"
    if file is None and (skip_checksum or mean is not None):
        raise InvalidRequestError("--skip-checksum and --mean are for a file on disk: name it with --from")
    if file is not None and mirror:
        raise InvalidRequestError("--mirror is for a download: leave it out with --from")
    if file is None:
        return importer.pull(spec, artifacts, home / "cache" / "downloads", mirror, typer.echo)
    release = None if skip_checksum else importer.identify_release(spec, file)
    return importer.import_file(spec, artifacts, file, release, typer.echo, mean)
