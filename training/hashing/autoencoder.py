"""The binary autoencoder's training: codes whose Hamming neighbors are the features' Euclidean neighbors.

It begins as ITQ and is trained on the principal components of an index's own features, by batches, to minimize the sum
of

- the cross-entropy between each image's neighbors in the batch by Euclidean distance and by (relaxed) Hamming
  distance, as in stochastic neighbor embedding;
- the squared error of the features that the decoder makes of the code;
- the squared mean of each bit, so that it divides the images in halves;
- with labels, the cross-entropy of a linear classifier of the code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from model.exceptions import TrainingError
from training.hashing.autoencoder_module import Autoencoder, binary
from training.hashing.coders import Array, Coder, Correction, components, rotation


@dataclass(frozen=True)
class CodeConfig:
    """`components`: principal components of the features that are looked at; `neighbors`: the distance to so many sets
    the scale on which an image's neighbors count; `temperature`: bits of Hamming distance that make a neighbor e
    times less likely, as a share of all bits; the weights of reconstruction, balance and classification; `noise` before
    the threshold; `mixed`: how far, at most, an image is moved towards another one of its batch."""

    components: int = 512
    hidden: int = 256
    steps: int = 300
    batch: int = 1024
    rate: float = 1e-3
    neighbors: int = 20
    temperature: float = 1 / 20
    reconstruction: float = 0.1
    balance: float = 0.1
    supervised: float = 0.0
    noise: float = 0.5
    mixed: float = 0.5
    seed: int = 0


def train(
    features: Array, bits: int, chosen: CodeConfig | None = None, labels: NDArray[np.int64] | None = None
) -> Coder:
    """A coder trained on (N, dim) features. `labels`: of each, for the supervised part. Raises TrainingError."""
    chosen = chosen or CodeConfig()
    if chosen.supervised and labels is None:
        raise TrainingError("expected labels for supervised codes, found none")
    mean, directions = components(features, max(bits, min(chosen.components, min(features.shape) - 1)), chosen.seed)
    rows = torch.from_numpy((features - mean) @ directions)  # (N, components)
    network, unit = _from_itq(rows.numpy(), bits, chosen)
    classifier = nn.Linear(bits, 1 + int(labels.max()) if labels is not None else 1)
    rest = [p for name, p in network.named_parameters() if "straight" not in name]
    optimizer = torch.optim.Adam(
        [
            {"params": network.straight.parameters(), "lr": chosen.rate / unit},
            {"params": [*rest, *classifier.parameters()], "lr": chosen.rate},
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, chosen.steps))
    draw = np.random.default_rng(chosen.seed)
    for step in (bar := tqdm(range(chosen.steps), desc=f"{bits} bits", unit="step", disable=None, leave=False)):
        some = torch.from_numpy(np.sort(draw.choice(len(rows), min(chosen.batch, len(rows)), replace=False)))
        share = chosen.mixed * torch.rand(len(some), 1)
        x = rows[some].lerp(rows[some[torch.randperm(len(some))]], share)
        code = binary(network.encode(x), 1 + 3 * step / chosen.steps, chosen.noise)
        loss = neighbor_loss(x, code, chosen)
        loss = loss + chosen.reconstruction * F.mse_loss(network.decode(code), x / network.unit)
        loss = loss + chosen.balance * code.mean(0).square().mean()
        if labels is not None and chosen.supervised:
            wanted = torch.from_numpy(labels)[some]
            loss = loss + chosen.supervised * F.cross_entropy(classifier(code), wanted)
        if not math.isfinite(loss.item()):
            raise TrainingError(f"expected a finite loss, found {loss.item()} at step {step} of the autoencoder")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        bar.set_postfix_str(f"loss {loss.item():.3f}")
    return _coder(network, mean, directions)


def neighbor_loss(features: Tensor, code: Tensor, chosen: CodeConfig) -> Tensor:
    """Cross-entropy between neighborhoods by (N, dim) features and by (N, bits) codes of -1..1."""
    bits, itself = code.shape[1], torch.eye(len(code), dtype=torch.bool)
    with torch.no_grad():
        squares = torch.cdist(features, features).square().fill_diagonal_(math.inf)
        nearest = squares.min(1, keepdim=True).values
        width = squares.kthvalue(min(chosen.neighbors, len(code) - 1), 1, keepdim=True).values - nearest
        wanted = torch.softmax(-3 * (squares - nearest) / width.clamp_min(1e-9), 1)
    differing = (bits - code @ code.T) / 2
    found = torch.log_softmax(-differing.masked_fill(itself, 1e9) / (bits * chosen.temperature), 1)
    return -(wanted * found.masked_fill(itself, 0)).sum(1).mean()


def _from_itq(rows: Array, bits: int, chosen: CodeConfig) -> tuple[Autoencoder, float]:
    """A network whose linear part is ITQ's projection of (N, components) rows to unit variance; and the deviation that
    the projection had."""
    turned = rotation(rows[:, :bits], chosen.seed)
    unit = float((rows[:, :bits] @ turned).std()) or 1.0
    network = Autoencoder(rows.shape[1], bits, chosen.hidden, float(np.sqrt(np.square(rows).mean())) or 1.0)
    with torch.no_grad():
        network.straight.weight.zero_()[:, :bits] = torch.from_numpy(turned.T / unit)
        network.straight.bias.zero_()
    return network, unit


def _rate(step: int, steps: int) -> float:
    """Up in 30 steps, down by a cosine."""
    return min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _coder(network: Autoencoder, mean: Array, directions: Array) -> Coder:
    """The encoder for whole features: centering and components are folded into its matrices."""

    def folded(layer: nn.Linear, unit: float) -> tuple[Array, Array]:
        weight = directions @ layer.weight.detach().numpy().T / np.float32(unit)
        return np.ascontiguousarray(weight), layer.bias.detach().numpy() - mean @ weight

    (straight, bias), (into, into_bias) = folded(network.straight, 1.0), folded(network.hidden, network.unit)
    out = np.ascontiguousarray(network.correction.weight.detach().numpy().T)
    return Coder(
        "autoencoder", straight, bias + network.correction.bias.detach().numpy(), Correction(into, into_bias, out)
    )
