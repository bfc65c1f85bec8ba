"""Initial weights and biases (section 5), reproducible and the same for any number of processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.network.spec import InitScheme, NetworkSpec
from model.network.torch_module import AlexNet


def initialize(network: AlexNet, scheme: InitScheme, seed: int) -> None:
    """Set all weights and biases of a whole network in place, as its layers' `init` says."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.spec.weighted_layers:
        init = layer.init[scheme]
        nn.init.normal_(network.get_parameter(f"{layer.name}.weight"), 0.0, init.std, generator=generator)
        nn.init.constant_(network.get_parameter(f"{layer.name}.bias"), init.bias)


def initial_state(spec: NetworkSpec, scheme: InitScheme, seed: int) -> dict[str, Tensor]:
    """The whole network's initial weights and biases by name, float32."""
    network = AlexNet(spec)
    initialize(network, scheme, seed)
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}
