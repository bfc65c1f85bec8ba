"""The network that a run starts from: how it is chosen, and how an output layer is fitted to its features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from model.artifacts.bundled import DEFAULT_NETWORK, is_bundled
from model.artifacts.packed import unpack_bundled
from model.images.crops import CENTER_CROP, CROP_IDS, TEN_CROP
from model.network.spec import Dropout
from model.network.torch_module import AlexNet
from training.config import TrainConfig
from training.data.augment import Augmentation
from training.data.cache import ImageCache, batches
from training.data.datasets import Dataset
from training.data.loader import CropLoader
from training.default_start import MIN_SCRATCH_IMAGES
from training.evaluation.baselines import (
    LINEAR,
    NEAREST_NEIGHBOR,
    Baseline,
    as_served,
    nearest_neighbor_error,
    sample_rows,
)
from training.evaluation.linear_probe import LinearProbe, fit_linear_probe
from training.loop.runtime import pick_precision
from training.loop.status import repeated, stage
from training.optim.initial_weights import InitialState

BATCH_SIZE = 32
MAX_TRAIN_IMAGES, MAX_VALIDATION_IMAGES, MAX_HELD_OUT_IMAGES = 20_000, 1_000, 2_000
"""Maximum number of images whose features are computed; if there are more, a random sample is taken."""
MAX_TRAIN_CROPS, MIN_CROPS = 20_000, 2
"""Target number of crops of all training images together, and minimum number per image."""


def choose_initial_network(config: TrainConfig, num_train_images: int) -> tuple[TrainConfig, str]:
    """Fill in the network to start from and its recipe. Returns the configuration and a sentence about the choice.

    `auto` is the bundled network for photographs if there are fewer than `MIN_SCRATCH_IMAGES`, else `none`. A bundled
    network's name always means that network, never a folder. Raises ArtifactError.
    """
    run, folder = config.run, config.environment.cache_folder / "networks"
    if run.init_from == "auto":
        assert config.recipe_if_fine_tuning is not None
        if num_train_images >= MIN_SCRATCH_IMAGES:
            reason = f"{num_train_images:,} training images are enough to train from scratch"
            return replace(config, run=replace(run, init_from="none"), recipe_if_fine_tuning=None), (
                f"{reason}; --init-from {DEFAULT_NETWORK} starts from the bundled network"
            )
        start = unpack_bundled(DEFAULT_NETWORK, folder).path
        recipe, run = config.recipe_if_fine_tuning, replace(run, init_from=start)
        return replace(config, run=run, recipe=recipe, recipe_if_fine_tuning=None), (
            f"starting from the bundled network {DEFAULT_NETWORK}; --init-from none trains from scratch"
        )
    if isinstance(run.init_from, Path) and is_bundled(str(run.init_from)):  # even if there is a folder `photos`
        run = replace(run, init_from=unpack_bundled(str(run.init_from), folder).path)
    text = ""
    if run.init_from == "none" and num_train_images < MIN_SCRATCH_IMAGES:
        text = f"starting from random weights; --init-from {DEFAULT_NETWORK} starts from the bundled network"
    return replace(config, run=run), text


class FittedInitialState(NamedTuple):
    """The initial state with its output layer fitted, and baselines."""

    initial: InitialState
    baselines: list[Baseline]


def fit_output_layer(
    initial: InitialState, config: TrainConfig, dataset: Dataset, cache: ImageCache, device: torch.device
) -> FittedInitialState:
    """Fit the new output layer to the features of the copied layers; called by one process."""
    cache = as_served(cache, config, dataset)
    generator = np.random.default_rng(config.run.seed)
    train, validation, held_out = (
        sample_rows(rows, limit, generator)
        for rows, limit in (
            (cache.rows(dataset, "train"), MAX_TRAIN_IMAGES),
            (cache.rows(dataset, "validation"), MAX_VALIDATION_IMAGES),
            (cache.rows(dataset, dataset.held_out_split), MAX_HELD_OUT_IMAGES),
        )
    )
    labels = np.array([example.label for example in dataset.examples])
    crops = draw_crops(len(train), generator)
    extractor = _FeatureExtractor(initial, config, cache, device)
    served = [*CENTER_CROP, *(crop for crop in CROP_IDS[config.environment.crops] if crop not in CENTER_CROP)]
    total = crops.size + len(validation) * len(served) + len(held_out)
    with (
        tqdm(total=total, desc="features of the start network", unit="crop", leave=False, disable=None) as bar,
        repeated(f"computing the start network's features for {total:,} crops", bar.disable),
    ):
        crop_features = extractor.compute(train, crops, bar)
        validation_features = extractor.compute(validation, np.tile(served, (len(validation), 1)), bar)
        held_out_features = extractor.compute(held_out, np.full((len(held_out), 1), CENTER_CROP), bar)[:, 0]
    with stage("fitting the output layer to these features"):
        neighbor_error = nearest_neighbor_error(crop_features[:, 0], labels[train], held_out_features, labels[held_out])
        probe = fit_linear_probe(
            crop_features.reshape(-1, crop_features.shape[-1]),
            labels[train].repeat(crop_features.shape[1]),
            validation_features,
            labels[validation],
            len(dataset.labels),
            config.recipe.class_weights,
        )
    if probe.ran_out_of_time:
        tqdm.write("fitting the output layer took too long to try weaker regularization, which might improve it")
    predicted = (held_out_features @ probe.weight.T + probe.bias).argmax(1)
    errors = {NEAREST_NEIGHBOR: neighbor_error, LINEAR: float((predicted != labels[held_out]).mean())}
    split = dataset.held_out_split
    baselines = [Baseline(name, split, error, len(held_out), len(train)) for name, error in errors.items()]
    return FittedInitialState(_with_output_layer(initial, probe), baselines)


def draw_crops(num_images: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """(num_images, crops) ids of crops: the center, then others of the ten; the more images, the fewer crops each.

    The center isn't enough: an output layer fitted to it alone is wrong on other crops.
    """
    others = np.array([crop for crop in TEN_CROP if crop not in CENTER_CROP])
    count = min(max(MAX_TRAIN_CROPS // num_images, MIN_CROPS), len(TEN_CROP))
    drawn = generator.permuted(np.tile(others, (num_images, 1)), axis=1)[:, : count - 1]
    return np.concatenate([np.full((num_images, 1), CENTER_CROP[0]), drawn], 1)


def _with_output_layer(initial: InitialState, probe: LinearProbe) -> InitialState:
    """The initial state with the probe as output layer."""
    name = initial.spec.weighted_layers[-1].name
    fitted = {f"{name}.weight": torch.from_numpy(probe.weight), f"{name}.bias": torch.from_numpy(probe.bias)}
    origin = initial.origin.replace(f"{name} initialized at random", f"{name} fitted to its features")
    return replace(initial, weights={**initial.weights, **fitted}, origin=origin)


class _FeatureExtractor:
    """Computes the output layer's inputs as in a trained network, where dropout is a factor."""

    def __init__(self, initial: InitialState, config: TrainConfig, cache: ImageCache, device: torch.device) -> None:
        self.device = device
        self.network = AlexNet(initial.spec)
        self.network.load_state_dict(initial.weights)
        self.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.kept = float(np.prod([1 - layer.p for layer in initial.spec.output_layers if isinstance(layer, Dropout)]))
        self.loader = CropLoader(cache, device, torch.float32)
        recipe = replace(config.recipe, network=initial.spec.config)  # the start's own, such as how its mean is cropped
        self.augmentation = Augmentation.create(recipe, cache.covariance, config.run.seed)
        self.bfloat16 = pick_precision(config.environment.precision, device) == "bfloat16"

    @torch.no_grad()
    def compute(self, rows: NDArray[np.int64], crops: NDArray[np.int64], bar: tqdm[None]) -> NDArray[np.float32]:
        """(N, crops, features) of the crops (N, crops) of the images in `rows`."""
        ids, each = crops.ravel(), rows.repeat(crops.shape[1])
        slices = list(zip(batches(each, BATCH_SIZE), batches(ids, BATCH_SIZE), strict=True))
        features = np.empty((len(each), self.network.spec.config.hidden), np.float32)
        start = 0
        for pixels in self.loader.crops(slices, self.augmentation):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                computed = self.network(pixels).features
            features[start : start + len(pixels)] = (self.kept * computed).float().cpu().numpy()
            start += len(pixels)
            bar.update(len(pixels))
        return features.reshape(*crops.shape, -1)
