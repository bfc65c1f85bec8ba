"""CIFAR-10 in memory at its own 32 x 32 pixels, and a loop for the small networks of section 3 on it.

This doesn't go through the image contract of 256 x 256: the networks of the paper's Figure 1 and section 3.3 saw
small images.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from training.data import datasets
from training.data.datasets import Example
from training.loop.precision import pick_precision

SIDE, CLASSES, BATCH = 32, 10, 128


class Images(NamedTuple):
    """`pixels` (N, 3, 32, 32) float32 0..255 minus the training images' mean; `labels` (N,)."""

    pixels: Tensor
    labels: Tensor


def load(archive: Path | None, cache: Path, count: int | None = None) -> tuple[Images, Images]:
    """Training images (the validation part among them: these experiments have no use for one), and test images,
    both in an order drawn with seed 0. `count`: only so many training images.
    """
    dataset = datasets.load("cifar10", archive=archive)
    train, test = (
        _decoded(examples, cache / f"cifar10-{part}-32.npz", part)
        for part, examples in (("train", dataset.train + dataset.validation), ("test", dataset.test))
    )
    generator = np.random.default_rng(0)
    chosen, mixed = generator.permutation(len(train[1]))[:count], generator.permutation(len(test[1]))
    pixels = train[0][chosen].astype(np.float32)
    mean = pixels.mean(0)
    return _tensors(pixels - mean, train[1][chosen]), _tensors(test[0][mixed].astype(np.float32) - mean, test[1][mixed])


def _decoded(examples: tuple[Example, ...], file: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    if not file.is_file():
        ordered = sorted(examples)
        pixels = np.stack(
            [
                np.asarray(Image.open(e.file).convert("RGB"))
                for e in tqdm(ordered, desc=f"decoding {part}", disable=None)
            ]
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        part_file = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(part_file, pixels=pixels, labels=np.array([e.label for e in ordered]))
        part_file.rename(file)
    with np.load(file) as found:
        return found["pixels"], found["labels"]


def _tensors(pixels: np.ndarray, labels: np.ndarray) -> Images:
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return Images(planes.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels.astype(np.int64)))


def batches(images: Images, generator: torch.Generator, crop: int = SIDE) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass in a new order. `crop` below 32: random crops, half of them mirrored, each image its own."""
    order = torch.randperm(len(images.labels), generator=generator)
    for chosen in torch.split(order, BATCH):
        pixels = images.pixels[chosen]
        if crop < SIDE:
            pixels = _cropped(pixels, crop, generator)
        yield pixels, images.labels[chosen]


def _cropped(pixels: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    count, margin = len(pixels), SIDE - crop
    top, left = torch.randint(0, margin + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    span = torch.arange(crop)
    rows, columns = top + span, torch.where(mirrored, left + crop - 1 - span, left + span)  # (N, crop)
    found = pixels.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)  # (N, 3, crop, crop), channels-last


def step(network: nn.Module, optimizer: torch.optim.Optimizer, pixels: Tensor, labels: Tensor) -> float:
    """One step of gradient descent; the loss before it."""
    loss = F.cross_entropy(logits(network, pixels), labels)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def logits(network: nn.Module, pixels: Tensor) -> Tensor:
    """Float32, computed in bfloat16 where the processor has it."""
    with torch.autocast("cpu", torch.bfloat16, enabled=pick_precision("auto", torch.device("cpu")) == "bfloat16"):
        answer: Tensor = network(pixels)
    return answer.float()
