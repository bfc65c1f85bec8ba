"""torchvision's AlexNet, read from its `.pth` file without torchvision."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from model.exceptions import ArtifactError
from model.network.spec import Activation, Conv, Linear, MaxPool, NetworkSpec
from model.pretrained.specs import Array, PretrainedFile

KINDS = ("weight", "bias")


def read(path: Path, spec: NetworkSpec) -> PretrainedFile:
    """Read a file. Raises ArtifactError if it has no weights, or not those of this network."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises UnpicklingError, KeyError, IndexError ...
        raise ArtifactError(f"{path} isn't a complete PyTorch weights file") from error
    if not isinstance(state, dict) or not all(map(_is_weight, state.values())):
        raise ArtifactError(f"{path} isn't {spec.config.name}: it isn't a dictionary of dense weights")
    state = {name: weight.detach().float() for name, weight in state.items()}
    network, places = _network(spec)
    expected = network.state_dict()
    if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in expected.items()}:
        wrong = next((n for n in expected if getattr(state.get(n), "shape", None) != expected[n].shape), "")
        reason = f"{wrong} differs" if wrong else "it has extra weights"
        raise ArtifactError(f"{path} isn't {spec.config.name}: {reason}")
    network.load_state_dict(state)
    weights = {f"{layer}.{kind}": state[f"{place}.{kind}"].numpy() for layer, place in places.items() for kind in KINDS}

    def run(crops: Array) -> tuple[Array, Array]:
        with torch.no_grad():
            maps = network.get_submodule("features")(torch.from_numpy(crops)).flatten(1)
            classifier = network.get_submodule("classifier")
            assert isinstance(classifier, nn.Sequential)
            features = classifier[:-1](maps)
            return classifier[-1](features).softmax(1).numpy(), features.numpy()

    return PretrainedFile(weights, spec.config.input_size, run)


def _is_weight(value: object) -> bool:
    """Whether a value is a dense floating-point tensor with data in the file: not sparse, quantized or on `meta`."""
    return (
        isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type == "cpu"
    )


def _network(spec: NetworkSpec) -> tuple[nn.Module, dict[str, str]]:
    """The network as torchvision's module, in evaluation mode, and the place of each of our layers in it."""
    features: list[nn.Module] = []
    classifier: list[nn.Module] = []
    places: dict[str, str] = {}
    for layer in spec.layers:
        modules, name = (classifier, "classifier") if spec.linears[0].name in places else (features, "features")
        if isinstance(layer, Conv):
            geometry = layer.kernel_size, layer.stride, layer.padding[0]
            places[layer.name] = f"{name}.{len(modules)}"
            modules.append(nn.Conv2d(layer.in_channels, layer.out_channels, *geometry))
        elif isinstance(layer, Linear):
            if layer is not spec.linears[-1]:  # torchvision's dropout is before the hidden layers
                classifier.append(nn.Dropout(spec.config.dropout))
            places[layer.name] = f"classifier.{len(classifier)}"
            classifier.append(nn.Linear(layer.in_features, layer.out_features))
        elif isinstance(layer, Activation):
            modules.append(nn.ReLU())
        elif isinstance(layer, MaxPool):
            modules.append(nn.MaxPool2d(layer.kernel_size, layer.stride))
    network = nn.ModuleDict({"features": nn.Sequential(*features), "classifier": nn.Sequential(*classifier)})
    return network.eval(), places
