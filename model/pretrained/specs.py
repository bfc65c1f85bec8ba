"""Networks that others trained on ImageNet's 1000 classes and published: files, preprocessing and reported errors.

The errors are their publishers', not measured here. `model.pretrained.importer` trusts no file by its name: it compares
the checksum, every layer with the network's specification, and the artifact's results with the file's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Measurement
from model.download import RemoteFile
from model.exceptions import ArtifactError
from model.network.spec import NetworkConfig

Array = NDArray[np.float32]

ZOO = "https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/validated/vision/classification"
VALIDATION = "ImageNet 2012, validation"


@dataclass(frozen=True)
class PretrainedSpec:
    """A published network.

    `releases`: its files; the first is the one that is downloaded. A crop is (x - `mean`) / `std`, both of RGB 0..255,
    with the channels in `channel_order`. `top1_error`, `top5_error`: of one crop, on ImageNet's 50,000 validation
    images, measured as in `conditions`. `training_images`: how its publisher prepared images for training.
    """

    name: str
    network: NetworkConfig
    releases: tuple[RemoteFile, ...]
    channel_order: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    license: str
    top1_error: float
    top5_error: float
    conditions: str
    training_images: str

    def measurement(self) -> Measurement:
        """The publisher's errors, marked as such."""
        return Measurement(
            split=f"{VALIDATION} ({self.conditions})",
            num_images=50_000,
            crops=1,
            top1_error=self.top1_error,
            top5_error=self.top5_error,
            published=True,
        )

    def preprocess(self, crops: Array, mean: Array | None = None) -> Array:
        """(N, H, W, 3) RGB pixels 0..255 -> the input of the published network (N, 3, H, W).

        `mean` (H, W, 3): the mean of each pixel of the crop, instead of the network's own.
        """
        subtracted = np.array(self.mean, np.float32) if mean is None else mean
        normalized = (crops - subtracted) / np.array(self.std, np.float32)
        ordered = normalized[..., ::-1] if self.channel_order == "BGR" else normalized
        return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), np.float32)


class PretrainedFile(NamedTuple):
    """The contents of a published file: its weights and biases by name, unchanged; pixels per side of its input; and
    what the file itself computes: (N, 3, side, side) -> probabilities (N, 1000) and features (N, hidden).

    `mean`: RGB of each pixel (256, 256, 3) or of all pixels (3,), if it isn't the mean of the `PretrainedSpec`;
    `mean_name`: its description.
    """

    weights: Mapping[str, Array]
    input_size: Literal[224, 227]
    run: Callable[[Array], tuple[Array, Array]]
    mean: Array | None = None
    mean_name: str = ""


def _zoo_files(folder: str, stem: str, versions: Mapping[int, tuple[int, str]]) -> tuple[RemoteFile, ...]:
    """Files of the ONNX model zoo: opset -> bytes and sha256."""
    return tuple(
        RemoteFile(f"{stem}-{opset}.onnx", f"{ZOO}/{folder}/model/{stem}-{opset}.onnx", size, sha256)
        for opset, (size, sha256) in versions.items()
    )


ZOO_MEAN = (123.68, 116.779, 103.939)
UNIT_STD = (1.0, 1.0, 1.0)
SQUEEZED = "published: the whole image as 224 x 224"
TRAINED_SQUEEZED = "the whole image squeezed to 256 x 256"

BVLC_ALEXNET = PretrainedSpec(
    name="bvlc-alexnet",
    network=NetworkConfig("bvlc-alexnet"),
    releases=_zoo_files(
        "alexnet",
        "bvlcalexnet",
        {
            12: (243_863_787, "6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945"),
            9: (243_863_542, "ef3c82dad5c512f969dbf701fe35c0b3feb1585687d541f765eb68730c0a8af7"),
            8: (243_863_542, "9a4dc22fd706a19462aaec3b08e027e0ef89daf63d123824f20b59b6de9a727b"),
            7: (243_863_542, "d9c9134b90c760d4231e89ad9758bcc8a9397c3ba1cd56fadbef888b534ac6b4"),
            6: (243_863_628, "f1ae53b93d83dd74731c84337ae64035288ce336794a46e2b17b56e7566feaab"),
            3: (243_863_514, "e9e222ef55ba873b219f22987130fb0567cb7bc7d3f1afeb47ff442bc0e11b6d"),
        },
    ),
    channel_order="BGR",
    mean=ZOO_MEAN,
    std=UNIT_STD,
    license="BSD-3-Clause (ONNX files of the model zoo; trained on ImageNet by Berkeley's BVLC)",
    top1_error=0.4520,
    top5_error=0.2177,
    conditions=SQUEEZED,
    training_images=TRAINED_SQUEEZED,
)
CAFFENET = PretrainedSpec(
    name="caffenet",
    network=NetworkConfig("caffenet"),
    releases=_zoo_files(
        "caffenet",
        "caffenet",
        {
            12: (243_863_798, "ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb"),
            9: (243_863_553, "802138332cf3e423c82a9a80c76e4f9227dd4effb3aba55413601fa4345cfd36"),
            8: (243_863_553, "82f8997778cd9c5ef9673fc86e340f86e3b29650886b923e5e1aa478d5f83f92"),
            7: (243_863_553, "a249fe5683aa6b517dfb198e4b3bd40a1b7611d4995fde0b0b9ced5f4143bc5c"),
            6: (243_863_639, "15e568474e1c2af94cc34b812628707fee0130f3a3c8b3329cbc5e4ba9248682"),
            3: (243_863_525, "e362cbd353e7a0432d46ec608bfc38646aa8d70207ddb92788008816603ce835"),
        },
    ),
    channel_order="BGR",
    mean=ZOO_MEAN,
    std=UNIT_STD,
    license="BSD-3-Clause (ONNX files of the model zoo; trained on ImageNet by Berkeley's BVLC)",
    top1_error=0.4373,
    top5_error=0.2048,
    conditions=SQUEEZED,
    training_images=TRAINED_SQUEEZED,
)
TORCHVISION_ALEXNET = PretrainedSpec(
    name="torchvision-alexnet",
    network=NetworkConfig("torchvision-alexnet"),
    releases=(
        RemoteFile(
            "alexnet-owt-7be5be79.pth",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            0,
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        ),
    ),
    channel_order="RGB",
    mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
    std=(255 * 0.229, 255 * 0.224, 255 * 0.225),
    license="BSD-3-Clause (torchvision; trained on ImageNet; the one-tower network of Krizhevsky 2014, not of 2012)",
    top1_error=0.43478,
    top5_error=0.20934,
    conditions="published: shorter side 256, center 224",
    training_images="random parts of the image",
)
PRETRAINED = {spec.name: spec for spec in (BVLC_ALEXNET, CAFFENET, TORCHVISION_ALEXNET)}


def get_pretrained(name: str) -> PretrainedSpec:
    """The published network of this name. Raises ArtifactError."""
    if name not in PRETRAINED:
        raise ArtifactError(f"unknown published network {name!r}: choose one of {', '.join(PRETRAINED)}")
    return PRETRAINED[name]
