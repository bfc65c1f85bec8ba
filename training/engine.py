"""The training loop: epochs over the cache, validation, the plateau rule, checkpoints, and a log line an epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from model.alexnet import AlexNet, Architecture, initialise
from model.errors import TrainingError
from training import checkpoint
from training.augment import ColourShift, centre_batch, training_batch
from training.cache import PictureCache, batches
from training.config import RunConfig
from training.datasets import Dataset
from training.schedule import Plateau
from training.sgd import MomentumSGD

METRICS = "metrics.jsonl"
FLAT_START_STEPS = 100


class Trainer:
    """One run's network, optimiser, schedule and position; `fit` trains it to the end.

    After `fit` the network holds the weights of the last epoch.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, cache: PictureCache, run: Path) -> None:
        self.config, self.dataset, self.cache, self.run = config, dataset, cache, run
        recipe = config.recipe
        self.device = torch.device(pick_device(config.device))
        self.precision = pick_precision(config.precision, self.device)
        self.network = AlexNet(Architecture(len(dataset.labels), config.hidden, recipe.dropout, recipe.input_scale))
        initialise(self.network, recipe.initialisation, torch.Generator().manual_seed(config.seed))
        # nn.Module.to has no overload for memory_format alone with a device
        self.network = self.network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = MomentumSGD(
            self.network.named_parameters(),
            recipe.learning_rate,
            recipe.momentum,
            recipe.weight_decay,
            recipe.decay_biases,
        )
        self.plateau = Plateau(recipe.learning_rate, recipe.patience, recipe.drops)
        self.colour = ColourShift.from_covariance(cache.covariance, recipe.colour_deviation)
        self.labels = np.array([example.label for example in dataset.examples])
        self.train_rows = cache.rows(dataset, "train")
        self.validation_rows = cache.rows(dataset, "validation")
        self.epoch = 0
        self.masks: dict[str, Tensor] = {}
        """Weights held at zero after pruning (see `training.compact`): parameter name -> mask."""

    def fit(self) -> None:
        """Train to the recipe's end. Ctrl-C leaves the checkpoint of the last whole epoch and says how to go on."""
        recipe = self.config.recipe
        while self.epoch < recipe.epochs and not self.plateau.over:
            started = time.monotonic()
            loss = self._epoch()
            validation = self.validate()
            self.plateau.update(validation["error"])
            self.epoch += 1
            rate, self.optimiser.rate = self.optimiser.rate, self.plateau.rate
            checkpoint.save(self.run, self.state())
            self._log(rate, loss, validation, time.monotonic() - started)
            self._warn_of_flat_start(loss)
        if self.plateau.over:
            tqdm.write("the validation error no longer improves at the smallest learning rate: done")

    def _warn_of_flat_start(self, loss: float) -> None:
        steps = self.epoch * math.ceil(len(self.train_rows) / self.config.recipe.batch)
        flat = _entropy(self.labels[self.train_rows])
        if self.epoch < 2 or steps < FLAT_START_STEPS or loss < 0.99 * flat:
            return
        advice = "try another --seed or --learning-rate"
        if self.config.recipe.name != "small":
            advice = "for a few thousand pictures use --recipe small, else " + advice
        tqdm.write(
            f"warning: after {steps:,} steps the loss ({loss:.3f}) is still that of guessing by class frequency "
            f"({flat:.3f}): {advice}"
        )

    def _epoch(self) -> float:
        """One pass over the training pictures; the mean loss."""
        self.network.train()
        order = np.random.default_rng((self.config.seed, self.epoch)).permutation(self.train_rows)
        total, count = 0.0, 0
        title = f"epoch {self.epoch + 1}/{self.config.recipe.epochs}"
        with tqdm(total=len(order), desc=title, unit="picture", leave=False, disable=None) as bar:
            for step, (rows, pixels) in enumerate(self._feed(order)):
                # dropout depends on the position alone, so that a resumed run equals an unbroken one
                torch.manual_seed(hash((self.config.seed, self.epoch, step)))
                loss = self._step(pixels, self._targets(rows))
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"expected a finite loss, found {loss} in epoch {self.epoch + 1}, step {step + 1}: "
                        "use a smaller --learning-rate"
                    )
                total, count = total + loss * len(rows), count + len(rows)
                bar.update(len(rows))
                bar.set_postfix(loss=f"{total / count:.3f}", rate=f"{self.optimiser.rate:g}")
        return total / count

    def _feed(self, order: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Batches of rows and their augmented pixels, made one ahead in another thread."""

        def make(rows: NDArray[np.int64]) -> Tensor:
            turned = not self.dataset.upright
            return _planes(training_batch(self.cache, rows, self.colour, self.config.seed, self.epoch, turned))

        pieces = list(batches(order, self.config.recipe.batch))
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(make, pieces[0])
            for position, rows in enumerate(pieces):
                pixels = pending.result()
                if position + 1 < len(pieces):
                    pending = pool.submit(make, pieces[position + 1])
                yield rows, pixels.to(self.device, non_blocking=True)

    def _step(self, pixels: Tensor, targets: Tensor) -> float:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits = self.network(pixels).logits
        loss = F.cross_entropy(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        with torch.no_grad():
            for name, mask in self.masks.items():
                self.network.get_parameter(name).mul_(mask)
        return float(loss.detach())

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean loss and top-1 error of the centre view on the validation part."""
        self.network.eval()
        loss, wrong = 0.0, 0
        for rows in batches(self.validation_rows, 32):
            targets = self._targets(rows)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                logits = self.network(_planes(centre_batch(self.cache, rows)).to(self.device)).logits.float()
            loss += float(F.cross_entropy(logits, targets, reduction="sum"))
            wrong += int((logits.argmax(1) != targets).sum())
        count = max(1, len(self.validation_rows))
        return {"loss": loss / count, "error": wrong / count}

    def _targets(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.labels[rows]).to(self.device)

    def _log(self, rate: float, loss: float, validation: dict[str, float], seconds: float) -> None:
        speed = len(self.train_rows) / seconds
        record = {
            "epoch": self.epoch,
            "rate": rate,
            "train_loss": loss,
            "validation_loss": validation["loss"],
            "validation_top1_error": validation["error"],
            "seconds": seconds,
        }
        with (self.run / METRICS).open("a") as file:
            file.write(json.dumps(record) + "\n")
        tqdm.write(
            f"epoch {self.epoch:3d}  rate {rate:<8g} train loss {loss:.4f}  "
            f"validation loss {validation['loss']:.4f}  error {100 * validation['error']:.2f} %  {speed:.0f} pictures/s"
        )

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
        return {
            "network": self.network.state_dict(),
            "velocity": self.optimiser.velocity,
            "masks": self.masks,
            "plateau": self.plateau.state(),
            "epoch": self.epoch,
            "architecture": asdict(self.network.architecture),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state. Raises TrainingError if it is of another network."""
        if state["architecture"] != asdict(self.network.architecture):
            raise TrainingError(
                f"expected a checkpoint of {asdict(self.network.architecture)}, found {state['architecture']}"
            )
        self.network.load_state_dict(state["network"])
        for name, velocity in self.optimiser.velocity.items():
            velocity.copy_(state["velocity"][name])
        self.masks = {name: mask.to(self.device) for name, mask in state["masks"].items()}
        self.plateau = Plateau(**state["plateau"])
        self.optimiser.rate = self.plateau.rate
        self.epoch = state["epoch"]


def pick_device(device: str) -> str:
    """`auto` -> cuda where there is one. Raises TrainingError when cuda is asked for and absent."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("expected a CUDA device, found none that torch can use")
    return device


def pick_precision(precision: str, device: torch.device) -> str:
    """`auto` -> bfloat16 where the hardware computes with it, else float32."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise TrainingError(f"expected precision auto, float32 or bfloat16, found {precision!r}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has_it = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return "bfloat16" if has_it else "float32"


def _planes(pixels: NDArray[np.float32]) -> Tensor:
    """(N, 224, 224, 3) -> (N, 3, 224, 224), channels-last without a copy."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _entropy(labels: NDArray[np.int64]) -> float:
    """The loss of answering every picture with the class frequencies."""
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
