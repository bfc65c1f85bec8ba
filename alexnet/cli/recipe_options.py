"""Options of `alexnet train` for the recipe and the network: parameters of functions that make its configuration."""

# Without `from __future__ import annotations`: `alexnet.cli.train` reads the options from the evaluated annotations.

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from model.network.spec import ActivationFunction

if TYPE_CHECKING:
    from training.config import NetworkOptions, RecipeOptions

RECIPE, NETWORK = "Recipe (default: the recipe's value)", "Network (default: the recipe's value)"
"""Sections of the help."""
POOL_SIZES: dict[int | None, Literal[2, 3] | None] = {None: None, 2: 2, 3: 3}


def recipe_options(
    recipe: Annotated[
        Literal["auto", "small", "fine-tune", "paper", "source", "photos"],
        typer.Option(
            help="auto: fine-tune if the run starts from a network, else small, for a few thousand images; paper: as "
            "published; source: as in the authors' code; photos: for photographs from several sources.",
            rich_help_panel=RECIPE,
        ),
    ] = "auto",
    epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Maximum number of epochs; the learning rate schedule is fitted to it. 0: only fit a new output layer "
            "to the network of --init-from.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            metavar="X",
            help="Minutes of training and validation, instead of --epochs.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    schedule: Annotated[
        Literal["plateau", "cosine"] | None,
        typer.Option(
            help="Learning rate schedule. plateau: falls to a tenth whenever the validation error stops falling, as in "
            "the paper; cosine: falls along half a cosine to a thousandth at the end of the run.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.5,
            metavar="X",
            help="Fraction of the run in which the learning rate rises from 0.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Images per step over all processes; the learning rate scales linearly with it.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, metavar="X", help="Initial learning rate.", rich_help_panel=RECIPE)
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Weight decay (L2 penalty) per step.", rich_help_panel=RECIPE),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Epochs without improvement before the learning rate drops (schedule plateau).",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    pca_color_std: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="X",
            help="Standard deviation of the color shift along the principal components (section 4.1); 0: none.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    mirror: Annotated[
        bool | None, typer.Option("--mirror/--no-mirror", help="Mirror half of the crops.", rich_help_panel=RECIPE)
    ] = None,
    random_crop: Annotated[
        bool | None,
        typer.Option(
            "--random-crop/--no-random-crop", help="Train on random crops, or on center crops.", rich_help_panel=RECIPE
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Augmentations instead of the recipe's, comma-separated: boxes, degradation, jitter, mixup, cutmix; "
            "or none.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    class_weights: Annotated[
        bool | None,
        typer.Option(
            "--class-weights/--no-class-weights",
            help="Weight the loss so that small classes count as much as large ones.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.5,
            metavar="X",
            help="Fraction of each target that is spread evenly over all classes.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
) -> "RecipeOptions":
    """The recipe, and what differs from it."""
    from training.config import RecipeOptions

    return RecipeOptions(
        name=recipe,
        epochs=epochs,
        minutes=minutes,
        schedule=schedule,
        warmup=warmup,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        pca_color_std=pca_color_std,
        mirror=mirror,
        random_crop=random_crop,
        augment=augment,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
    )


def network_options(
    network: Annotated[
        Literal["alexnet", "alexnet-one-tower", "alexnet-six-conv"] | None,
        typer.Option(
            help="alexnet: two towers; alexnet-one-tower: the half-size network of footnote 2; alexnet-six-conv: with "
            "a sixth convolution (section 6).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    hidden: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Neurons in each of fc6 and fc7; even.", rich_help_panel=NETWORK),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.99, metavar="X", help="Dropout probability in fc6 and fc7; 0: none.", rich_help_panel=NETWORK
        ),
    ] = None,
    activation: Annotated[
        ActivationFunction | None, typer.Option(help="Activation function.", rich_help_panel=NETWORK)
    ] = None,
    pool_size: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=3,
            metavar="N",
            help="Size of the pooling windows (stride 2): with 3 they overlap (section 3.4), with 2 they don't.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    normalization: Annotated[
        Literal["paper", "source", "none"] | None,
        typer.Option(
            help="Local response normalization after conv1 and conv2: as published, as in the authors' code, or none.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    conv3_cross_tower: Annotated[
        bool | None,
        typer.Option(
            "--conv3-cross-tower/--no-conv3-cross-tower",
            help="Connect conv3 to both towers, or only to its own.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    omit_layer: Annotated[
        Literal["conv2", "conv3", "conv4", "conv5", "fc7"] | None,
        typer.Option(help="Leave one layer out (section 7).", rich_help_panel=NETWORK),
    ] = None,
) -> "NetworkOptions":
    """The network, and what differs from the recipe's."""
    from training.config import NetworkOptions

    return NetworkOptions(
        name=network,
        hidden=hidden,
        dropout=dropout,
        activation=activation,
        pool_size=POOL_SIZES[pool_size],
        normalization=normalization,
        conv3_cross_tower=conv3_cross_tower,
        omit_layer=omit_layer,
    )
