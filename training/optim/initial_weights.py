"""Where a run's weights start: drawn anew, or taken from a published artifact to be fine-tuned (section 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Label
from model.artifacts.weights import read_weights
from model.exceptions import TrainingError
from model.images.crops import CROP
from model.network.initialization import initial_state
from model.network.spec import LAYERS, Architecture
from training.config import RunConfig

COPIED_RATE = 0.1
"""Copied layers learn at a tenth of the rate of fresh ones: Krizhevsky's fine-tuning had 1e-3 against 1e-2 in fc8."""


@dataclass(frozen=True)
class Start:
    """`weights`: the whole network's. `rates`: factors of the learning rate by layer. `origin`, in words."""

    architecture: Architecture
    weights: Mapping[str, Tensor]
    rates: Mapping[str, float]
    origin: str = ""


def begin(chosen: RunConfig, labels: tuple[Label, ...]) -> Start:
    """The start of a new run. Raises TrainingError or ArtifactError."""
    for layer in (*chosen.rates, *chosen.frozen):
        if layer not in LAYERS:
            raise TrainingError(f"expected a layer of {', '.join(LAYERS)}, found {layer!r}")
    rates = dict(chosen.rates) | dict.fromkeys(chosen.frozen, 0.0)
    if any(not 0 <= factor < math.inf for factor in rates.values()) or all(
        rates.get(layer) == 0 for layer in LAYERS if layer != "conv6"
    ):
        raise TrainingError("expected factors of 0 or more, and some layer above 0, found others")
    recipe = chosen.recipe
    if chosen.init_from is None:
        architecture = replace(recipe.architecture, classes=len(labels))
        return Start(architecture, initial_state(architecture, recipe.initialization, chosen.seed), rates)
    artifact = artifacts.load(chosen.init_from)
    before, weights = read_weights(artifact)
    asked = {name: getattr(recipe.architecture, name) for name in chosen.asked}
    architecture = replace(before, classes=len(labels), side=CROP, **asked)
    fresh = initial_state(architecture, recipe.initialization, chosen.seed)
    other = {"fc8"} if artifact.labels != labels else set()
    if architecture.sixth != before.sixth:
        other |= {"fc6", "fc7", "fc8"}  # what they see comes from another layer now
    copied = {
        name: torch.from_numpy(weights[name])
        for name, tensor in fresh.items()
        if name in weights and weights[name].shape == tensor.shape and name.partition(".")[0] not in other
    }
    layers = {name.partition(".")[0] for name in copied}
    if not layers:
        raise TrainingError(f"expected an artifact with layers to start from at {artifact.path}, found none that fit")
    manifest = artifact.manifest
    anew = [layer for layer in LAYERS if f"{layer}.weight" in fresh and layer not in layers]
    origin = f"{manifest.name} version {manifest.version}, network {artifact.network_sha256[:12]}"
    if anew:
        origin += f"; {', '.join(anew)} anew"
    return Start(architecture, fresh | copied, dict.fromkeys(sorted(layers), COPIED_RATE) | rates, origin)


def again(state: dict[str, Any]) -> Start:
    """The start of a run that goes on from a checkpoint's state."""
    architecture = TypeAdapter(Architecture).validate_python(state["architecture"])
    return Start(architecture, state["network"], state["layer_rates"], state["origin"])
