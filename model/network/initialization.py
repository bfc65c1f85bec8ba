"""Weights and biases at the start of training (section 5), reproducible, the same for any number of processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.network.spec import Architecture, Scheme
from model.network.torch_module import AlexNet

BIASED_LAYERS = ("conv2", "conv4", "conv5", "conv6", "fc6", "fc7")
"""Layers whose biases start at 1 in the paper (section 5); the sixth convolution as in the authors' program."""
WIDER_LAYERS = ("conv3", "conv4", "conv5", "conv6")
"""Layers whose weights start at N(0, 0.03) in the authors' program."""


def initialize(network: AlexNet, scheme: Scheme, seed: int) -> None:
    """Set all weights and biases of a whole network in place.

    `paper` (section 5): N(0, 0.01) weights, biases 1 in `BIASED_LAYERS`, 0 elsewhere. `source`: the same, but
    N(0, 0.03) in `WIDER_LAYERS`. `he`: N(0, 2 / fan-in) weights, corrected for dropout in fc7, 0.01 in fc8, zero
    biases; for small data sets, where `paper` stays at its flat start.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, layer in network.named_children():
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        assert layer.bias is not None
        deviation = 0.03 if scheme == "source" and name in WIDER_LAYERS else 0.01
        if scheme == "he" and name != "fc8":
            kept = 1 - network.architecture.dropout if name == "fc7" else 1.0
            deviation = (2 / (layer.weight[0].numel() * kept)) ** 0.5
        nn.init.normal_(layer.weight, 0.0, deviation, generator=generator)
        nn.init.constant_(layer.bias, 1.0 if scheme != "he" and name in BIASED_LAYERS else 0.0)


def initial_state(architecture: Architecture, scheme: Scheme, seed: int) -> dict[str, Tensor]:
    """The whole network's weights and biases at the start, by name, float32."""
    network = AlexNet(architecture)
    initialize(network, scheme, seed)
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}
