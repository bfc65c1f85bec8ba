"""Figure 1: a four-layer network on CIFAR-10 with ReLU and with tanh: epochs to a training error of 25 %.

Three convolutions and a fully connected layer (of the authors' public networks, the nearest to the figure), no
regularization of any kind, and for each activation the rate of a grid that gets there soonest, as in the paper. Weights
begin so that signals keep their size in all layers, by rules of 2010 and 2015; with `--as-in-2012` weights begin as the
authors' did, and pixels are as large as theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from experiments import cifar, command
from experiments.cifar import CLASSES, Images
from experiments.results import Results

PAPER = 6.0
"""Times as many epochs for tanh (section 3.1)."""
MEASURED_ON = 5_000
"""Training images, the same ones each time."""
HOPELESS, STEPS = 0.85, 1_000
"""An error near that of guessing, and the steps after which a run that has it is given up."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "tanh": torch.tanh}
GAINS = {"relu": 2.0, "tanh": 1.0}
"""Variance of the weights at the start times the inputs of a neuron: He et al. 2015, Glorot and Bengio 2010."""
DEVIATIONS = {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc": 0.01}
"""Of the weights at the start in the authors' public configuration (layers-19pct)."""


@dataclass(frozen=True)
class Settings:
    """`rates`: the grid. `most`: epochs after which a run is given up. `part`: of an epoch, between measurements.
    `scale`: of the pixels. `authors`: weights begin by `DEVIATIONS`, not by `GAINS`."""

    images: int = 50_000
    target: float = 0.25
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    seeds: int = 3
    most: float = 60.0
    part: float = 0.25
    momentum: float = 0.9
    scale: float = 1 / 64
    authors: bool = False


class FourLayers(nn.Module):
    """(N, 3, 32, 32) -> logits (N, 10); poolings of 3 with stride 2, the first by maximum, by the ceil rule."""

    def __init__(self, activation: str, scale: float, authors: bool) -> None:
        super().__init__()
        self.act, self.scale = ACTIVATIONS[activation], scale
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc = nn.Linear(64 * 4 * 4, CLASSES)
        for name, parameter in self.named_parameters():
            layer, _, kind = name.partition(".")
            kept = (GAINS[activation] / parameter[0].numel()) ** 0.5
            deviation = 0.0 if kind == "bias" else DEVIATIONS[layer] if authors else kept
            nn.init.normal_(parameter, 0, deviation)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.act(self.conv1(x * self.scale)), 3, 2, ceil_mode=True)  # (N, 32, 16, 16)
        x = F.avg_pool2d(self.act(self.conv2(x)), 3, 2, ceil_mode=True)  # (N, 32, 8, 8)
        x = F.avg_pool2d(self.act(self.conv3(x)), 3, 2, ceil_mode=True)  # (N, 64, 4, 4)
        return self.fc(x.flatten(1))  # type: ignore[no-any-return]


def race(activation: str, rate: float, seed: int, images: Images, settings: Settings, most: float) -> dict[str, Any]:
    """Train until the error on training images is the target, or `most` epochs have passed.

    `epochs`: where a straight line between two measurements meets the target; null if it didn't. A run that diverged
    is given up early.
    """
    torch.manual_seed(seed)
    network = FourLayers(activation, settings.scale, settings.authors)
    optimizer = torch.optim.SGD(network.parameters(), rate, settings.momentum)
    generator = torch.Generator().manual_seed(seed)
    every = max(1, round(settings.part * len(images.labels) / cifar.BATCH))
    curve = [(0.0, error(network, images))]
    steps, passes = 0, len(images.labels) / cifar.BATCH
    with tqdm(total=most, desc=f"{activation} {rate:g} seed {seed}", unit="epoch", disable=None) as bar:
        while steps < most * passes:
            for pixels, labels in cifar.batches(images, generator):
                loss = cifar.step(network, optimizer, pixels, labels)
                steps += 1
                if steps % every:
                    continue
                curve.append((round(steps / passes, 3), error(network, images)))
                bar.update(every / passes)
                if curve[-1][1] <= settings.target:
                    (a, before), (b, after) = curve[-2:]
                    met = a + (b - a) * (before - settings.target) / (before - after)
                    return {"epochs": round(met, 3), "curve": curve}
                hopeless = loss != loss or (curve[-1][1] > HOPELESS and steps >= STEPS)
                if hopeless or steps >= most * passes:
                    return {"epochs": None, "curve": curve}
    return {"epochs": None, "curve": curve}


@torch.no_grad()
def error(network: nn.Module, images: Images) -> float:
    """The share of the first training images that is named wrongly."""
    pixels, labels = images.pixels[:MEASURED_ON], images.labels[:MEASURED_ON]
    found = torch.cat([cifar.logits(network, some).argmax(1) for some in torch.split(pixels, 1000)])
    return round(float((found != labels).float().mean()), 4)


def measure(settings: Settings, images: Images, results: Results) -> dict[str, list[float | None]]:
    """Epochs by activation, a seed each, at the best rate of the grid; runs that are in `results` aren't run again."""
    found = {}
    for activation in ACTIVATIONS:
        best, best_rate = settings.most, settings.rates[0]
        for rate in settings.rates:  # no run goes on after the best so far would have won
            run = _run(activation, rate, 0, images, settings, results, best)
            if run["epochs"] is not None and run["epochs"] < best:
                best, best_rate = run["epochs"], rate
        seeds = [
            _run(activation, best_rate, seed, images, settings, results, settings.most)
            for seed in range(settings.seeds)
        ]
        found[activation] = [run["epochs"] for run in seeds]
    return found


def _run(
    activation: str, rate: float, seed: int, images: Images, settings: Settings, results: Results, most: float
) -> dict[str, Any]:
    name = f"{activation}, rate {rate:g}, seed {seed}"
    if name not in results.runs:
        results.add(name, race(activation, rate, seed, images, settings, most))
    return results.runs[name]


def draw(results: Results, target: float) -> Figure:
    """Error against epochs: all seeds of the rate that was chosen."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    colors = {"relu": "black", "tanh": "tab:red"}
    for activation, color in colors.items():
        names = [name for name in results.runs if name.startswith(activation)]
        chosen = next(name.rpartition(",")[0] for name in names if not name.endswith("seed 0"))
        for name in (name for name in names if name.startswith(f"{chosen},")):
            epochs, errors = zip(*results.runs[name]["curve"], strict=True)
            axes.plot(epochs, errors, color=color, alpha=0.8, label=f"{chosen}" if name.endswith("seed 0") else None)
    axes.axhline(target, color="gray", linestyle=":", linewidth=1)
    axes.set(xlabel="epochs", ylabel="training error", ylim=(0, 0.9))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(
    archive: Annotated[Path | None, typer.Option(help="The zip file of cifar10.")] = None,
    images: Annotated[int, typer.Option(min=256, help="Training images.")] = Settings.images,
    seeds: Annotated[int, typer.Option(min=2, help="Runs at the chosen rate.")] = Settings.seeds,
    as_in_2012: Annotated[bool, typer.Option("--as-in-2012", help="The authors' first weights and pixels.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds: few images, an easier target.")] = False,
    output: command.OutputOption = command.RESULTS,
    cache: Annotated[Path, typer.Option(help="Decoded images.")] = Path("cache"),
) -> None:
    """Epochs to 25 % training error with ReLU and with tanh; stopped, it goes on where it was."""
    settings = Settings(images=images, seeds=seeds)
    if as_in_2012:
        settings = replace(settings, authors=True, scale=1.0, rates=(0.003, 0.001, 0.01, 0.03, 0.1), most=100.0)
    if quick:
        output /= command.QUICK
        settings = Settings(images=512, target=0.75, rates=(0.003, 0.01), seeds=2, most=8, part=0.5)
    name = "activation-2012" if as_in_2012 else "activation"
    results = Results(output / f"{name}.json", asdict(settings))
    train, _ = cifar.load(archive, cache, settings.images)
    found = measure(settings, train, results)
    draw(results, settings.target).savefig(output / f"{name}.png", dpi=110)
    typer.echo(summary(found, settings))


def summary(found: dict[str, list[float | None]], settings: Settings) -> str:
    """A few lines for people."""
    lines = [f"epochs to {100 * settings.target:g} % training error on {settings.images:,} images"]
    means = {}
    for activation, needed in found.items():
        epochs = [e for e in needed if e is not None]
        if len(epochs) < len(needed):
            given_up = len(needed) - len(epochs)
            lines.append(f"  {activation}: not within {settings.most:g} epochs in {given_up} of {len(needed)}")
            continue
        means[activation] = sum(epochs) / len(epochs)
        lines.append(f"  {activation}: {means[activation]:.2f} ({', '.join(f'{e:.2f}' for e in epochs)})")
    if len(means) == len(found):
        lines.append(f"  tanh needs {means['tanh'] / means['relu']:.1f} times as many; the paper: {PAPER:g}")
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main)
