"""The network is the paper's: its layer table, its parameters, its towers (section 3)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.alexnet import BIASED_LAYERS, AlexNet, Architecture, PaperDropout, initialise

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


@pytest.fixture(scope="module")
def network() -> AlexNet:
    network = AlexNet(Architecture())
    initialise(network, "paper", torch.Generator().manual_seed(0))
    return network.eval()


def test_parameters(network: AlexNet) -> None:
    assert sum(p.numel() for p in network.parameters()) == 60_965_224


def test_layer_table(network: AlexNet) -> None:
    outputs = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, y, name=name: outputs.update({name: tuple(y.shape[1:])}))
        for name, layer in network.named_children()
    ]
    with torch.no_grad():
        logits, features = network(torch.zeros(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    for name, (kernel, output) in LAYERS.items():
        assert tuple(network.get_parameter(f"{name}.weight").shape) == kernel, name
        assert outputs[name] == output, name
    assert logits.shape == (1, 1000)
    assert features.shape == (1, 4096)


def test_strides_and_padding_by_the_ceil_rule(network: AlexNet) -> None:
    assert network.conv1.stride == (4, 4)
    assert network.conv1.padding == (0, 0)  # 3 pixels right and bottom, in `forward`
    x = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        before = network.conv1(torch.nn.functional.pad(x, (0, 3, 0, 3)))
        x[..., 223, 223] = 100.0
        after = network.conv1(torch.nn.functional.pad(x, (0, 3, 0, 3)))
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
    picture = 100 * torch.randn(1, 3, 224, 224, generator=generator)
    with torch.no_grad():
        for _ in range(2):  # as it is, then with the first tower doubled
            network(picture)
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


def test_initialisation_of_the_paper(network: AlexNet) -> None:
    for name in LAYERS:
        weight, bias = network.get_parameter(f"{name}.weight"), network.get_parameter(f"{name}.bias")
        assert abs(weight.std().item() - 0.01) < 2e-4, name
        assert (bias == (1.0 if name in BIASED_LAYERS else 0.0)).all(), name


def test_dropout_of_the_paper() -> None:
    dropout = PaperDropout(0.5)
    x = torch.ones(10_000)
    kept = dropout(x)
    assert set(kept.unique().tolist()) == {0.0, 1.0}  # not rescaled in training
    assert 0.45 < kept.mean() < 0.55
    assert (dropout.eval()(x) == 0.5).all()  # but at test


def test_features_are_after_relu_and_before_dropout(network: AlexNet) -> None:
    x = 50 * torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        logits, features = network(x)
    assert (features >= 0).all()
    assert (features == 0).any()
    torch.testing.assert_close(logits, network.fc8(features * 0.5))


def test_variants_keep_the_shape() -> None:
    small = AlexNet(Architecture(classes=10, hidden=64))
    assert sum(p.numel() for p in small.parameters()) == 2_928_778
