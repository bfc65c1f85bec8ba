"""Local response normalization (section 3.3) on CIFAR-10: test error with and without (the paper: 11 % and 13 %).

The network and the schedule are those of the authors' public configuration for 13 %: two convolutions and two locally
connected layers, 24 x 24 crops and mirror images, nine crops at test. The normalization is that of their configuration
for 11 %. Nothing else differs here; in theirs, the locally connected layers differed, too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from experiments import cifar, command
from experiments.cifar import NUM_CLASSES, Images
from experiments.results import Results
from model.files import atomic_write

Kind = Literal["with", "without"]
PAPER_ERRORS: dict[Kind, float] = {"with": 0.11, "without": 0.13}
CROP_SIZE = 24
NINE_CROPS = (0, 4, 8)
"""First rows and columns of the nine crops at test."""
WINDOW, ALPHA = 9, 1e-3
"""Channels of a window, and alpha; k is 1, beta is 0.75, and the sum is divided by the window's channels."""


@dataclass(frozen=True)
class Settings:
    """The learning rate is divided by ten at 14/16 and 15/16 of the epochs: 140 and 150 of 160."""

    epochs: int = 160
    images: int = 50_000
    test_images: int = 10_000
    seeds: int = 2
    learning_rate: float = 0.001
    bias_lr_multiplier: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 0.004


class LocallyConnected(nn.Module):
    """A 3x3 convolution with separate kernels at each of 6 x 6 positions: (6, 6, N, in) -> (6, 6, N, out).

    With the positions first, the patches are slices, and the layer is one product of matrices for each position.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(36, 9 * inputs, outputs).normal_(0, 0.04))
        self.bias = nn.Parameter(torch.zeros(36, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, 0, 0, 1, 1, 1, 1))  # (8, 8, N, in)
        slices = [padded[top : top + 6, left : left + 6] for top in range(3) for left in range(3)]
        patches = torch.cat(slices, -1).flatten(0, 1)  # (36, N, 9 * in)
        weight, bias = self.weight.to(patches.dtype), self.bias.to(patches.dtype)
        return torch.baddbmm(bias, patches, weight).view(6, 6, -1, weight.shape[2])


class ResponseNorm(nn.Module):
    """x / (1 + alpha / n * sum of x^2 over n channels)^beta, computed by a banded 1x1 convolution."""

    band: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        channel = torch.arange(channels)
        in_window = (channel[:, None] - channel).abs() <= WINDOW // 2
        self.register_buffer("band", (in_window * ALPHA / WINDOW)[:, :, None, None].float())

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        with torch.autocast("cpu", enabled=False):
            root = (1 + F.conv2d(x * x, self.band)).rsqrt()
        return x * (root * root.sqrt())  # the power of -3/4; faster than pow


class FourLayers(nn.Module):
    """(N, 3, 24, 24) pixels 0..255 minus the mean -> logits (N, 10)."""

    def __init__(self, normalized: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 64, 5, padding=2), nn.Conv2d(64, 64, 5, padding=2)
        self.local3, self.local4 = LocallyConnected(64, 32), LocallyConnected(32, 32)
        self.fc = nn.Linear(36 * 32, NUM_CLASSES)
        self.norm = ResponseNorm(64) if normalized else nn.Identity()
        for layer, std in ((self.conv1, 1e-4), (self.conv2, 0.01), (self.fc, 0.01)):
            nn.init.normal_(layer.weight, 0, std)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.max_pool2d(F.relu(self.conv1(x)), 3, 2, ceil_mode=True))  # (N, 64, 12, 12)
        x = F.max_pool2d(self.norm(F.relu(self.conv2(x))), 3, 2, ceil_mode=True)  # (N, 64, 6, 6)
        x = F.relu(self.local4(F.relu(self.local3(x.permute(2, 3, 0, 1)))))  # (6, 6, N, 32)
        return self.fc(x.permute(2, 0, 1, 3).flatten(1))  # type: ignore[no-any-return]


def train_network(
    normalized: bool, seed: int, data: tuple[Images, Images], settings: Settings, checkpoint: Path
) -> dict[str, Any]:
    """Train one network. Returns the loss of each epoch, and the final test error with the center crop and with nine.

    `checkpoint`: file that is written after each epoch and deleted at the end; if it exists, the run resumes from it.
    """
    torch.manual_seed(seed)
    network = FourLayers(normalized)
    optimizer = torch.optim.SGD(_group_parameters(network, settings), settings.learning_rate, settings.momentum)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [round(settings.epochs * sixteenths / 16) for sixteenths in (14, 15)]
    )
    generator = torch.Generator().manual_seed(seed)
    parts: tuple[Any, ...] = (network, optimizer, schedule)
    losses = list[float]()
    if checkpoint.is_file():
        states, random_state, losses = torch.load(checkpoint)
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)
        generator.set_state(random_state)
    epochs = range(len(losses), settings.epochs)
    for _ in tqdm(epochs, desc=checkpoint.stem, initial=len(losses), total=settings.epochs, unit="epoch", disable=None):
        steps = [
            cifar.train_step(network, optimizer, *batch) for batch in cifar.iter_batches(data[0], generator, CROP_SIZE)
        ]
        schedule.step()
        losses.append(round(float(np.mean(steps)), 4))
        with atomic_write(checkpoint, "wb") as file:
            torch.save(([part.state_dict() for part in parts], generator.get_state(), losses), file)
    center, nine = (measure_error(network, data[1], crops) for crops in (NINE_CROPS[1:2], NINE_CROPS))
    checkpoint.unlink()
    return {"loss": losses, "center_error": center, "error": nine}


def _group_parameters(network: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """Parameter groups: weights of the last three layers alone decay; biases learn faster (`bias_lr_multiplier`)."""
    groups = []
    for name, parameter in network.named_parameters():
        bias, convolution = name.endswith("bias"), name.startswith("conv")
        decay = 0.0 if bias or convolution else settings.weight_decay
        rate = settings.learning_rate * (settings.bias_lr_multiplier if bias else 1)
        groups.append({"params": [parameter], "weight_decay": decay, "lr": rate})
    return groups


@torch.no_grad()
def measure_error(network: nn.Module, images: Images, offsets: tuple[int, ...]) -> float:
    """The test error of the mean probabilities of crops at all pairs of `offsets`."""
    errors = 0
    for pixels, labels in zip(torch.split(images.pixels, 500), torch.split(images.labels, 500), strict=True):
        cut = [pixels[:, :, top : top + CROP_SIZE, left : left + CROP_SIZE] for top in offsets for left in offsets]
        mean = torch.stack([cifar.compute_logits(network, crop).softmax(1) for crop in cut]).mean(0)
        errors += int((mean.argmax(1) != labels).sum())
    return round(errors / len(images.labels), 4)


def draw(results: Results) -> Figure:
    """Plot the loss of every run by epoch."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, run in results.runs.items():
        color = "tab:blue" if name.startswith("with ") else "tab:orange"
        axes.plot(range(1, len(run["loss"]) + 1), run["loss"], color=color, label=f"{name}: {100 * run['error']:.2f} %")
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.legend(frameon=False, title="test error, nine crops")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(
    archive: command.ArchiveOption = None,
    epochs: Annotated[
        int, typer.Option(min=1, help="Number of epochs (the authors' schedule: 160).")
    ] = Settings.epochs,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each kind.")] = Settings.seeds,
    kind: Annotated[
        Kind | None, typer.Option(help="Only runs with or only runs without normalization (default: both).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few images and one epoch: seconds.")] = False,
    output: command.OutputOption = command.RESULTS,
    cache: command.CacheOption = command.CACHE,
) -> None:
    """Measure the test error with and without response normalization; if stopped, the same command resumes it."""
    settings = Settings(epochs=epochs, seeds=seeds)
    if quick:
        output /= command.QUICK
        settings = Settings(epochs=1, images=512, test_images=200, seeds=1)
    results = Results(output / "normalization.json", asdict(settings))
    train_images, test = cifar.load_cifar(archive, cache, settings.images)
    results.start()
    data = (train_images, Images(*(values[: settings.test_images] for values in test)))
    for seed in range(settings.seeds):
        for each in [kind] if kind else PAPER_ERRORS:
            name = f"{each} normalization, seed {seed}"
            if name not in results.runs:
                checkpoint = output / f"{each}-normalization-seed-{seed}.pt"
                results.add(name, train_network(each == "with", seed, data, settings, checkpoint))
    draw(results).savefig(output / "normalization.png", dpi=110)
    for each, paper in PAPER_ERRORS.items():
        errors = [100 * run["error"] for name, run in results.runs.items() if name.startswith(f"{each} ")]
        if errors:
            listed = ", ".join(f"{error:.2f}" for error in errors)
            mean = np.mean(errors)
            typer.echo(f"{each} normalization: {mean:.2f} % test error ({listed}); the paper: {100 * paper:g} %")


if __name__ == "__main__":
    command.run(main)
