"""Section 4.2: which outputs of fc6 and fc7 a step keeps, the same for any number of processes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.network.spec import Architecture, linears
from model.network.tower_parallel import Exchange
from training.data.augment import uniforms

OF_DROPOUT = 2


def kept_outputs(
    architecture: Architecture, exchange: Exchange, seed: int, step: int, count: int, like: Tensor
) -> tuple[Tensor, ...]:
    """0 or 1 for each output of this process's half of fc6 and of fc7, for all `count` images of a step.

    (count, hidden / parts) each, on the device and of the type of `like`. Every process draws the numbers of all towers
    and replicas and takes its own: the draw costs next to nothing, and a run is the same on one process and on many.
    """
    layers = [name for name in linears(architecture) if name != "fc8"]
    numbers = uniforms((seed, step, OF_DROPOUT), np.arange(len(layers)), 1)[:, 0]
    masks = []
    for number in numbers:
        generator = torch.Generator(like.device).manual_seed(int(number * 2**53))
        whole = torch.empty(count, architecture.hidden, device=like.device)
        whole.bernoulli_(1 - architecture.dropout, generator=generator)
        masks.append(whole.chunk(exchange.parts, 1)[exchange.part].to(like.dtype))
    return tuple(masks)
