"""The network is the paper's: its layer table, its parameters, its towers (section 3)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from model.exceptions import NetworkConfigError
from model.lrn.formula import CONSTANTS
from model.lrn.functional import local_response_norm, spatial_norm
from model.network.initialization import initialize
from model.network.registry import CHANNELS, NETWORKS, build_spec
from model.network.spec import NetworkConfig
from model.network.torch_module import AlexNet
from model.network.tower_parallel import LocalExchange

LAYERS = {
    "conv1": ((96, 3, 11, 11), (96, 55, 55)),
    "conv2": ((256, 48, 5, 5), (256, 27, 27)),
    "conv3": ((384, 256, 3, 3), (384, 13, 13)),
    "conv4": ((384, 192, 3, 3), (384, 13, 13)),
    "conv5": ((256, 192, 3, 3), (256, 13, 13)),
    "fc6": ((4096, 9216), (4096,)),
    "fc7": ((4096, 4096), (4096,)),
    "fc8": ((1000, 4096), (1000,)),
}


BIASED_LAYERS = ("conv2", "conv4", "conv5", "fc6", "fc7")
"""Layers whose biases start at 1 (section 5)."""
WIDER_LAYERS = ("conv3", "conv4", "conv5")
"""Layers whose weights have a standard deviation of 0.03 in the authors' program."""


def build(**options: object) -> AlexNet:
    return AlexNet(build_spec(NetworkConfig(**options)))  # type: ignore[arg-type]


def layer(network: AlexNet, name: str) -> Any:
    return network.get_submodule(name)


@pytest.fixture(scope="module")
def network() -> AlexNet:
    network = build()
    initialize(network, "paper", 0)
    return network.eval()


def test_parameters(network: AlexNet) -> None:
    assert sum(p.numel() for p in network.parameters()) == 60_965_224


def test_layer_table(network: AlexNet) -> None:
    outputs = {}
    hooks = [
        module.register_forward_hook(lambda _, __, y, name=name: outputs.update({name: tuple(y.shape[1:])}))
        for name, module in network.named_children()
    ]
    with torch.no_grad():
        logits, features = network(torch.zeros(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    for name, (kernel, output) in LAYERS.items():
        assert tuple(network.get_parameter(f"{name}.weight").shape) == kernel, name
        if name != "fc8":  # fc8 isn't called as a module: the towers' shares are added
            assert outputs[name] == output, name
    assert logits.shape == (1, 1000)
    assert features.shape == (1, 4096)


def test_strides_and_padding_by_the_ceil_rule(network: AlexNet) -> None:
    assert layer(network, "conv1").stride == (4, 4)
    assert layer(network, "conv1").padding == (0, 0)  # `forward` pads 3 pixels right and bottom
    x = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        before = layer(network, "conv1")(torch.nn.functional.pad(x, (0, 3, 0, 3)))
        x[..., 223, 223] = 100.0
        after = layer(network, "conv1")(torch.nn.functional.pad(x, (0, 3, 0, 3)))
    changed = (before != after).any(1)[0].nonzero()
    assert (changed == 54).all()  # the 55th window starts at pixel 216; the one before ends at 222


def reach(network: AlexNet, layer: str, source: str) -> torch.Tensor:
    """Which output channels of `layer` depend on the first half of the channels of `source`'s output."""
    seen: dict[str, torch.Tensor] = {}

    def watch(name: str) -> None:
        def hook(_: nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
            if name == source:
                half = output.clone()
                half[:, : output.shape[1] // 2] *= len(answers) + 1.0
                return half
            seen[name] = output
            return output

        hooks.append(getattr(network, name).register_forward_hook(hook))

    answers: list[torch.Tensor] = []
    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name in {layer, source}:
        watch(name)
    generator = torch.Generator().manual_seed(1)
    image = 100 * torch.randn(1, 3, 224, 224, generator=generator)
    with torch.no_grad():
        for _ in range(2):  # as it is, then with the first tower doubled
            network(image)
            answers.append(seen[layer])
    for handle in hooks:
        handle.remove()
    return (answers[0] != answers[1]).flatten(2).any(2)[0] if answers[0].ndim == 4 else (answers[0] != answers[1])[0]


@pytest.mark.parametrize(
    ("layer", "source", "joined"),
    [("conv2", "conv1", False), ("conv3", "conv2", True), ("conv4", "conv3", False), ("conv5", "conv4", False),
     ("fc6", "conv5", True)],
)  # fmt: skip
def test_towers_meet_only_where_the_paper_says(network: AlexNet, layer: str, source: str, joined: bool) -> None:
    changed = reach(network, layer, source)
    half = len(changed) // 2
    assert changed[:half].any()
    assert bool(changed[half:].any()) == joined


def test_initialization_of_the_paper(network: AlexNet) -> None:
    for name in LAYERS:
        weight, bias = network.get_parameter(f"{name}.weight"), network.get_parameter(f"{name}.bias")
        assert abs(weight.std().item() - 0.01) < 2e-4, name
        assert (bias == (1.0 if name in BIASED_LAYERS else 0.0)).all(), name


def test_initialization_of_the_authors_program() -> None:
    network = build(hidden=64)
    initialize(network, "source", 0)
    for name, module in network.named_children():
        expected = 0.03 if name in WIDER_LAYERS else 0.01
        assert abs(module.get_parameter("weight").std().item() - expected) < 0.03 * expected, name


@pytest.mark.slow
def test_dropout_of_the_paper() -> None:
    """Training: outputs are masked, not rescaled. Test: outputs times the probability of being kept (section 4.2)."""
    network = build(num_classes=5, hidden=8)
    initialize(network, "he", 0)
    x = 50 * torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        one, none = torch.ones(2, 8), torch.zeros(2, 8)
        _, features = network(x, (one, one))
        torch.testing.assert_close(network(x, (one, one)).logits, layer(network, "fc8")(features))
        torch.testing.assert_close(network(x, (one, none)).logits, layer(network, "fc8").bias.expand(2, 5))
        torch.testing.assert_close(network(x, (none, one)).features, layer(network, "fc7").bias.relu().expand(2, 8))
        _, at_test = network(x)
        torch.testing.assert_close(network(x).logits, layer(network, "fc8")(0.5 * at_test))


def test_features_are_after_relu_and_before_dropout(network: AlexNet) -> None:
    x = 50 * torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        logits, features = network(x)
    assert (features >= 0).all()
    assert (features == 0).any()
    torch.testing.assert_close(logits, layer(network, "fc8")(features * 0.5))


def count(**options: object) -> int:
    with torch.device("meta"):  # allocates no memory
        network = build(**options)
    return sum(p.numel() for p in network.parameters())


def test_parameters_of_the_variants() -> None:
    """Footnote 2's one-tower network has about as many parameters; Fall 2009 and 2011 have their class counts."""
    assert count(name="alexnet-one-tower") == 59_798_312
    assert count(num_classes=10_184) == 60_965_224 + 9_184 * 4097
    assert count(num_classes=21_843) == 60_965_224 + 20_843 * 4097
    assert count(name="alexnet-six-conv") == 60_965_224 + 256 * 256 * 9 + 256
    assert count(conv3_cross_tower=False) == 60_965_224 - 384 * 128 * 9
    assert count(num_classes=10, hidden=64) == 2_928_778


@pytest.mark.parametrize("omitted", ["conv2", "conv3", "conv4", "conv5", "fc7"])
def test_an_omitted_layer(omitted: str) -> None:
    network = build(num_classes=5, hidden=8, omit_layer=omitted)
    assert not hasattr(network, omitted)
    assert network(torch.zeros(1, 3, 224, 224)).logits.shape == (1, 5)
    meeting = [layer.name for layer in network.spec.convolutions[1:] if layer.groups == 1]
    assert meeting == (["conv4"] if omitted == "conv3" else ["conv3"])


def test_pooling_without_overlap_keeps_the_sizes() -> None:
    assert layer(build(num_classes=5, hidden=8, pool_size=2), "fc6").in_features == 9216
    assert build(num_classes=5, hidden=8, pool_size=2)(torch.zeros(1, 3, 224, 224)).logits.shape == (1, 5)


def test_towers_apart(network: AlexNet) -> None:
    apart = build(num_classes=5, hidden=8, conv3_cross_tower=False)
    initialize(apart, "he", 0)
    changed = reach(apart, "conv3", "conv2")
    assert changed[:192].any()
    assert not changed[192:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"omit_layer": "conv1"}, "can't omit layer 'conv1'"),
        ({"hidden": 7}, "must be even"),
        ({"dropout": 1.0}, "below 1"),
        ({"channels": (1, 2, 3, 4, 5)}, "give 5 positive multiples of 2, the number of towers"),
        ({"name": "resnet"}, "unknown network 'resnet'"),
        ({"name": "caffenet", "normalization": "none"}, "normalization can't be changed in the network caffenet"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(NetworkConfigError, match=message):
        build(**options)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_built(name: str) -> None:
    network = build(name=name, num_classes=5, hidden=8)
    assert network(torch.zeros(1, 3, 224, 224)).logits.shape == (1, 5)
    assert network.spec.config.name == name


class TwoProcesses(LocalExchange):
    size = 2


@pytest.mark.parametrize(
    ("name", "message"),
    [("alexnet-one-tower", "can't be divided between 2 processes"), ("caffenet", "one process per network")],
)
def test_networks_that_two_processes_cannot_share(name: str, message: str) -> None:
    with pytest.raises(NetworkConfigError, match=message):
        AlexNet(build_spec(NetworkConfig(name)), TwoProcesses())


def test_the_authors_order_of_layers() -> None:
    """conv1, LRN, pool, ReLU; conv2, ReLU, LRN, the norm over pixels, pool; LRN's alpha divided by n."""
    network = build(num_classes=5, hidden=8, normalization="source")
    initialize(network, "source", 0)
    network.requires_grad_(False)
    x = 50 * torch.randn(1, 3, 224, 224)
    y = layer(network, "conv1")(nn.functional.pad(x, (0, 3, 0, 3)))
    y = nn.functional.max_pool2d(local_response_norm(y, 2, *CONSTANTS["source"]), 3, 2).relu()
    y = spatial_norm(local_response_norm(layer(network, "conv2")(y).relu(), 2, *CONSTANTS["source"]))
    y = nn.functional.max_pool2d(y, 3, 2)
    for name in ("conv3", "conv4"):
        y = layer(network, name)(y).relu()
    y = nn.functional.max_pool2d(layer(network, "conv5")(y), 3, 2).relu().flatten(1)
    torch.testing.assert_close(network(x).features, layer(network, "fc7")(0.5 * layer(network, "fc6")(y).relu()).relu())


def test_channels_are_the_table_s() -> None:
    assert {layer.name: layer.out_channels for layer in build_spec(NetworkConfig()).convolutions} == CHANNELS


@pytest.mark.parametrize("classes", [10_184, 21_843])
def test_many_classes_step(classes: int) -> None:
    network = build(name="alexnet-six-conv", num_classes=classes, hidden=16)
    initialize(network, "he", 0)
    loss = nn.functional.cross_entropy(network(torch.randn(2, 3, 224, 224)).logits, torch.tensor([0, classes - 1]))
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
