"""One network at its steps: forward, backward, the gradients of all replicas, the update; and validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.network.torch_module import AlexNet
from model.network.tower_parallel import split
from training.config import RunConfig
from training.data.augment import Augmentation
from training.data.cache import ImageCache, batches
from training.data.datasets import Dataset
from training.data.loader import Feed, pieces
from training.loop import diagnostics
from training.loop.distributed import GradientSum, Processes
from training.loop.precision import pick_precision
from training.optim.dropout import kept_outputs
from training.optim.initial_weights import Start
from training.optim.sgd import MomentumSGD, learning_rates


class Learner:
    """The network (this process's tower of it), its optimizer, and the images they are fed with."""

    def __init__(
        self, config: RunConfig, dataset: Dataset, cache: ImageCache, processes: Processes, start: Start
    ) -> None:
        self.config, self.processes, self.layer_rates = config, processes, start.rates
        self.recipe = replace(config.recipe, architecture=start.architecture)
        self.device = processes.device
        self.precision = pick_precision(config.precision, self.device)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 is float32
        self.dtype = torch.float64 if self.precision == "float64" else torch.float32
        self.network = AlexNet(start.architecture, processes.exchange).to(self.dtype)
        self.network.load_state_dict(split(start.weights, processes.exchange))
        self.network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(start.rates.get(name.partition(".")[0], 1.0) > 0)
        self.forward = torch.compile(self.network) if config.compiled else self.network
        self.optimizer = MomentumSGD(self.network.named_parameters(), self.rates(1.0, 0), self.recipe)
        self.gradients = GradientSum(self.network.parameters(), processes.replica_group)
        self.feed = Feed(cache, self.device, self.dtype)
        self.augmentation = Augmentation.of(self.recipe, cache.covariance, config.seed, not dataset.upright)
        self.labels = np.array([example.label for example in dataset.examples])
        self.masks: dict[str, Tensor] = {}
        """Weights held at zero after pruning (see `training.compact`): parameter name -> mask."""

    def rates(self, factor: float, epoch: int) -> dict[str, float]:
        """The learning rate of every parameter. `factor`: the schedule's."""
        names = [name for name, _ in self.network.named_parameters()]
        return learning_rates(names, self.recipe, factor, epoch, self.layer_rates)

    def steps(self, order: NDArray[np.int64], epoch: int, first: int) -> Iterator[tuple[int, Tensor]]:
        """Makes the steps of an epoch from the `first` on. After each: its number, and the loss, the wrong answers and
        the images that this process has seen since the caller last set them to zero."""
        replica, replicas = self.processes.replica, self.processes.replicas
        work = list(pieces(order, self.recipe.batch, self.config.micro_batch, replica, replicas, first))
        totals = torch.zeros(3, dtype=torch.float64, device=self.device)
        recipe, step, kept = self.recipe, -1, tuple[Tensor, ...]()
        for piece, pixels in self.feed.training(work, self.augmentation, epoch, recipe.batch):
            if step < 0 and not epoch:
                diagnostics.require_mean(pixels)
            count = min(recipe.batch, len(order) - piece.step * recipe.batch)
            if piece.step != step:
                step, number = piece.step, epoch * -(-len(order) // recipe.batch) + piece.step
                kept = kept_outputs(
                    self.network.architecture, self.processes.exchange, self.config.seed, number, count, pixels
                )
            places = torch.from_numpy(piece.places).to(self.device, non_blocking=True)
            targets = self._targets(piece.rows)
            with self._autocast():
                logits = self.forward(pixels, tuple(mask[places] for mask in kept)).logits
            loss = F.cross_entropy(logits.to(self.dtype), targets, reduction="sum") * (piece.weight / count)
            self.gradients.last = piece.last
            loss.backward()  # type: ignore[no-untyped-call]
            wrong = (logits.detach().argmax(1) != targets).sum() * piece.weight
            seen = torch.full((), len(targets) * piece.weight, device=self.device)
            totals += torch.stack([(loss.detach() * count).double(), wrong.double(), seen.double()])
            if piece.last:
                self._update()
                yield piece.step, totals

    def _update(self) -> None:
        self.gradients.finish()
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            for name, mask in self.masks.items():
                self.network.get_parameter(name).mul_(mask)

    @torch.no_grad()
    def validate(self, rows: NDArray[np.int64], hear: Callable[[], None]) -> dict[str, float]:
        """Mean loss and top-1 error of the center crops of images; each counts once, whatever the processes.

        `hear` is called between slices, as often in all processes, and may raise.
        """
        own, size = rows[self.processes.replica :: self.processes.replicas], min(128, self.config.micro_batch or 128)
        slices, common = list(batches(own, size)), len(rows) // self.processes.replicas // size
        totals = torch.zeros(2, dtype=torch.float64, device=self.device)
        for number, (some, pixels) in enumerate(zip(slices, self.feed.centers(slices, self.augmentation), strict=True)):
            if number < common:
                hear()
            targets = self._targets(some)
            with self._autocast():
                logits = self.network(pixels).logits
            loss = F.cross_entropy(logits.to(self.dtype), targets, reduction="sum")
            totals += torch.stack([loss.double(), (logits.argmax(1) != targets).sum().double()])
        loss, wrong = self.processes.total(totals).tolist()
        return {"loss": loss / len(rows), "error": wrong / len(rows)}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _targets(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.labels[rows]).to(self.device, non_blocking=True)
