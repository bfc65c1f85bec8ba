"""CIFAR-10 in memory at 32 x 32 pixels, and a training loop for the small networks of section 3.

It doesn't use the 256 x 256 image contract: the networks of the paper's Figure 1 and section 3.3 saw small images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from model.files import atomic_write
from training.data.datasets import Example
from training.data.loading import load_dataset
from training.loop.runtime import pick_precision

IMAGE_SIZE, NUM_CLASSES, BATCH_SIZE = 32, 10, 128


class Images(NamedTuple):
    """`pixels` (N, 3, 32, 32) float32, 0..255 minus the training images' mean; `labels` (N,)."""

    pixels: Tensor
    labels: Tensor


def load_cifar(archive: Path | None, cache: Path, max_images: int) -> tuple[Images, Images]:
    """Training images (including the validation split, which these experiments don't need) and test images, in an order
    drawn with seed 0. `max_images`: maximum number of training images.
    """
    dataset = load_dataset("cifar10", archive=archive)
    (train, train_labels), (test, test_labels) = (
        _decode(examples, cache / f"cifar10-{split}-32.npz", split)
        for split, examples in (("train", dataset.train + dataset.validation), ("test", dataset.test))
    )
    generator = np.random.default_rng(0)
    sample, order = generator.permutation(len(train_labels))[:max_images], generator.permutation(len(test_labels))
    pixels = train[sample].astype(np.float32)
    mean = pixels.mean(0)
    test_pixels = test[order].astype(np.float32)
    return _to_images(pixels - mean, train_labels[sample]), _to_images(test_pixels - mean, test_labels[order])


def _decode(examples: tuple[Example, ...], file: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if not file.is_file():
        ordered = sorted(examples)
        bar = tqdm(ordered, desc=f"decoding {split}", disable=None)
        pixels = np.stack([np.asarray(Image.open(example.file).convert("RGB")) for example in bar])
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file, "wb") as output:
            np.savez(output, pixels=pixels, labels=np.array([example.label for example in ordered]))
    with np.load(file) as arrays:
        return arrays["pixels"], arrays["labels"]


def _to_images(pixels: NDArray[np.float32], labels: NDArray[np.int64]) -> Images:
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return Images(planes.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels.astype(np.int64)))


def iter_batches(
    images: Images, generator: torch.Generator, crop_size: int = IMAGE_SIZE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch's batches in a new order. `crop_size` below 32: a random crop of each image, half mirrored."""
    order = torch.randperm(len(images.labels), generator=generator)
    for batch in torch.split(order, BATCH_SIZE):
        pixels = images.pixels[batch]
        if crop_size < IMAGE_SIZE:
            pixels = cut_random_crops(pixels, crop_size, generator)
        yield pixels, images.labels[batch]


def cut_random_crops(pixels: Tensor, crop_size: int, generator: torch.Generator) -> Tensor:
    """(N, 3, 32, 32) -> (N, 3, crop_size, crop_size), channels-last; half of the crops are mirrored."""
    count, margin = len(pixels), IMAGE_SIZE - crop_size
    top, left = torch.randint(0, margin + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    span = torch.arange(crop_size)
    rows = top + span
    columns = torch.where(mirrored, left + crop_size - 1 - span, left + span)  # (N, crop_size)
    crops = pixels.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return crops.permute(0, 3, 1, 2)


def train_step(network: nn.Module, optimizer: torch.optim.Optimizer, pixels: Tensor, labels: Tensor) -> float:
    """Run one step of gradient descent. Returns the loss before it."""
    loss = F.cross_entropy(compute_logits(network, pixels), labels)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def compute_logits(network: nn.Module, pixels: Tensor) -> Tensor:
    """Float32 logits, computed in bfloat16 if the processor has it."""
    with torch.autocast("cpu", torch.bfloat16, enabled=pick_precision("auto", torch.device("cpu")) == "bfloat16"):
        logits: Tensor = network(pixels)
    return logits.float()
