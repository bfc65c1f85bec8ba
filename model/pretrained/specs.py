"""Networks that others trained on ImageNet's 1000 classes and published: where, what they are, how they see images.

Figures are their publishers', never measured here. No file is trusted by its name: `model.pretrained.importer` compares
its checksum, every layer's shape, and what it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Measurement
from model.exceptions import ArtifactError
from model.network.spec import Architecture

Array = NDArray[np.float32]

ZOO = "https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/validated/vision/classification"
VALIDATION = "ImageNet 2012, validation"


class Release(NamedTuple):
    """One file of a network. `bytes` is 0 where its publisher doesn't say."""

    file: str
    address: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """`releases`: the first is the one that is fetched; the others are known, too.

    A crop is (x - `mean`) / `deviation`, both of RGB 0..255, in the order of `colors`. `top1_error`, `top5_error`: of
    one crop on ImageNet's 50,000 validation images, in `terms` of the publisher.
    """

    name: str
    architecture: Architecture
    releases: tuple[Release, ...]
    colors: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    license: str
    top1_error: float
    top5_error: float
    terms: str

    def measurement(self) -> Measurement:
        """The publisher's figures, marked as such."""
        return Measurement(
            split=f"{VALIDATION} ({self.terms})",
            images=50_000,
            crops=1,
            top1_error=self.top1_error,
            top5_error=self.top5_error,
            published=True,
        )

    def seen(self, crop: Array) -> Array:
        """What the published network sees of (N, H, W, 3) RGB pixels 0..255: (N, 3, H, W)."""
        centered = (crop - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        ordered = centered[..., ::-1] if self.colors == "BGR" else centered
        return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), np.float32)


class Source(NamedTuple):
    """A published file, read: weights and biases by layer as they stand in it, the side of its input in pixels, and
    what it answers itself: (N, 3, side, side) -> probabilities (N, 1000) and features (N, 4096)."""

    weights: Mapping[str, Array]
    crop: int
    answer: Callable[[Array], tuple[Array, Array]]


def _onnx(folder: str, stem: str, versions: Mapping[int, tuple[int, str]]) -> tuple[Release, ...]:
    return tuple(
        Release(f"{stem}-{opset}.onnx", f"{ZOO}/{folder}/model/{stem}-{opset}.onnx", size, sha256)
        for opset, (size, sha256) in versions.items()
    )


CAFFE = Architecture(normalization="caffe", border="none")
MEAN_OF_ZOO = (123.68, 116.779, 103.939)
UNIT = (1.0, 1.0, 1.0)
SQUEEZED = "published: the whole image as 224 x 224"

BVLC_ALEXNET = Published(
    name="bvlc-alexnet",
    architecture=CAFFE,
    releases=_onnx(
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
    colors="BGR",
    mean=MEAN_OF_ZOO,
    deviation=UNIT,
    license="BSD-3-Clause (ONNX files of the model zoo; trained on ImageNet by Berkeley's BVLC)",
    top1_error=0.4520,
    top5_error=0.2177,
    terms=SQUEEZED,
)
CAFFENET = Published(
    name="caffenet",
    architecture=Architecture(normalization="caffe", border="none", pool_first=True),
    releases=_onnx(
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
    colors="BGR",
    mean=MEAN_OF_ZOO,
    deviation=UNIT,
    license="BSD-3-Clause (ONNX files of the model zoo; trained on ImageNet by Berkeley's BVLC)",
    top1_error=0.4373,
    top5_error=0.2048,
    terms=SQUEEZED,
)
TORCHVISION_ALEXNET = Published(
    name="torchvision-alexnet",
    architecture=Architecture(normalization="none", towers=1, border="around", widths=(64, 192, 384, 256, 256)),
    releases=(
        Release(
            "alexnet-owt-7be5be79.pth",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            0,
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        ),
    ),
    colors="RGB",
    mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
    deviation=(255 * 0.229, 255 * 0.224, 255 * 0.225),
    license="BSD-3-Clause (torchvision; trained on ImageNet; the one-tower network of Krizhevsky 2014, not of 2012)",
    top1_error=0.43478,
    top5_error=0.20934,
    terms="published: shorter side 256, center 224",
)
NETWORKS = {published.name: published for published in (BVLC_ALEXNET, CAFFENET, TORCHVISION_ALEXNET)}


def named(name: str) -> Published:
    """One of `NETWORKS`. Raises ArtifactError."""
    if name not in NETWORKS:
        raise ArtifactError(f"expected a published network of {', '.join(NETWORKS)}, found {name!r}")
    return NETWORKS[name]
