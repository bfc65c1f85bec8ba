"""torchvision's AlexNet, read from its `.pth` file without torchvision."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from model.exceptions import ArtifactError
from model.network.spec import BORDERS, POOLED, Architecture, convolutions, linears
from model.pretrained.specs import Array, Source


def read(path: Path, architecture: Architecture) -> Source:
    """Raises ArtifactError where the file holds no weights, or not those of this network."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise ArtifactError(f"expected a whole file of torch weights at {path}, found another file") from error
    network, places = _network(architecture)
    expected = network.state_dict()
    if not isinstance(state, dict) or {n: tuple(v.shape) for n, v in state.items()} != {
        name: tuple(value.shape) for name, value in expected.items()
    }:
        wrong = next((n for n in expected if getattr(state.get(n), "shape", None) != expected[n].shape), "other names")
        raise ArtifactError(f"expected torchvision's AlexNet at {path}, found another network: {wrong} differs")
    network.load_state_dict(state)
    weights = {f"{layer}.{kind}": state[f"{place}.{kind}"].numpy() for layer, place in places.items() for kind in KINDS}

    def answer(crops: Array) -> tuple[Array, Array]:
        with torch.no_grad():
            maps = network.get_submodule("features")(torch.from_numpy(crops)).flatten(1)
            classifier = network.get_submodule("classifier")
            assert isinstance(classifier, nn.Sequential)
            features = classifier[:-1](maps)
            return classifier[-1](features).softmax(1).numpy(), features.numpy()

    return Source(weights, architecture.side, answer)


KINDS = ("weight", "bias")


def _network(architecture: Architecture) -> tuple[nn.Module, dict[str, str]]:
    """The network as torchvision lays it out, at test, and where each of our layers is in it."""
    features: list[nn.Module] = []
    classifier: list[nn.Module] = []
    places: dict[str, str] = {}
    for layer in convolutions(architecture):
        padding = BORDERS[architecture.border][0] if layer.name == "conv1" else layer.padding
        places[layer.name] = f"features.{len(features)}"
        features += [nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, padding), nn.ReLU()]
        if layer.name in POOLED:
            features.append(nn.MaxPool2d(architecture.pool, 2))
    for name, (inputs, outputs) in linears(architecture).items():
        if name != "fc8":
            classifier.append(nn.Dropout(architecture.dropout))
        places[name] = f"classifier.{len(classifier)}"
        classifier += [nn.Linear(inputs, outputs), *([] if name == "fc8" else [nn.ReLU()])]
    network = nn.ModuleDict({"features": nn.Sequential(*features), "classifier": nn.Sequential(*classifier)})
    return network.eval(), places
