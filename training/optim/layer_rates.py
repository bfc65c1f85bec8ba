"""Learning rate multipliers by layer, from names of layers and of groups of layers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from model.exceptions import TrainingError
from model.network.registry import LAYER_NAMES
from model.network.spec import Conv, NetworkSpec

GROUPS = ("copied", "new", "conv", "fc")
"""Groups of layers: copied from another network, drawn at random, convolutions, fully connected."""
FINETUNE_LR_FACTOR = 0.1
"""Copied layers learn at a tenth of the rate of new ones: Krizhevsky's fine-tuning had 1e-3 against 1e-2 in fc8."""


def check_layer_names(options: Mapping[str, float], frozen: Collection[str]) -> None:
    """Raise TrainingError for names that are neither layers nor, in `options`, groups of layers."""
    for names, known in ((options, (*GROUPS, *LAYER_NAMES)), (frozen, LAYER_NAMES)):
        if unknown := [name for name in names if name not in known]:
            raise TrainingError(f"unknown layer {unknown[0]!r}: choose from {', '.join(known)}")


def layer_multipliers(
    spec: NetworkSpec, options: Mapping[str, float], frozen: Collection[str], copied: Collection[str]
) -> dict[str, float]:
    """Learning rate multipliers by layer; 1 for layers that aren't in it.

    `options`: by group or by layer, which overrides its groups. `copied`: layers that come from another network, with a
    tenth by default. Raises TrainingError, also for a name that fits no layer.
    """
    names = {layer.name for layer in spec.weighted_layers}
    known = names | {group for group in GROUPS if _members(spec, group, copied)}
    if unused := [name for name in options if name not in known] + [name for name in frozen if name not in names]:
        raise TrainingError(f"this network has no {unused[0]} layer: leave it out of --lr-multipliers and --frozen")
    if both := sorted(set(options) & set(frozen)):
        raise TrainingError(f"{both[0]} is frozen and has a learning rate: remove it from --frozen or --lr-multipliers")
    multipliers = dict.fromkeys(sorted(copied), FINETUNE_LR_FACTOR)
    for group in GROUPS:
        if group in options:
            multipliers |= dict.fromkeys(_members(spec, group, copied), options[group])
    multipliers |= {name: factor for name, factor in options.items() if name not in GROUPS}
    multipliers |= dict.fromkeys(frozen, 0.0)
    if any(not 0 <= factor < math.inf for factor in (*options.values(), *multipliers.values())) or all(
        multipliers.get(layer.name) == 0 for layer in spec.weighted_layers
    ):
        raise TrainingError("invalid --lr-multipliers or --frozen: multipliers must be >= 0, and at least one > 0")
    return multipliers


def _members(spec: NetworkSpec, group: str, copied: Collection[str]) -> list[str]:
    """The layers of a group."""
    layers = spec.weighted_layers
    if group in ("copied", "new"):
        return [layer.name for layer in layers if (layer.name in copied) == (group == "copied")]
    return [layer.name for layer in layers if isinstance(layer, Conv) == (group == "conv")]
