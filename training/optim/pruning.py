"""Pruning during training: more and more of the smallest weights of fully connected layers are set to zero.

Zhu and Gupta 2018, "To prune, or not to prune": the share that is zero follows a cubic curve. Each tower prunes its own
part of a layer, so that one process with both towers gets the same result as two.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model.network.spec import Linear, NetworkSpec
from training.recipes import Pruning

STEPS = 100
"""Number of steps in which the pruned share grows between `Pruning.start` and `Pruning.end`."""


def scheduled_densities(pruning: Pruning, progress: float) -> dict[str, float]:
    """The share of its weights that each layer keeps when the share `progress` of the run is over."""
    done = (progress - pruning.start) / (pruning.end - pruning.start)
    done = int(min(max(done, 0.0), 1.0) * STEPS) / STEPS
    return {layer: density + (1 - density) * (1 - done) ** 3 for layer, density in pruning.density.items()}


def pruning_masks(
    weights: Mapping[str, Tensor], spec: NetworkSpec, densities: Mapping[str, float], num_towers: int
) -> dict[str, Tensor]:
    """Parameter name -> mask for the layers in `densities`: 1 for the largest weights, else 0.

    `weights`: of the whole network, or of a process's share of it. `num_towers`: number of towers in it, each of which
    keeps the same number of weights. Layers that the network doesn't have are left out.
    """
    masks = {}
    for layer in spec.linears:
        if layer.name not in densities:
            continue
        name = f"{layer.name}.weight"
        shares = weights[name].chunk(num_towers, _tower_dim(layer))
        masks[name] = torch.cat([_largest(share, densities[layer.name]) for share in shares], _tower_dim(layer))
    return masks


def _tower_dim(layer: Linear) -> int:
    """The dimension along which a layer's weights are divided between towers."""
    return 1 if layer.partitioning == "row" else 0


def _largest(weights: Tensor, density: float) -> Tensor:
    magnitudes = weights.detach().abs()
    kept = max(1, round(density * weights.numel()))
    if kept == weights.numel():
        return torch.ones_like(magnitudes)
    threshold = magnitudes.flatten().kthvalue(weights.numel() - kept + 1).values
    return ((magnitudes >= threshold) & (magnitudes > 0)).to(weights.dtype)  # pruned weights stay pruned
