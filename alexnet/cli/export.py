"""`alexnet export`: an artifact's network for other programs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from alexnet.cli.options import HOME, ArtifactOption, HomeOption, OutputOption, load_artifact


def export(
    output: OutputOption,
    artifact: ArtifactOption = None,
    form: Annotated[Literal["onnx", "safetensors", "triton"], typer.Option("--format", help="Format.")] = "onnx",
    home: HomeOption = HOME,
) -> None:
    """Export a network: an ONNX file, PyTorch weights (safetensors), or a Triton model repository."""
    from model.artifacts import formats

    typer.echo(f"wrote {formats.export_artifact(load_artifact(artifact, home), output, form)}")
