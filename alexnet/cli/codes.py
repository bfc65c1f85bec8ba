"""`alexnet codes`: binary codes of features."""

from __future__ import annotations

from typing import Annotated

import typer

from alexnet.cli.options import HOME, ArtifactOption, HomeOption, IndexOption, SeedOption, load_artifact, open_index

codes_app = typer.Typer(no_args_is_help=True, help="Binary codes of features (section 6.1 of the paper).")


@codes_app.callback()
def codes() -> None:
    """Keep `train` a subcommand although it is the only one."""


@codes_app.command()
def train(
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    bits: Annotated[
        int, typer.Option(min=8, max=1024, help="Code length in bits; 32 or fewer also enable hash lookup.")
    ] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of the autoencoder.")] = 300,
    supervised: Annotated[float, typer.Option(min=0, help="Weight of the images' labels (0: unsupervised).")] = 0.0,
    seed: SeedOption = 0,
    home: HomeOption = HOME,
) -> None:
    """Train a binary code on the features of an index and add its encoder to the artifact that made them.

    The index must have over 400 images. A server that is started or reloaded afterwards keeps codes of all images and
    accepts search=binary.
    """
    from alexnet.code_training import train_codes
    from model.artifacts.artifact import ENCODER

    with open_index(index, home) as store:
        loaded = load_artifact(artifact, home)
        store.check_compatible(loaded)
        updated = train_codes(loaded.path, store, bits, steps, supervised, seed, typer.echo)
    typer.echo(f"added {updated.path / ENCODER}")
