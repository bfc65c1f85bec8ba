"""`alexnet export`: an artifact's network for other programs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from alexnet.cli.options import HOME, ArtifactOption, HomeOption, OutputOption, load_artifact
from model.exceptions import ArtifactError


def export(
    output: OutputOption,
    artifact: ArtifactOption = None,
    form: Annotated[Literal["onnx", "safetensors", "triton"], typer.Option("--format", help="Format.")] = "onnx",
    home: HomeOption = HOME,
) -> None:
    """Export a network: an ONNX file, PyTorch weights (safetensors), or a Triton model repository."""
    try:
        from model.artifacts import formats
    except ModuleNotFoundError as error:
        raise ArtifactError(f"missing package {error.name}; install it: pip install -e '.[cpu,pull]'") from error
    typer.echo(f"wrote {formats.export_artifact(load_artifact(artifact, home), output, form)}")
