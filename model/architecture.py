"""What can be chosen about the network, and the layers that follow from it. The network itself: `model.alexnet`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from model.errors import TrainingError

WIDTHS = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256}
ONE_TOWER_WIDTHS = {"conv1": 48, "conv2": 128, "conv3": 192, "conv4": 192, "conv5": 256}
POOLED = ("conv1", "conv2", "conv5")
NORMALISED = ("conv1", "conv2")
REMOVABLE = ("conv2", "conv3", "conv4", "conv5", "fc7")
LAYERS = (*WIDTHS, "conv6", "fc6", "fc7", "fc8")

Scheme = Literal["paper", "source", "he"]
"""How weights start: see `model.initialisation`."""


@dataclass(frozen=True)
class Architecture:
    """What can be chosen about the network. The defaults are the paper's.

    `hidden`: the width of fc6 and fc7. `dropout`: the probability of setting an output of fc6 or fc7 to zero.
    `input_scale` multiplies the mean-subtracted pixels. `pool`: window of the max pooling, whose stride is 2: 3
    overlaps (section 3.4), 2 doesn't, with the same sizes of maps. `normalisation`: `paper` (section 3.3), `source`
    (the authors' program: alpha / n, before the first ReLU, a second one over pixels after conv2) or `none`.
    `towers`: 2, or 1 for the half-size network of footnote 2. `joined`: conv3 sees both towers. `sixth`: a convolution
    after the last pooling, as in the networks of section 6 that were trained on more classes. `without`: one layer
    left out, of `REMOVABLE`. `mean`: each pixel of a view meets `own` mean, or that of the `centre` view (the authors'
    program).
    """

    classes: int = 1000
    hidden: int = 4096
    dropout: float = 0.5
    input_scale: float = 1.0
    activation: Literal["relu", "tanh"] = "relu"
    pool: Literal[2, 3] = 3
    normalisation: Literal["paper", "source", "none"] = "paper"
    towers: Literal[1, 2] = 2
    joined: bool = True
    sixth: bool = False
    without: str = ""
    mean: Literal["own", "centre"] = "own"

    def __post_init__(self) -> None:
        if self.without and self.without not in REMOVABLE:
            raise TrainingError(f"expected a layer of {', '.join(REMOVABLE)} to leave out, found {self.without!r}")
        if self.hidden < 2 or self.hidden % 2 or not 0 <= self.dropout < 1:
            raise TrainingError(
                f"expected an even hidden width and a dropout from 0 to below 1, found {self.hidden}, {self.dropout}"
            )


class Convolution(NamedTuple):
    """One convolutional layer: channels of both towers, and whether a kernel sees all of them."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    joined: bool


def convolutions(architecture: Architecture) -> list[Convolution]:
    """The convolutional layers of an architecture, in order. Without conv3, the towers meet at conv4."""
    widths = WIDTHS if architecture.towers == 2 else ONE_TOWER_WIDTHS
    forms = {"conv1": (11, 4, 0), "conv2": (5, 1, 2)}  # conv1: 3 more pixels right and bottom, in `forward`
    meeting = "conv4" if architecture.without == "conv3" else "conv3"
    layers, inputs = [], 3
    for name, outputs in widths.items():
        if name != architecture.without:
            joined = name == "conv1" or (name == meeting and architecture.joined)
            layers.append(Convolution(name, inputs, outputs, *forms.get(name, (3, 1, 1)), joined))
            inputs = outputs
    if architecture.sixth:
        layers.append(Convolution("conv6", inputs, widths["conv5"], 3, 1, 1, True))
    return layers


def linears(architecture: Architecture) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the fully connected layers, of both towers together."""
    hidden = architecture.hidden
    layers = {"fc6": (36 * convolutions(architecture)[-1].outputs, hidden), "fc7": (hidden, hidden)}
    layers.pop(architecture.without, None)
    return layers | {"fc8": (hidden, architecture.classes)}
