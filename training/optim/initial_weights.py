"""Initial weights of a run: drawn at random, or copied from an artifact to fine-tune it (section 6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, Label
from model.artifacts.held_out import Split, splits_of_ancestors, splits_of_descendants
from model.artifacts.weights import read_mean, read_weights
from model.exceptions import TrainingError
from model.images.crops import CROP_SIZE
from model.network.initialization import initial_state
from model.network.registry import build_spec
from model.network.spec import NetworkSpec, Weighted
from training.config import TrainConfig
from training.optim.layer_rates import check_layer_names, layer_multipliers


@dataclass(frozen=True)
class InitialState:
    """What a run starts from.

    `weights`: of the whole network, on the CPU. `lr_multipliers`: learning rate multipliers by layer. `origin`: the
    artifact that layers were copied from, in words. `mean` (256, 256, 3): this artifact's mean image, which its layers
    expect to be subtracted; None if a run starts from scratch. `new_layers`: names of the layers that weren't copied.
    `origin_license`: the artifact's license. `splits`: those that the artifact, and the networks that it descends from,
    were trained on (`model.artifacts.held_out`).
    """

    spec: NetworkSpec
    weights: Mapping[str, Tensor]
    lr_multipliers: Mapping[str, float]
    origin: str = ""
    mean: NDArray[np.float32] | None = None
    new_layers: tuple[str, ...] = ()
    origin_license: str = ""
    splits: tuple[Split, ...] = ()

    @property
    def needs_output_layer(self) -> bool:
        """Whether all layers but the output layer are copied."""
        return self.new_layers == (self.spec.weighted_layers[-1].name,)

    @property
    def is_copy(self) -> bool:
        """Whether all layers are copied from a network with the same classes."""
        return bool(self.origin) and not self.new_layers

    @classmethod
    def create(cls, config: TrainConfig, labels: tuple[Label, ...]) -> InitialState:
        """The initial state of a new run. Raises TrainingError, NetworkConfigError or ArtifactError."""
        check_layer_names(config.run.lr_multipliers, config.run.frozen)
        if isinstance(config.run.init_from, Path):
            return cls._from_artifact(config, labels)
        network = replace(config.network.apply(config.recipe.network), num_classes=len(labels))
        spec = build_spec(network)
        weights = initial_state(spec, config.recipe.initialization, config.run.seed)
        return cls(spec, weights, _multipliers(config, spec, ()))

    @classmethod
    def _from_artifact(cls, config: TrainConfig, labels: tuple[Label, ...]) -> InitialState:
        assert isinstance(config.run.init_from, Path)
        artifact = artifacts.load(config.run.init_from)
        source, trained = read_weights(artifact)
        network = replace(config.network.apply(source.config), num_classes=len(labels), input_size=CROP_SIZE)
        spec = build_spec(network)
        drawn = initial_state(spec, config.recipe.initialization, config.run.seed)
        usable = _common_layers(source, spec)
        if artifact.labels != labels:
            usable.discard(spec.weighted_layers[-1].name)
        copied = {name: torch.from_numpy(trained[name]) for name in drawn if name.partition(".")[0] in usable}
        layers = {name.partition(".")[0] for name in copied}
        if not layers:
            raise TrainingError(f"no layer of {artifact.path} fits the network: choose another --init-from")
        manifest = artifact.manifest
        origin = f"{manifest.name} version {manifest.version}, network {artifact.network_sha256[:12]}"
        new = tuple(layer.name for layer in spec.weighted_layers if layer.name not in layers)
        if new:
            origin += f"; {', '.join(new)} initialized at random"
        multipliers = _multipliers(config, spec, layers)
        mean, splits = read_mean(artifact), splits_of_descendants(manifest.training)
        return cls(spec, drawn | copied, multipliers, origin, mean, new, manifest.license, splits)

    @classmethod
    def from_published(cls, artifact: Artifact) -> InitialState:
        """The network of an artifact as it is, to train it further on its own data."""
        spec, trained = read_weights(artifact)
        training = artifact.manifest.training
        weights = {name: torch.from_numpy(values) for name, values in trained.items()}
        return cls(
            spec,
            weights,
            training.get("lr_multipliers", {}),
            origin=str(training.get("initialized_from", "")),
            mean=read_mean(artifact),
            origin_license=str(training.get("start_license", "")),
            splits=splits_of_ancestors(training),
        )


def _common_layers(first: NetworkSpec, second: NetworkSpec) -> set[str]:
    """Names of the layers before the first difference between two networks: later ones get inputs from other layers."""
    pairs = zip(first.weighted_layers, second.weighted_layers, strict=False)
    return {layer.name for layer, _ in takewhile(lambda pair: _is_same(*pair), pairs)}


def _is_same(first: Weighted, second: Weighted) -> bool:
    return (first.name, first.weight_shape) == (second.name, second.weight_shape)


def _multipliers(config: TrainConfig, spec: NetworkSpec, copied: Collection[str]) -> dict[str, float]:
    return layer_multipliers(spec, config.run.lr_multipliers, config.run.frozen, copied)
