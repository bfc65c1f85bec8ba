"""Figure 1: epochs to a training error of 25 % on CIFAR-10 for a four-layer network with ReLU and with tanh.

Three convolutions and a fully connected layer (of the authors' public networks, the nearest to the figure), no
regularization, and for each activation the learning rate of a grid that reaches the error first, as in the paper.
Weights are initialized so that signals keep their size in all layers, by rules of 2010 and 2015; with `--as-in-2012`
they are initialized as the authors' were, and pixels are as large as theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import torch
import typer
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from experiments import cifar, command
from experiments.cifar import NUM_CLASSES, Images
from experiments.results import Results

PAPER_RATIO = 6.0
"""How many times as many epochs tanh needs (section 3.1)."""
NUM_MEASURED = 5_000
"""Training images that the error is measured on, the same ones each time."""
CHANCE_ERROR, GIVE_UP_AFTER_STEPS = 0.85, 1_000
"""A run that still has an error near that of guessing after so many steps is given up."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "tanh": torch.tanh}
GAINS = {"relu": 2.0, "tanh": 1.0}
"""Variance of the initial weights times the inputs of a neuron: He et al. 2015, Glorot and Bengio 2010."""
STDS = {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc": 0.01}
"""Standard deviations of the initial weights in the authors' public configuration (layers-19pct)."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    `learning_rates`: the grid. `max_epochs`: epochs after which a run is given up. `interval`: epochs between
    measurements. `scale`: of the pixels. `as_in_2012`: weights are initialized by `STDS`, not by `GAINS`.
    """

    images: int = 50_000
    target: float = 0.25
    learning_rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    seeds: int = 3
    max_epochs: float = 60.0
    interval: float = 0.25
    momentum: float = 0.9
    scale: float = 1 / 64
    as_in_2012: bool = False


class FourLayers(nn.Module):
    """(N, 3, 32, 32) -> logits (N, 10); pooling windows of 3 with stride 2, the first by maximum, in ceil mode."""

    def __init__(self, activation: str, scale: float, as_in_2012: bool) -> None:
        super().__init__()
        self.act, self.scale = ACTIVATIONS[activation], scale
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc = nn.Linear(64 * 4 * 4, NUM_CLASSES)
        for name, parameter in self.named_parameters():
            layer, _, parameter_name = name.partition(".")
            by_fan_in = (GAINS[activation] / parameter[0].numel()) ** 0.5
            std = 0.0 if parameter_name == "bias" else STDS[layer] if as_in_2012 else by_fan_in
            nn.init.normal_(parameter, 0, std)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.act(self.conv1(x * self.scale)), 3, 2, ceil_mode=True)  # (N, 32, 16, 16)
        x = F.avg_pool2d(self.act(self.conv2(x)), 3, 2, ceil_mode=True)  # (N, 32, 8, 8)
        x = F.avg_pool2d(self.act(self.conv3(x)), 3, 2, ceil_mode=True)  # (N, 64, 4, 4)
        return self.fc(x.flatten(1))  # type: ignore[no-any-return]


def train_to_error(
    activation: str, learning_rate: float, seed: int, images: Images, settings: Settings, max_epochs: float
) -> dict[str, Any]:
    """Train until the error on training images reaches the target, or for `max_epochs`.

    `epochs` of the result: where a straight line between two measurements crosses the target; null if none did. A run
    that diverged is given up early.
    """
    torch.manual_seed(seed)
    network = FourLayers(activation, settings.scale, settings.as_in_2012)
    optimizer = torch.optim.SGD(network.parameters(), learning_rate, settings.momentum)
    generator = torch.Generator().manual_seed(seed)
    every = max(1, round(settings.interval * len(images.labels) / cifar.BATCH_SIZE))
    curve = [(0.0, measure_error(network, images))]
    steps, steps_per_epoch = 0, len(images.labels) / cifar.BATCH_SIZE
    with tqdm(total=max_epochs, desc=f"{activation} {learning_rate:g} seed {seed}", unit="epoch", disable=None) as bar:
        while steps < max_epochs * steps_per_epoch:
            for pixels, labels in cifar.iter_batches(images, generator):
                loss = cifar.train_step(network, optimizer, pixels, labels)
                steps += 1
                if steps % every:
                    continue
                curve.append((round(steps / steps_per_epoch, 3), measure_error(network, images)))
                bar.update(every / steps_per_epoch)
                if curve[-1][1] <= settings.target:
                    (a, before), (b, after) = curve[-2:]
                    crossing = a + (b - a) * (before - settings.target) / (before - after)
                    return {"epochs": round(crossing, 3), "curve": curve}
                give_up = loss != loss or (curve[-1][1] > CHANCE_ERROR and steps >= GIVE_UP_AFTER_STEPS)
                if give_up or steps >= max_epochs * steps_per_epoch:
                    return {"epochs": None, "curve": curve}
    return {"epochs": None, "curve": curve}


@torch.no_grad()
def measure_error(network: nn.Module, images: Images) -> float:
    """The top-1 error on the first training images."""
    pixels, labels = images.pixels[:NUM_MEASURED], images.labels[:NUM_MEASURED]
    predicted = torch.cat([cifar.compute_logits(network, batch).argmax(1) for batch in torch.split(pixels, 1000)])
    return round(float((predicted != labels).float().mean()), 4)


def measure_epochs(settings: Settings, images: Images, results: Results) -> dict[str, list[float | None]]:
    """Epochs by activation, one per seed, at the best learning rate of the grid; finished runs aren't run again."""
    epochs = {}
    for activation in ACTIVATIONS:
        best, best_rate = settings.max_epochs, settings.learning_rates[0]
        for rate in settings.learning_rates:  # a run ends when it can no longer be better than the best so far
            run = _train_once(activation, rate, 0, images, settings, results, best)
            if run["epochs"] is not None and run["epochs"] < best:
                best, best_rate = run["epochs"], rate
        seeds = [
            _train_once(activation, best_rate, seed, images, settings, results, settings.max_epochs)
            for seed in range(settings.seeds)
        ]
        epochs[activation] = [run["epochs"] for run in seeds]
    return epochs


def _train_once(
    activation: str, rate: float, seed: int, images: Images, settings: Settings, results: Results, max_epochs: float
) -> dict[str, Any]:
    name = f"{activation}, learning rate {rate:g}, seed {seed}"
    if name not in results.runs:
        results.add(name, train_to_error(activation, rate, seed, images, settings, max_epochs))
    return results.runs[name]


def draw(results: Results, target: float) -> Figure:
    """Error by epoch: all seeds of the chosen learning rate."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    colors = {"relu": "black", "tanh": "tab:red"}
    for activation, color in colors.items():
        names = [name for name in results.runs if name.startswith(activation)]
        best = next(name.rpartition(",")[0] for name in names if not name.endswith("seed 0"))
        for name in (name for name in names if name.startswith(f"{best},")):
            epochs, errors = zip(*results.runs[name]["curve"], strict=True)
            axes.plot(epochs, errors, color=color, alpha=0.8, label=best if name.endswith("seed 0") else None)
    axes.axhline(target, color="gray", linestyle=":", linewidth=1)
    axes.set(xlabel="epochs", ylabel="training error", ylim=(0, 0.9))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(
    archive: command.ArchiveOption = None,
    images: Annotated[int, typer.Option(min=256, help="Training images.")] = Settings.images,
    seeds: Annotated[int, typer.Option(min=2, help="Runs at the chosen learning rate.")] = Settings.seeds,
    as_in_2012: Annotated[bool, typer.Option("--as-in-2012", help="The authors' initial weights and pixels.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Few images and an easier target: seconds.")] = False,
    output: command.OutputOption = command.RESULTS,
    cache: command.CacheOption = command.CACHE,
) -> None:
    """Measure epochs to 25 % training error with ReLU and with tanh; if stopped, the same command resumes it."""
    settings = Settings(images=images, seeds=seeds)
    if as_in_2012:
        settings = replace(
            settings, as_in_2012=True, scale=1.0, learning_rates=(0.003, 0.001, 0.01, 0.03, 0.1), max_epochs=100.0
        )
    if quick:
        output /= command.QUICK
        settings = Settings(images=512, target=0.75, learning_rates=(0.003, 0.01), seeds=2, max_epochs=8, interval=0.5)
    name = "activation-2012" if as_in_2012 else "activation"
    results = Results(output / f"{name}.json", asdict(settings))
    train, _ = cifar.load_cifar(archive, cache, settings.images)
    epochs = measure_epochs(settings, train, results)
    draw(results, settings.target).savefig(output / f"{name}.png", dpi=110)
    typer.echo(format_summary(epochs, settings))


def format_summary(results: dict[str, list[float | None]], settings: Settings) -> str:
    """The result as a few lines of text."""
    lines = [f"epochs to {100 * settings.target:g} % training error on {settings.images:,} images"]
    means = {}
    for activation, needed in results.items():
        epochs = [e for e in needed if e is not None]
        if len(epochs) < len(needed):
            given_up = len(needed) - len(epochs)
            lines.append(f"  {activation}: not within {settings.max_epochs:g} epochs in {given_up} of {len(needed)}")
            continue
        means[activation] = sum(epochs) / len(epochs)
        lines.append(f"  {activation}: {means[activation]:.2f} ({', '.join(f'{e:.2f}' for e in epochs)})")
    if len(means) == len(results):
        lines.append(f"  tanh needs {means['tanh'] / means['relu']:.1f} times as many; the paper: {PAPER_RATIO:g}")
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main)
