"""The command `alexnet`: all commands by name. Each is imported when it is used."""

from __future__ import annotations

import io
import sys
from typing import Annotated, TextIO

import typer
from typer.main import get_command

from alexnet.cli.command_groups import LazyCommand, LazyGroup, new_app
from alexnet.cli.errors import run
from alexnet.installation import DISTRIBUTION

START, MODELS, INDEX = "Start", "Models", "Index"


class Commands(LazyGroup):
    """All commands, in the order in which most people need them."""

    table = {  # noqa: RUF012
        "demo": LazyCommand("alexnet.cli.demo:demo", START, "Serve a bundled network with an index of images"),
        "check": LazyCommand("alexnet.cli.check:check", START, "Check labeled images before training"),
        "train": LazyCommand("alexnet.cli.train:train", START, "Train a network on your own labeled images"),
        "classify": LazyCommand("alexnet.cli.classify:classify", START, "Classify images"),
        "similar": LazyCommand("alexnet.cli.similar:similar", START, "Find indexed images most similar to given ones"),
        "features": LazyCommand(
            "alexnet.cli.features:features", START, "Write the features of images to a NumPy file (.npz)"
        ),
        "serve": LazyCommand("alexnet.cli.serve:serve", START, "Serve a network and its index over HTTP"),
        "models": LazyCommand("alexnet.cli.models:models", MODELS, "List the available networks"),
        "evaluate": LazyCommand("alexnet.cli.evaluate:evaluate", MODELS, "Measure the top-1 and top-5 error"),
        "report": LazyCommand("alexnet.cli.report:report", MODELS, "Rewrite the report of a training run"),
        "pull": LazyCommand("alexnet.cli.pull:pull", MODELS, "Download a published ImageNet network"),
        "calibrate": LazyCommand("alexnet.cli.calibrate:calibrate", MODELS, "Calibrate a network on its own data"),
        "quantize": LazyCommand("alexnet.cli.quantize:quantize", MODELS, "Add an int8 network, which is faster"),
        "export": LazyCommand(
            "alexnet.cli.export:export", MODELS, "Export a network as ONNX, safetensors or for Triton"
        ),
        "draw": LazyCommand("alexnet.cli.draw:draw", MODELS, "Draw Figures 3 and 4 of the paper"),
        "pack": LazyCommand("alexnet.cli.pack:pack", MODELS, "Prune a network and pack it into a few megabytes"),
        "index": LazyCommand("alexnet.cli.index:index_app", INDEX, "Build, inspect and change an index of images"),
        "codes": LazyCommand("alexnet.cli.codes:codes_app", INDEX, "Train binary codes for faster search"),
    }


app = new_app(
    cls=Commands,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train AlexNet on your own images, classify images, and find similar ones.",
)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"{DISTRIBUTION} {version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback(
    epilog="`alexnet COMMAND --help` describes a command. Exit status: 0 success; 1 error, or an image given to "
    "classify, similar or features was skipped; 2 usage error; 130 stopped by Ctrl-C or SIGTERM (servers: 0)."
)
def options(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """Run a command."""
    for stream in (sys.stdout, sys.stderr):
        _accept_every_name(stream)
    run(get_command(app))


def _accept_every_name(stream: TextIO) -> None:
    """Let a stream accept any file name: escape characters that its encoding lacks, keep bytes that aren't UTF-8."""
    if not isinstance(stream, io.TextIOWrapper):
        return
    if stream.encoding.lower() != "utf-8":
        stream.reconfigure(errors="backslashreplace")
    elif stream.errors == "strict":
        stream.reconfigure(errors="surrogateescape")
