"""`alexnet export`: export an artifact's network for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from alexnet.cli.options import HOME, ArtifactOption, HomeOption, load_artifact


def export(
    output: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="File to write, such as network.onnx; with --format triton, a folder. It must not exist yet.",
            show_default=False,
        ),
    ],
    artifact: ArtifactOption = None,
    form: Annotated[
        Literal["onnx", "safetensors", "triton"],
        typer.Option(
            "--format",
            help="onnx: a file that takes 256 x 256 images; safetensors: PyTorch weights; triton: a model repository "
            "(a folder).",
        ),
    ] = "onnx",
    home: HomeOption = HOME,
) -> None:
    """Export a network as ONNX, safetensors or for Triton.

    Needs the extra `pull`.
    """
    from model.artifacts import formats

    typer.echo(f"wrote {formats.export_artifact(load_artifact(artifact, home), output, form)}")
