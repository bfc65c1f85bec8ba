"""How the networks of the solar cell experiment start."""

from __future__ import annotations

from experiments.solar_cells import list_starts
from model.artifacts.artifact import Artifact
from model.artifacts.weights import read_spec
from training.optim.layer_rates import layer_multipliers


def test_copied_layers_learn_at_the_full_rate(artifact: Artifact) -> None:
    """If the start network has the same classes, so does the output layer."""
    spec = read_spec(artifact.manifest)
    names = {layer.name for layer in spec.weighted_layers}
    scratch, start = list_starts([artifact.path]).values()
    assert (scratch.options.init_from, scratch.network) == ("none", None)
    assert (start.options.init_from, start.network) == (artifact.path, artifact.network_sha256)
    assert set(layer_multipliers(spec, start.options.lr_multipliers, (), names).values()) == {1.0}
