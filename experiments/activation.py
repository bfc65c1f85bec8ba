"""Figure 1: epochs to a training error of 25 % on CIFAR-10 for a four-layer network with ReLU, tanh and the sigmoid.

The network has three convolutions and a fully connected layer (of the authors' public networks, the closest to the
figure) and no regularization. As in the paper, each activation gets the learning rate that reaches the error first. The
initial weights, the pixel scale and the number of images, any of which may explain the figure, are options.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, NamedTuple

import torch
import typer
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from experiments import cifar, command
from experiments.cifar import NUM_CLASSES, Images
from experiments.results import Results
from model.exceptions import TrainingError
from model.network.torch_module import ACTIVATIONS

Initialization = Literal["authors", "variance-preserving"]
PAPER_RATIO = 6.0
"""Epochs that tanh needs, as a multiple of those of ReLU (section 3.1)."""
NUM_MEASURED = 5_000
"""Number of training images to measure the error on, the same each time."""
CHANCE_ERROR, GIVE_UP_AFTER_STEPS = 0.85, 3_000
"""A run whose error is still above this, near chance, after this many steps is given up."""
GAINS = {"relu": 2.0, "tanh": 1.0, "sigmoid": 16.0}
"""Variance of the initial weights times a neuron's number of inputs (He et al. 2015; Glorot and Bengio 2010); 16 for
the sigmoid, whose slope at zero is 1/4."""
STDS = {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc": 0.01}
"""Standard deviations of the initial weights in the authors' public configuration (layers-19pct)."""
LEARNING_RATES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
COLORS = {"relu": "black", "tanh": "tab:red", "sigmoid": "tab:blue"}


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    `initialization`: of the weights, by `STDS` (`authors`) or by `GAINS`. `pixel_scale`: factor for pixels of 0 to 255
    minus their mean. `images`: number of training images. `target`: training error to reach. `seeds`: number of runs at
    the best learning rate. `learning_rates`: candidates in ascending order. `first_rate`: where the search begins.
    `max_epochs`: epochs after which a run is given up. `interval`: epochs between measurements.
    """

    initialization: Initialization = "authors"
    pixel_scale: float = 1.0
    images: int = 50_000
    target: float = 0.25
    seeds: int = 3
    learning_rates: tuple[float, ...] = LEARNING_RATES
    first_rate: float = 0.003
    max_epochs: float = 60.0
    interval: float = 0.25
    momentum: float = 0.9


class Outcome(NamedTuple):
    """One activation's best learning rate, and the epochs to the target by seed; None if it wasn't reached."""

    learning_rate: float
    epochs: list[float | None]


class FourLayers(nn.Module):
    """(N, 3, 32, 32) -> logits (N, 10); 3x3 pooling with stride 2 in ceil mode, first maximum, then average."""

    def __init__(self, activation: str, initialization: Initialization, pixel_scale: float) -> None:
        super().__init__()
        self.act, self.scale = ACTIVATIONS[activation], pixel_scale
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc = nn.Linear(64 * 4 * 4, NUM_CLASSES)
        for name, parameter in self.named_parameters():
            layer, _, parameter_name = name.partition(".")
            by_fan_in = (GAINS[activation] / parameter[0].numel()) ** 0.5
            std = 0.0 if parameter_name == "bias" else STDS[layer] if initialization == "authors" else by_fan_in
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

    `epochs` in the result: where a straight line between two measurements crosses the target; None if it wasn't
    reached. A run that diverges or stays near chance is given up early.
    """
    torch.manual_seed(seed)
    network = FourLayers(activation, settings.initialization, settings.pixel_scale)
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
    """The top-1 error on the first `NUM_MEASURED` training images."""
    pixels, labels = images.pixels[:NUM_MEASURED], images.labels[:NUM_MEASURED]
    predicted = torch.cat([cifar.compute_logits(network, batch).argmax(1) for batch in torch.split(pixels, 1000)])
    return round(float((predicted != labels).float().mean()), 4)


def measure_epochs(settings: Settings, images: Images, results: Results) -> dict[str, Outcome]:
    """The outcome for each activation; finished runs aren't repeated."""
    outcomes = {}
    for activation in GAINS:
        rate = _search_rate(activation, settings, images, results)
        runs = [
            _train_once(activation, rate, seed, images, settings, results, settings.max_epochs)
            for seed in range(settings.seeds)
        ]
        outcomes[activation] = Outcome(rate, [run["epochs"] for run in runs])
    return outcomes


def _search_rate(activation: str, settings: Settings, images: Images, results: Results) -> float:
    """The learning rate that beats the next smaller and the next larger one with seed 0.

    A rate is better if it needs fewer epochs to the target, or, if neither reaches it, has a lower error. A run ends
    when it can no longer be the best.
    """
    rates = settings.learning_rates
    scores = dict[int, tuple[float, float]]()  # by place in `rates`
    best = rates.index(settings.first_rate)
    while True:
        around = best
        for place in (around, around + 1, around - 1):
            if 0 <= place < len(rates) and place not in scores:
                limit = min([settings.max_epochs, *(epochs for epochs, _ in scores.values())])
                run = _train_once(activation, rates[place], 0, images, settings, results, limit)
                epochs = float("inf") if run["epochs"] is None else run["epochs"]
                scores[place] = epochs, min(error for _, error in run["curve"])
        best = min(scores, key=lambda place: scores[place])
        if best == around:
            return rates[best]


def _train_once(
    activation: str, rate: float, seed: int, images: Images, settings: Settings, results: Results, max_epochs: float
) -> dict[str, Any]:
    name = _run_name(activation, rate, seed)
    if name not in results.runs:
        results.add(name, train_to_error(activation, rate, seed, images, settings, max_epochs))
    return results.runs[name]


def _run_name(activation: str, rate: float, seed: int) -> str:
    return f"{activation}, learning rate {rate:g}, seed {seed}"


def draw(outcomes: dict[str, Outcome], results: Results, target: float) -> Figure:
    """Plot the error by epoch for all seeds at each activation's best learning rate."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for activation, (rate, by_seed) in outcomes.items():
        for seed in range(len(by_seed)):
            epochs, errors = zip(*results.runs[_run_name(activation, rate, seed)]["curve"], strict=True)
            label = None if seed else f"{activation}, learning rate {rate:g}"
            axes.plot(epochs, errors, color=COLORS[activation], alpha=0.8, label=label)
    axes.axhline(target, color="gray", linestyle=":", linewidth=1)
    axes.set(xlabel="epochs", ylabel="training error", ylim=(0, 0.92))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(
    archive: command.ArchiveOption = None,
    initialization: Annotated[
        Initialization, typer.Option(help="Initial weights: the authors', or those of He and Glorot.")
    ] = Settings.initialization,
    pixel_scale: Annotated[
        float, typer.Option(min=1e-3, max=1, help="Factor for pixels from 0 to 255 minus their mean.")
    ] = Settings.pixel_scale,
    images: Annotated[int, typer.Option(min=256, help="Training images.")] = Settings.images,
    first_rate: Annotated[
        float, typer.Option(help="Learning rate, among those tried, at which the search starts.")
    ] = Settings.first_rate,
    seeds: Annotated[int, typer.Option(min=1, help="Runs at the best learning rate.")] = Settings.seeds,
    max_epochs: Annotated[
        float, typer.Option(min=1, help="Epochs after which to give up on a run.")
    ] = Settings.max_epochs,
    quick: Annotated[bool, typer.Option("--quick", help="Few images and an easier target: seconds.")] = False,
    output: command.OutputOption = command.RESULTS,
    cache: command.CacheOption = command.CACHE,
) -> None:
    """Measure epochs to 25 % training error for each activation; if stopped, the same command resumes it."""
    if first_rate not in LEARNING_RATES:
        raise TrainingError(
            f"invalid --first-rate {first_rate:g}: choose from {', '.join(f'{r:g}' for r in LEARNING_RATES)}"
        )
    settings = Settings(initialization, pixel_scale, images, seeds=seeds, first_rate=first_rate, max_epochs=max_epochs)
    name = f"activation-{initialization}-{pixel_scale:g}-{images}"
    if quick:
        output /= command.QUICK
        name = "activation"
        settings = Settings(
            "variance-preserving",
            1 / 64,
            images=256,
            target=0.75,
            seeds=1,
            learning_rates=(0.003, 0.01),
            first_rate=0.01,
            max_epochs=3,
            interval=1,
        )
    results = Results(output / f"{name}.json", asdict(settings))
    train, _ = cifar.load_cifar(archive, cache, settings.images)
    outcomes = measure_epochs(settings, train, results)
    draw(outcomes, results, settings.target).savefig(output / f"{name}.png", dpi=110)
    typer.echo(format_summary(outcomes, settings))


def format_summary(outcomes: dict[str, Outcome], settings: Settings) -> str:
    """The result as a few lines of text."""
    lines = [f"epochs to {100 * settings.target:g} % training error on {settings.images:,} images"]
    means = dict[str, float]()
    for activation, (rate, epochs) in outcomes.items():
        reached = [epoch for epoch in epochs if epoch is not None]
        if len(reached) < len(epochs):
            missed = f"not within {settings.max_epochs:g} epochs in {len(epochs) - len(reached)} of {len(epochs)}"
            lines.append(f"  {activation}: {missed}, learning rate {rate:g}")
            continue
        means[activation] = sum(reached) / len(reached)
        listed = ", ".join(f"{epoch:.2f}" for epoch in reached)
        lines.append(f"  {activation}: {means[activation]:.2f} ({listed}), learning rate {rate:g}")
    for activation, mean in means.items():
        if activation != "relu" and "relu" in means:
            paper = f"; the paper: {PAPER_RATIO:g}" if activation == "tanh" else ""
            lines.append(f"  {activation} needs {mean / means['relu']:.1f} times as many as relu{paper}")
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main)
