"""Binary codes: what ONNX computes, the autoencoder compared with ITQ, labels and seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.baselines.hashing import itq, lsh, pca
from model.encoder import Encoder
from model.exceptions import TrainingError
from training.hashing.autoencoder import (
    UNLABELED,
    Autoencoder,
    CodeConfig,
    _to_encoder,
    neighbor_loss,
    train_autoencoder,
)
from training.hashing.binary_encoder import Array, BinaryEncoder, principal_components

DIM = 64
LINEAR_ENCODERS = {"lsh": lsh, "pca": pca, "itq": itq}


def clusters(count: int, seed: int) -> Array:
    """`count` rectified features around 20 centers."""
    draw = np.random.default_rng(seed)
    centers = np.random.default_rng(9).normal(0, 2, (20, DIM))
    return np.maximum(centers[draw.integers(20, size=count)] + draw.normal(0, 1, (count, DIM)), 0).astype(np.float32)


def recall(encoder: BinaryEncoder, features: Array, queries: Array) -> float:
    """Recall of the ten nearest neighbors among the forty nearest by Hamming distance."""
    bits, query_bits = (np.unpackbits(encoder.encode(x), axis=1).astype(np.int64) for x in (features, queries))
    hamming = (bits[None] != query_bits[:, None]).sum(2)
    distances = np.linalg.norm(features[None] - queries[:, None], axis=2)
    nearest, shortlist = np.argsort(distances, 1)[:, :10], np.argsort(hamming, 1, kind="stable")[:, :40]
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(nearest, shortlist, strict=True)]))


@pytest.mark.parametrize("bits", [8, 28, 32])
@pytest.mark.parametrize("name", ["lsh", "pca", "itq", "autoencoder"])
def test_onnx_computes_the_encoder_s_bits(name: str, bits: int, tmp_path: Path) -> None:
    features = clusters(300, 0)
    encoder = (
        train_autoencoder(features, bits, CodeConfig(hidden=16, steps=20, batch_size=100))
        if name == "autoencoder"
        else LINEAR_ENCODERS[name](features, bits)
    )
    onnx.save(encoder.to_onnx(), tmp_path / "encoder.onnx")
    loaded = Encoder(tmp_path / "encoder.onnx")
    assert (loaded.coder, loaded.bits, loaded.bytes, loaded.dim) == (name, bits, -(-bits // 8), DIM)
    different = np.unpackbits(loaded.encode(features) ^ encoder.encode(features)).mean()
    assert different < 1e-3  # a value within rounding of its threshold may fall on either side
    used = np.unpackbits(encoder.encode(features), axis=1)[:, :bits].mean(0)
    assert ((used > 0.02) & (used < 0.98)).mean() > 0.9


@pytest.mark.slow
def test_the_autoencoder_keeps_neighbors_better_than_itq() -> None:
    draw = np.random.default_rng(0)
    latent, spread = draw.normal(0, 1, (1200, 20)), draw.normal(0, 1, (20, DIM))
    features, queries = np.split(np.maximum(latent @ spread, 0).astype(np.float32), [1000])
    trained = train_autoencoder(features, 32, CodeConfig(hidden=64, batch_size=500))
    assert recall(trained, features, queries) > recall(itq(features, 32), features, queries) + 0.02


def test_the_objective_of_the_paper_is_reconstruction_alone() -> None:
    features = clusters(200, 0)

    def train(**changes: Any) -> Array:
        return train_autoencoder(features, 8, CodeConfig(hidden=8, steps=5, batch_size=50, **changes)).projection

    other = {"num_neighbors": 3, "temperature": 1.0, "balance": 9.0}
    alone = train(objective="reconstruction")
    np.testing.assert_array_equal(train(objective="reconstruction", **other), alone)
    assert np.abs(train(**other) - train()).max() > 1e-4
    assert np.abs(train() - alone).max() > 1e-4


@pytest.mark.parametrize(
    "setting",
    [
        {"num_neighbors": 1},
        {"temperature": 0.01},
        {"reconstruction": 9.0},
        {"balance": 9.0},
        {"noise": 0},
        {"mixup": 0},
    ],
    ids=str,
)
def test_every_setting_changes_the_code(setting: dict[str, Any]) -> None:
    features, config = clusters(200, 0), CodeConfig(hidden=8, steps=5, batch_size=50)
    first, second = (train_autoencoder(features, 8, each).projection for each in (config, replace(config, **setting)))
    assert np.abs(first - second).max() > 1e-5


def test_training_starts_from_itq() -> None:
    features = clusters(200, 0)
    start = train_autoencoder(features, 8, CodeConfig(components=8, hidden=8, steps=1, learning_rate=0.0))
    assert np.unpackbits(start.encode(features) ^ itq(features, 8).encode(features)).mean() < 1e-3


def test_a_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"the loss of the autoencoder is .* at step .*: try another --seed"):
        train_autoencoder(clusters(200, 0), 8, CodeConfig(hidden=8, steps=5, batch_size=50, learning_rate=1e30))


def test_images_with_the_same_label_get_similar_codes() -> None:
    """However little of the features says which label an image has."""
    draw = np.random.default_rng(0)
    labels = draw.permutation(np.arange(300) % 2)
    features = draw.normal(0, 1, (300, 16)).astype(np.float32)
    features[:, 0] = labels
    features[:, 1] *= 0.1  # the component of least variance isn't seen
    config = CodeConfig(hidden=8, steps=60, batch_size=100, learning_rate=0.03, supervised=20.0)
    bits = np.unpackbits(train_autoencoder(features, 8, config, labels).encode(features), axis=1).astype(np.int64)
    means = np.stack([bits[labels == label].mean(0) for label in (0, 1)])
    nearest = np.abs(bits[:, None] - means).sum(2).argmin(1)
    assert (nearest == labels).mean() > 0.9


def test_codes_with_labels_and_the_same_seed() -> None:
    features, labels = clusters(200, 0), np.arange(200) % 3
    config = CodeConfig(hidden=8, steps=5, batch_size=50, supervised=0.5)
    first, second = (train_autoencoder(features, 8, config, labels) for _ in range(2))
    np.testing.assert_array_equal(first.projection, second.projection)
    with pytest.raises(TrainingError, match="supervised codes need labels"):
        train_autoencoder(features, 8, config)
    with pytest.raises(TrainingError, match="codes of 32 bits need more than 32 images and feature dimensions"):
        itq(features[:20], 32)
    with pytest.raises(TrainingError, match="got 32 images and 64 dimensions"):
        itq(features[:32], 32)


def test_images_without_a_label_are_no_class() -> None:
    features = clusters(200, 0)
    labels = np.where(np.arange(200) < 3, np.arange(200) % 3, UNLABELED)  # most batches of 10 have no label

    def train(labels: NDArray[np.int64] | None, supervised: float) -> Array:
        config = CodeConfig(hidden=8, steps=5, batch_size=10, supervised=supervised, seed=1)
        return train_autoencoder(features, 8, config, labels).projection

    unlabeled = np.full(200, UNLABELED)
    assert np.isfinite(train(labels, 0.5)).all()
    np.testing.assert_array_equal(train(unlabeled, 0.5), train(unlabeled, 0.0))


def test_the_loss_of_neighbors_is_the_documented_cross_entropy() -> None:
    draw = np.random.default_rng(0)
    x, code = draw.normal(0, 1, (40, 6)).astype(np.float32), np.tanh(draw.normal(0, 2, (40, 8))).astype(np.float32)
    expected = []
    for i in range(40):
        others = np.arange(40) != i
        squares = np.square(x[others].astype(np.float64) - x[i]).sum(1)
        targets = np.exp(-3 * (squares - squares.min()) / (np.sort(squares)[4] - squares.min()))
        logits = -(8 - code[others].astype(np.float64) @ code[i]) / 2 / (8 * 0.2)
        expected.append(-(targets / targets.sum() * (logits - np.log(np.exp(logits).sum()))).sum())
    loss = neighbor_loss(torch.from_numpy(x), torch.from_numpy(code), CodeConfig(num_neighbors=5, temperature=0.2))
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_encoder_computes_what_the_network_does() -> None:
    """Centering, projection and correction are folded into its weights."""
    features = np.random.default_rng(0).gamma(2, 3, (200, 30)).astype(np.float32)  # far from the origin
    mean, directions = principal_components(features, 20, 0)
    torch.manual_seed(0)
    network = Autoencoder(20, 8, 5, 2.0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    values = network.encode(torch.from_numpy((features - mean) @ directions)).detach().numpy()
    code = _to_encoder(network, mean, directions).encode(features)
    assert (np.unpackbits(code, axis=1) != (values > 0)).mean() < 1e-3
