"""`TrainingEngine`: the training steps of an epoch, and validation, on one process's share of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.network.torch_module import AlexNet
from model.network.tower_parallel import split_state
from training.config import TrainConfig
from training.data.augment import Augmentation
from training.data.cache import ImageCache, batches
from training.data.datasets import Dataset
from training.data.loader import CropLoader, MicroBatch, micro_batches
from training.data.mixing import Mix, draw_mix
from training.loop import diagnostics
from training.loop.distributed import DistributedContext, GradientAllReducer
from training.loop.frozen_features import FrozenFeatures, crops_never_change, num_frozen_layers
from training.loop.runtime import pick_precision
from training.optim.competition import Competition
from training.optim.dropout import dropout_masks
from training.optim.initial_weights import InitialState
from training.optim.loss import Targets, balanced_class_weights, training_loss
from training.optim.pruning import pruning_masks, scheduled_densities
from training.optim.sgd import MomentumSGD, scheduled_learning_rates

VALIDATION_BATCH = 128


@dataclass
class EpochTotals:
    """Sums over the images of an epoch so far: loss, wrong top-1 predictions, number of images."""

    loss: float = 0.0
    errors: float = 0.0
    images: int = 0

    def add(self, sums: Tensor) -> None:
        """Add (3,) sums of loss, errors and images."""
        loss, errors, images = sums.tolist()
        self.loss += loss
        self.errors += errors
        self.images += round(images)

    @property
    def mean_loss(self) -> float:
        return self.loss / self.images

    @property
    def top1_error(self) -> float:
        return self.errors / self.images


class ValidationScores(NamedTuple):
    """Mean cross-entropy, without class weights and label smoothing, and top-1 error of center crops."""

    loss: float
    top1_error: float


class TrainingEngine:
    """Runs training steps and validation on this process's share of the network.

    With towers in several processes, each process holds the gradients of its own share only. A norm over all gradients
    is therefore the root of the sum of squares over the network's processes (`DistributedContext.exchange`), with the
    biases of `row` layers, which every process holds, counted once (`model.network.spec.Partitioning`).
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        cache: ImageCache,
        context: DistributedContext,
        initial: InitialState,
    ) -> None:
        self.context, self.lr_multipliers = context, initial.lr_multipliers
        self.has_own_mean = initial.mean is None
        """Whether the mean image comes from this dataset, not from the starting artifact."""
        self.spec, self.recipe = initial.spec, replace(config.recipe, network=initial.spec.config)
        self.seed, self.micro_batch = config.run.seed, config.environment.micro_batch
        self.device = context.device
        self.precision = pick_precision(config.environment.precision, self.device)
        self.dtype = torch.float64 if self.precision == "float64" else torch.float32
        self.network = self._build_network(initial)
        trained = {name.partition(".")[0] for name, tensor in self.network.named_parameters() if tensor.requires_grad}
        self.num_frozen_layers = num_frozen_layers(self.spec.feature_layers, trained)
        """Number of leading layers whose output for a crop is the same in every step."""
        self.frozen_features = FrozenFeatures(cache.images.count)
        self.forward = torch.compile(self.network) if config.environment.compile else self.network
        self.optimizer = MomentumSGD(self.network.named_parameters(), self.learning_rates(1.0, 0), self.recipe)
        self.all_reducer = GradientAllReducer(self.network.parameters(), context.replica_group)
        self.loader = CropLoader(cache, self.device, self.dtype)
        self.augmentation = Augmentation.create(self.recipe, cache.covariance, self.seed, not dataset.upright)
        self.labels = np.array([example.label for example in dataset.examples])
        self.class_weights = self._class_weights(cache.rows(dataset, "train"))
        self.competition = Competition(
            [example.group for example in dataset.examples],
            self.labels,
            cache.rows(dataset, "train"),
            len(dataset.labels),
            self.recipe.competition,
            self.seed,
        )
        self.pruning_masks: dict[str, Tensor] = {}
        """Weights that stay zero: parameter name -> mask."""
        self.densities: dict[str, float] = {}
        """The fraction of its weights that each pruned layer keeps under the current masks."""

    def _build_network(self, initial: InitialState) -> AlexNet:
        """This process's part of the network with its initial weights; frozen parameters need no gradient."""
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # full float32
        network = AlexNet(self.spec, self.context.exchange).to(self.dtype)
        network.load_state_dict(split_state(initial.weights, self.spec, self.context.exchange))
        network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(initial.lr_multipliers.get(name.partition(".")[0], 1.0) > 0)
        return network

    def _class_weights(self, train_rows: NDArray[np.int64]) -> Tensor | None:
        if not self.recipe.class_weights:
            return None
        weights = balanced_class_weights(self.labels[train_rows], self.spec.config.num_classes)
        return torch.from_numpy(weights).to(self.device, self.dtype)

    def learning_rates(self, factor: float, epoch: int, warmup: float = 1.0) -> dict[str, float]:
        """The learning rate of every parameter. `factor`: the schedule's. `warmup`: a factor for all rates."""
        return scheduled_learning_rates(self.spec, self.recipe, factor, epoch, self.lr_multipliers, warmup)

    def run_epoch(
        self,
        order: NDArray[np.int64],
        epoch: int,
        first_step: int,
        before_step: Callable[[int], bool] = lambda step: True,
        mixes: bool = True,
    ) -> Iterator[tuple[int, Tensor]]:
        """Run the steps of an epoch from `first_step` on.

        `before_step`: called with the number of each step before it is run; if it returns False, the epoch ends there.
        `mixes`: whether images are mixed, if the recipe mixes them. Yields the number of each step after it was run,
        and (3,) sums of loss, errors and images of this process. The yielded tensor is one shared accumulator; the
        caller zeroes it after reading.
        """
        context, batch_size = self.context, self.recipe.batch_size
        first_global_step = epoch * -(-len(order) // batch_size)

        def draw(step: int, rows: NDArray[np.int64]) -> Mix | None:
            mixing = self.recipe.mixing if mixes else None
            return None if mixing is None else draw_mix(mixing, self.seed, first_global_step + step, rows)

        work = list(
            micro_batches(order, batch_size, self.micro_batch, context.replica, context.num_replicas, first_step, draw)
        )
        start_layer = self.num_frozen_layers if crops_never_change(self.augmentation) else 0
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        step, masks = -1, tuple[Tensor, ...]()
        for micro_batch, x in self._inputs(work, start_layer, epoch, batch_size):
            if step < 0 and not epoch and self.has_own_mean and not start_layer:
                diagnostics.check_mean(x)
            count = min(batch_size, len(order) - micro_batch.step * batch_size)
            if micro_batch.step != step:
                step = micro_batch.step
                if not before_step(step):
                    return
                masks = dropout_masks(
                    self.spec, context.exchange, self.seed, first_global_step + step, count, sums.to(self.dtype)
                )
            sums += self._backward(micro_batch, self._targets(micro_batch, epoch), x, start_layer, masks, count)
            if micro_batch.is_last:
                self._update()
                yield step, sums

    def _inputs(
        self, work: Sequence[MicroBatch], start_layer: int, epoch: int, batch_size: int
    ) -> Iterator[tuple[MicroBatch, Tensor]]:
        """Micro-batches with the inputs of layer `start_layer`: crops, or outputs of the frozen layers before it."""
        if start_layer:
            outputs = self._frozen_outputs([micro_batch.rows for micro_batch in work])
            yield from zip(work, outputs, strict=True)
        else:
            yield from self.loader.train_crops(work, self.augmentation, epoch, batch_size)

    def _frozen_outputs(self, slices: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        """Outputs of the frozen layers for the center crops of the images in each of `slices`, each computed once."""
        features = self.frozen_features
        missing = [features.missing(rows) for rows in slices]
        new = [rows[absent] for rows, absent in zip(slices, missing, strict=True) if absent.any()]
        crops = self.loader.center_crops(new, self.augmentation)
        for rows, absent in zip(slices, missing, strict=True):
            computed = None
            if absent.any():
                pixels = next(crops)
                if features.is_empty and self.has_own_mean:
                    diagnostics.check_mean(pixels)
                with torch.no_grad(), self._autocast():
                    computed = self.network.run_first_layers(pixels, self.num_frozen_layers)
            yield features.merge(rows, absent, computed)

    def _targets(self, micro_batch: MicroBatch, epoch: int) -> Targets:
        """The training targets of a micro-batch."""
        mix = micro_batch.mix
        partners, shares = (None, None) if mix is None else (mix.rows, torch.from_numpy(mix.shares).to(self.device))
        excluded = self.competition.excluded(epoch, micro_batch.rows, partners)
        return Targets(
            self._classes(micro_batch.rows),
            None if partners is None else self._classes(partners),
            shares,
            None if excluded is None else torch.from_numpy(excluded).to(self.device),
        )

    def _backward(
        self,
        micro_batch: MicroBatch,
        targets: Targets,
        x: Tensor,
        start_layer: int,
        masks: tuple[Tensor, ...],
        count: int,
    ) -> Tensor:
        """Forward and backward pass of a micro-batch, which is part of a batch of `count` images.

        `x`: the input of layer `start_layer`. Returns (3,) sums of loss, errors and images. With mixing, errors are
        against the image's own class only.
        """
        weight = micro_batch.weight
        positions = torch.from_numpy(micro_batch.positions).to(self.device, non_blocking=True)
        with self._autocast():
            logits = self.forward(x, tuple(mask[positions] for mask in masks), start_layer).logits
        loss = training_loss(logits.to(self.dtype), targets, self.recipe.label_smoothing, self.class_weights)
        loss = loss * (weight / count)  # scaled so that sums over micro-batches and replicas give the batch mean
        self.all_reducer.is_last_micro_batch = micro_batch.is_last
        loss.backward()  # type: ignore[no-untyped-call]
        errors = (logits.detach().argmax(1) != targets.classes).sum() * weight
        images = torch.full((), len(targets.classes) * weight, device=self.device)
        return torch.stack([(loss.detach() * count).double(), errors.double(), images.double()])

    def _update(self) -> None:
        self.all_reducer.wait()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.apply_pruning_masks()

    def prune(self, progress: float) -> None:
        """Prune all but frozen layers to the recipe's densities at `progress`, the share of the run that is over."""
        pruning = self.recipe.pruning
        scheduled = {} if pruning is None or progress < pruning.start else scheduled_densities(pruning, progress)
        densities = {name: density for name, density in scheduled.items() if self.lr_multipliers.get(name, 1.0) > 0}
        if densities == self.densities:
            return
        towers = max(1, self.spec.towers // self.context.exchange.size)
        weights = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        self.pruning_masks = pruning_masks(weights, self.spec, densities, towers)
        self.densities = densities
        self.apply_pruning_masks()

    @torch.no_grad()
    def apply_pruning_masks(self) -> None:
        """Set pruned weights to zero."""
        for name, mask in self.pruning_masks.items():
            self.network.get_parameter(name).mul_(mask)

    @torch.no_grad()
    def validate(self, rows: NDArray[np.int64], check_stop: Callable[[], None] = lambda: None) -> ValidationScores:
        """Mean loss and top-1 error; each image counts once, whatever the number of processes.

        `check_stop`: called between batches, equally often in all processes; it may raise.
        """
        context, size = self.context, min(VALIDATION_BATCH, self.micro_batch or VALIDATION_BATCH)
        slices = list(batches(rows[context.replica :: context.num_replicas], size))
        num_common_batches = len(rows) // context.num_replicas // size
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        if self.num_frozen_layers:
            inputs = self._frozen_outputs(slices)
        else:
            inputs = self.loader.center_crops(slices, self.augmentation)
        for number, (batch, x) in enumerate(zip(slices, inputs, strict=True)):
            if number < num_common_batches:
                check_stop()
            targets = self._classes(batch)
            with self._autocast():
                logits = self.network(x, start_layer=self.num_frozen_layers).logits
            loss = F.cross_entropy(logits.to(self.dtype), targets, reduction="sum")
            sums += torch.stack([loss.double(), (logits.argmax(1) != targets).sum().double()])
        loss, errors = context.all_reduce(sums).tolist()
        return ValidationScores(loss / len(rows), errors / len(rows))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _classes(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.labels[rows]).to(self.device, non_blocking=True)
