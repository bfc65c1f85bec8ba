"""Dropout masks of fc6 and fc7 (section 4.2), the same for any number of processes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.network.spec import NetworkSpec
from model.network.tower_parallel import Exchange
from training.data.augment import DROPOUT_STREAM, hash_uniform


def dropout_masks(
    spec: NetworkSpec, exchange: Exchange, seed: int, step: int, count: int, like: Tensor
) -> tuple[Tensor, ...]:
    """A mask of 0 and 1 per dropout layer, for this process's share of its outputs and all `count` images of a step.

    Each is (count, features / processes per network), with the device and dtype of `like`. Every process draws the
    masks of all towers and replicas and takes its part: that costs next to nothing, and makes a run the same on one
    process and on many.
    """
    numbers = hash_uniform((seed, step, DROPOUT_STREAM), np.arange(len(spec.dropouts)), 1)[:, 0]
    masks = []
    for number, layer in zip(numbers, spec.dropouts, strict=True):
        generator = torch.Generator(like.device).manual_seed(int(number * 2**53))
        mask = torch.empty(count, layer.features, device=like.device)
        mask.bernoulli_(1 - layer.p, generator=generator)
        masks.append(mask.chunk(exchange.size, 1)[exchange.rank].to(like.dtype))
    return tuple(masks)
