"""Binary autoencoder (section 6.1): codes whose Hamming neighbors are the features' Euclidean neighbors.

It starts as ITQ and is trained on the principal components of an index's own features, by batches. The objective
`neighbors`, the default, is mostly not an autoencoder's: it minimizes the sum of

- the cross-entropy between each image's neighbors in the batch by Euclidean distance and by (relaxed) Hamming
  distance, as in stochastic neighbor embedding;
- a tenth of the squared error of the features that the decoder reconstructs from the code;
- a tenth of the squared mean of each bit, so that it splits the images in half.

The objective `reconstruction` is the paper's proposal, an autoencoder alone: the squared error of the reconstructed
features. With labels, either objective adds the cross-entropy of a linear classifier on the code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from model.exceptions import TrainingError
from training.hashing.binary_encoder import Array, BinaryEncoder, Correction, itq_rotation, principal_components

WARMUP_STEPS = 30
UNLABELED = -100
"""The label of an image without one: `ignore_index` of PyTorch's cross-entropy."""
Objective = Literal["neighbors", "reconstruction"]
"""What the code is trained for: to keep neighbors, or, as the paper proposes, to reconstruct the features."""


@dataclass(frozen=True)
class CodeConfig:
    """How an autoencoder is trained.

    `objective`: see the module. `components`: number of the features' principal components that it sees.
    `num_neighbors`: the distance to the neighbor of this rank sets the scale on which an image's neighbors count.
    `temperature`: bits of Hamming distance that make a neighbor e times less likely, as a share of all bits.
    `reconstruction`, `balance`: weights in the objective `neighbors`. `supervised`: the weight of the labels' loss.
    `noise`: standard deviation of the noise before the threshold. `mixup`: the maximum share by which an image is moved
    toward another one of its batch.
    """

    objective: Objective = "neighbors"
    components: int = 512
    hidden: int = 256
    steps: int = 300
    batch_size: int = 1024
    learning_rate: float = 1e-3
    num_neighbors: int = 20
    temperature: float = 1 / 20
    reconstruction: float = 0.1
    balance: float = 0.1
    supervised: float = 0.0
    noise: float = 0.5
    mixup: float = 0.5
    seed: int = 0


class Autoencoder(nn.Module):
    """(N, dim) features -> (N, bits) numbers whose signs are the code -> (N, dim) features.

    The encoder is the sum of a linear projection, which can start as a known encoder's, and a correction by one hidden
    layer, which starts at zero. `scale`: the features' standard deviation, the unit of hidden layer and decoder.
    """

    def __init__(self, dim: int, bits: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.projection = nn.Linear(dim, bits)
        self.hidden, self.correction = nn.Linear(dim, hidden), nn.Linear(hidden, bits)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        self.decoder = nn.Sequential(nn.Linear(bits, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def encode(self, features: Tensor) -> Tensor:
        """(N, dim) -> (N, bits), values before the threshold at zero."""
        projected: Tensor = self.projection(features)
        correction: Tensor = self.correction(F.relu(self.hidden(features / self.scale)))
        return projected + correction

    def decode(self, code: Tensor) -> Tensor:
        """(N, bits) of -1..1 -> (N, dim) features in units of `scale`."""
        features: Tensor = self.decoder(code)
        return features


def relaxed_sign(values: Tensor, steepness: float, noise: float) -> Tensor:
    """Values before the threshold -> -1..1, by a tanh.

    Noise with the standard deviation `noise` drives values away from the threshold (Salakhutdinov and Hinton's deep
    codes).
    """
    return torch.tanh(steepness * (values + noise * torch.randn_like(values)))


def train_autoencoder(
    features: Array, bits: int, config: CodeConfig | None = None, labels: NDArray[np.int64] | None = None
) -> BinaryEncoder:
    """An encoder trained on (N, dim) features. `labels` (N,): for the supervised loss, UNLABELED where there is none.

    Raises TrainingError.
    """
    config = config or CodeConfig()
    if config.supervised and labels is None:
        raise TrainingError("supervised codes need labels: label the images of the index")
    count = max(bits, min(config.components, min(features.shape) - 1))
    mean, directions = principal_components(features, count, config.seed)
    rows = torch.from_numpy((features - mean) @ directions)  # (N, components)
    torch.manual_seed(config.seed)  # of initial weights, noise and mixup
    network, scale = _initialize_from_itq(rows.numpy(), bits, config)
    classifier = nn.Linear(bits, 1 + max(0, int(labels.max())) if labels is not None else 1)
    rest = [p for name, p in network.named_parameters() if "projection" not in name]
    optimizer = torch.optim.Adam(
        [
            {"params": network.projection.parameters(), "lr": config.learning_rate / scale},
            {"params": [*rest, *classifier.parameters()], "lr": config.learning_rate},
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _lr_factor(step, config.steps))
    generator = np.random.default_rng(config.seed)
    for step in (bar := tqdm(range(config.steps), desc=f"{bits} bits", unit="step", disable=None, leave=False)):
        batch = torch.from_numpy(np.sort(generator.choice(len(rows), min(config.batch_size, len(rows)), replace=False)))
        share = config.mixup * torch.rand(len(batch), 1)
        x = rows[batch].lerp(rows[batch[torch.randperm(len(batch))]], share)
        code = relaxed_sign(network.encode(x), 1 + 3 * step / config.steps, config.noise)
        loss = F.mse_loss(network.decode(code), x / network.scale)
        if config.objective == "neighbors":
            loss = neighbor_loss(x, code, config) + config.reconstruction * loss
            loss = loss + config.balance * code.mean(0).square().mean()
        if labels is not None and config.supervised:
            loss = loss + config.supervised * label_loss(classifier(code), torch.from_numpy(labels)[batch])
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss of the autoencoder is {loss.item()} at step {step}: try another --seed")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        bar.set_postfix_str(f"loss {loss.item():.3f}")
    return _to_encoder(network, mean, directions)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of (N, classes) logits where (N,) labels aren't UNLABELED; 0 if all are."""
    if bool((labels == UNLABELED).all()):
        return logits.new_zeros(())  # cross_entropy would be 0 / 0
    return F.cross_entropy(logits, labels, ignore_index=UNLABELED)


def neighbor_loss(features: Tensor, code: Tensor, config: CodeConfig) -> Tensor:
    """Cross-entropy between neighborhoods by (N, dim) features and by (N, bits) codes of -1..1."""
    bits, itself = code.shape[1], torch.eye(len(code), dtype=torch.bool)
    with torch.no_grad():
        squares = torch.cdist(features, features).square().fill_diagonal_(math.inf)
        nearest = squares.min(1, keepdim=True).values
        width = squares.kthvalue(min(config.num_neighbors, len(code) - 1), 1, keepdim=True).values - nearest
        targets = torch.softmax(-3 * (squares - nearest) / width.clamp_min(1e-9), 1)
    hamming = (bits - code @ code.T) / 2
    logits = torch.log_softmax(-hamming.masked_fill(itself, 1e9) / (bits * config.temperature), 1)
    return -(targets * logits.masked_fill(itself, 0)).sum(1).mean()


def _initialize_from_itq(rows: Array, bits: int, config: CodeConfig) -> tuple[Autoencoder, float]:
    """A network whose linear part is ITQ's projection of (N, components) rows, scaled to unit variance; and the
    projection's standard deviation before."""
    rotation = itq_rotation(rows[:, :bits], config.seed)
    deviation = float((rows[:, :bits] @ rotation).std()) or 1.0
    network = Autoencoder(rows.shape[1], bits, config.hidden, float(np.sqrt(np.square(rows).mean())) or 1.0)
    with torch.no_grad():
        network.projection.weight.zero_()[:, :bits] = torch.from_numpy(rotation.T / deviation)
        network.projection.bias.zero_()
    return network, deviation


def _lr_factor(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _to_encoder(network: Autoencoder, mean: Array, directions: Array) -> BinaryEncoder:
    """The encoder for whole features: centering and principal components are folded into its matrices."""

    def fold(layer: nn.Linear, scale: float) -> tuple[Array, Array]:
        weight = directions @ layer.weight.detach().numpy().T / np.float32(scale)
        return np.ascontiguousarray(weight), layer.bias.detach().numpy() - mean @ weight

    (projection, bias), (hidden, hidden_bias) = fold(network.projection, 1.0), fold(network.hidden, network.scale)
    output = np.ascontiguousarray(network.correction.weight.detach().numpy().T)
    return BinaryEncoder(
        "autoencoder",
        projection,
        bias + network.correction.bias.detach().numpy(),
        Correction(hidden, hidden_bias, output),
    )
