"""Learning rates by the names of layers and groups of layers."""

from __future__ import annotations

import pytest

from model.exceptions import TrainingError
from model.network.registry import build_spec
from model.network.spec import NetworkConfig
from training.optim.layer_rates import check_layer_names, layer_multipliers

SPEC = build_spec(NetworkConfig(hidden=16))
CONVOLUTIONS = ["conv1", "conv2", "conv3", "conv4", "conv5"]
COPIED = {*CONVOLUTIONS, "fc6", "fc7"}


def test_copied_layers_learn_at_a_tenth() -> None:
    assert layer_multipliers(SPEC, {}, (), COPIED) == dict.fromkeys(sorted(COPIED), 0.1)
    assert layer_multipliers(SPEC, {}, (), ()) == {}


def test_a_layer_goes_before_its_groups() -> None:
    options = {"copied": 0.3, "conv": 0.2, "conv1": 0.01, "new": 2.0}
    assert layer_multipliers(SPEC, options, ("conv2",), COPIED) == {
        **dict.fromkeys(CONVOLUTIONS, 0.2), "conv1": 0.01, "conv2": 0.0, "fc6": 0.3, "fc7": 0.3, "fc8": 2.0,
    }  # fmt: skip


def test_a_frozen_layer_has_no_learning_rate() -> None:
    with pytest.raises(TrainingError, match=r"conv1 is frozen and has a learning rate: remove it from"):
        layer_multipliers(SPEC, {"conv1": 0.5}, {"conv1"}, set())
    assert layer_multipliers(SPEC, {"conv": 0.5}, {"conv1"}, set())["conv1"] == 0


def test_unknown_names_and_useless_multipliers_are_refused() -> None:
    check_layer_names({"copied": 1.0, "fc6": 1.0}, ("conv1",))
    with pytest.raises(TrainingError, match="unknown layer 'convolutions'"):
        check_layer_names({"convolutions": 1.0}, ())
    with pytest.raises(TrainingError, match="unknown layer 'copied'"):
        check_layer_names({}, ("copied",))
    for options in ({"conv": -1.0}, {"conv": 0.0, "fc": 0.0}, {"fc8": float("inf")}):
        with pytest.raises(TrainingError, match="multipliers must be >= 0"):
            layer_multipliers(SPEC, options, (), ())


@pytest.mark.parametrize(
    ("options", "frozen", "copied", "name"),
    [
        ({"copied": 0.3}, (), (), "copied"),
        ({"new": 2.0}, (), {*COPIED, "fc8"}, "new"),
        ({"conv6": 0.1}, (), COPIED, "conv6"),
        ({"fc8": 1.0}, ("conv6",), COPIED, "conv6"),
    ],
)
def test_names_that_no_layer_has_are_refused(
    options: dict[str, float], frozen: tuple[str, ...], copied: set[str], name: str
) -> None:
    with pytest.raises(TrainingError, match=f"this network has no {name} layer: leave it out"):
        layer_multipliers(SPEC, options, frozen, copied)
