"""What can be chosen about the network, and the layers that follow from it (`model.network.torch_module`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from model.exceptions import TrainingError

WIDTHS = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256}
ONE_TOWER_WIDTHS = {"conv1": 48, "conv2": 128, "conv3": 192, "conv4": 192, "conv5": 256}
POOLED = ("conv1", "conv2", "conv5")
NORMALIZED = ("conv1", "conv2")
REMOVABLE = ("conv2", "conv3", "conv4", "conv5", "fc7")
LAYERS = (*WIDTHS, "conv6", "fc6", "fc7", "fc8")
BORDERS = {"ceil": (0, 0, 3, 3), "none": (0, 0, 0, 0), "around": (2, 2, 2, 2)}
"""Zeros round what conv1 sees: top, left, bottom, right."""

Scheme = Literal["paper", "source", "he"]
"""How weights start: see `model.network.initialization`."""


@dataclass(frozen=True)
class Architecture:
    """What can be chosen about the network. The defaults are the paper's.

    `hidden`: the width of fc6 and fc7. `dropout`: the probability of setting an output of fc6 or fc7 to zero.
    `input_scale` multiplies the mean-subtracted pixels. `pool`: window of the max pooling, whose stride is 2: 3
    overlaps (section 3.4), 2 doesn't, with the same sizes of maps. `normalization`: `paper` (section 3.3), `source`
    (the authors' program: alpha / n, before the first ReLU, a second one over pixels after conv2), `caffe` (alpha / n,
    k = 1, over all channels) or `none`.
    `towers`: 2, or 1 for the half-size network of footnote 2. `joined`: conv3 sees both towers. `sixth`: a convolution
    after the last pooling, as in the networks of section 6 that were trained on more classes. `without`: one layer
    left out, of `REMOVABLE`. `mean`: each pixel of a view meets `own` mean, or that of the `center` view (the authors'
    program).

    The rest is for networks that others published (`model.pretrained.specs`). `pool_first`: pooling before
    normalization. `border`, of `BORDERS`: 55 x 55 positions of conv1 by the `ceil` rule; with `none`, 54 x 54, and the
    last pooling reaches over the edge; with zeros `around`, 55 x 55. `widths`: channels of conv1 to conv5, if not the
    paper's. `side`: pixels a side of a view.
    """

    classes: int = 1000
    hidden: int = 4096
    dropout: float = 0.5
    input_scale: float = 1.0
    activation: Literal["relu", "tanh"] = "relu"
    pool: Literal[2, 3] = 3
    normalization: Literal["paper", "source", "caffe", "none"] = "paper"
    towers: Literal[1, 2] = 2
    joined: bool = True
    sixth: bool = False
    without: str = ""
    mean: Literal["own", "center"] = "own"
    pool_first: bool = False
    border: Literal["ceil", "none", "around"] = "ceil"
    widths: tuple[int, ...] = ()
    side: Literal[224, 227] = 224

    def __post_init__(self) -> None:
        if self.without and self.without not in REMOVABLE:
            raise TrainingError(f"expected a layer of {', '.join(REMOVABLE)} to leave out, found {self.without!r}")
        if self.hidden < 2 or self.hidden % 2 or not 0 <= self.dropout < 1:
            raise TrainingError(
                f"expected an even hidden width and a dropout from 0 to below 1, found {self.hidden}, {self.dropout}"
            )
        if self.widths and (len(self.widths) != len(WIDTHS) or any(w < 1 or w % self.towers for w in self.widths)):
            raise TrainingError(f"expected {len(WIDTHS)} widths that {self.towers} towers share, found {self.widths}")

    @property
    def norm_groups(self) -> int:
        """Groups of channels that are normalized apart."""
        return 1 if self.normalization == "caffe" else self.towers

    def last_pads(self, layer: str) -> tuple[int, int, int, int]:
        """How far the pooling after `layer` reaches over the edge: by the ceil rule, 12 x 12 maps give 6 x 6."""
        return (0, 0, 1, 1) if layer == "conv5" and self.border == "none" else (0, 0, 0, 0)


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
    if architecture.widths:
        widths = dict(zip(WIDTHS, architecture.widths, strict=True))
    forms = {"conv1": (11, 4, 0), "conv2": (5, 1, 2)}  # conv1: `BORDERS` besides
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
