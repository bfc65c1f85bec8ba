"""`alexnet codes`: train binary codes of features."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from alexnet.cli.command_groups import add_command, new_app
from alexnet.cli.options import (
    HOME,
    ArtifactOption,
    HomeOption,
    IndexOption,
    PrecisionOption,
    SeedOption,
    index_uri,
    load_artifact,
    open_index,
)

codes_app = new_app(
    help="Train binary codes for faster search.\n\nSection 6.1 of the paper proposes an "
    "autoencoder: that is `--objective reconstruction`; the default learns to preserve neighbors."
)


@codes_app.callback()
def codes() -> None:
    """Keep `train` a subcommand although it is the only one."""


def train(
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    bits: Annotated[
        int, typer.Option(min=8, max=1024, metavar="N", help="Bits per code. Hash lookup needs 32 or fewer.")
    ] = 256,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Training steps of the autoencoder.")] = 300,
    objective: Annotated[
        Literal["neighbors", "reconstruction"],
        typer.Option(
            help="Training objective. neighbors: preserve the nearest neighbors, which finds more of them; "
            "reconstruction: reconstruct the features, as the paper proposes."
        ),
    ] = "neighbors",
    supervised: Annotated[
        float,
        typer.Option(min=0, metavar="X", help="Weight of the images' labels in the loss; 0: labels aren't used."),
    ] = 0.0,
    seed: SeedOption = 0,
    home: HomeOption = HOME,
) -> None:
    """Train a binary code on the features of an index.

    Adds the code's encoder to the artifact that computed the features. The index must have over 400 images. A server
    that is started or reloaded afterwards keeps the codes of all images and accepts search=binary. Needs the extra
    `train`.
    """
    from alexnet.code_training import make_codes, train_codes
    from model.artifacts.artifact import ENCODER

    loaded = load_artifact(artifact, home, precision)
    with open_index(index, loaded, home) as store:
        store.check_compatible(loaded)
        updated = train_codes(loaded.path, store, bits, steps, objective, supervised, seed, typer.echo)
    typer.echo(f"added {updated.path / ENCODER}")
    if make_codes(index_uri(index, loaded, home, precision), updated):
        typer.echo("computed the codes of all images in the index")


add_command(codes_app, train)
