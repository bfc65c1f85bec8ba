"""FeatureSpace: which network and crops an index's features are from, and how they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from model.artifacts.artifact import NETWORK_FILES, Artifact
from model.exceptions import ArtifactError, IndexNotFoundError, IndexStoreError
from model.images.contract import ImageContract
from model.images.crops import TEN_CROP

MAX_DIM = 2**20
"""Maximum length of a feature; the paper's network has 4096."""
RowDType = Literal["float32", "float16"]
WORDS = {
    "network_sha256": "network",
    "crops": "crops",
    "feature_dim": "length of the features",
    "dtype": "dtype",
    "image_contract": "image contract",
}
"""What messages call the fields of `FeatureSpace.to_texts`."""


@dataclass(frozen=True)
class FeatureSpace:
    """What the features of an index are. Two indexes with equal spaces have comparable distances and can copy features.

    `image_contract`: how the images were decoded. `dtype`: of the stored numbers.
    """

    network_sha256: str
    crops: tuple[int, ...]
    dim: int
    dtype: RowDType
    image_contract: str

    @classmethod
    def of(cls, artifact: Artifact, crops: Sequence[int], dtype: RowDType) -> FeatureSpace:
        """The space of a new index for features of `artifact`."""
        manifest = artifact.manifest
        return cls(artifact.network_sha256, tuple(crops), manifest.feature_dim, dtype, manifest.image_contract)

    @classmethod
    def parse(cls, stored: Mapping[str, str], uri: str) -> FeatureSpace:
        """Parse what `to_texts` returned. Raises IndexStoreError."""
        try:
            ImageContract.parse(stored["image_contract"])
            crops = tuple(int(crop) for crop in stored["crops"].split(","))
            dim, dtype = int(stored["feature_dim"]), stored["dtype"]
            if not (0 < dim <= MAX_DIM and set(crops) <= set(TEN_CROP) and dtype in get_args(RowDType)):
                raise ValueError("features of no network")
            return cls(stored["network_sha256"], crops, dim, cast(RowDType, dtype), stored["image_contract"])
        except ArtifactError as error:
            raise IndexStoreError(
                f"the index at {uri} isn't supported by this version: {error}; build it again"
            ) from error
        except (KeyError, ValueError) as error:
            raise damaged_metadata_error(uri) from error

    def to_texts(self) -> dict[str, str]:
        """Names and values to store."""
        return {
            "network_sha256": self.network_sha256,
            "crops": ",".join(map(str, self.crops)),
            "feature_dim": str(self.dim),
            "dtype": self.dtype,
            "image_contract": self.image_contract,
        }

    def differences(self, other: FeatureSpace) -> str:
        """Which fields differ, in words."""
        own, others = self.to_texts(), other.to_texts()
        return ", ".join(word for name, word in WORDS.items() if own[name] != others[name])

    def check_compatible(self, artifact: Artifact, uri: str) -> None:
        """Raise IndexStoreError unless the index at `uri` has features of the network in `artifact`."""
        manifest = artifact.manifest
        network = f"{manifest.name} version {manifest.version}"
        for precision, file in NETWORK_FILES.items():
            record = manifest.files.get(file)
            if record and record.sha256 == self.network_sha256 != artifact.network_sha256:
                raise IndexStoreError(
                    f"the index at {uri} was made by a different network than {network} in {artifact.precision}: "
                    f"choose the one that made it with --precision {precision}, or build another index"
                )
        if self.network_sha256 != artifact.network_sha256:
            raise IndexStoreError(
                f"the index at {uri} was made by a different network than {network}, so their distances can't be "
                "compared: choose the artifact that made it with --artifact (`alexnet models` lists all, including the "
                "bundled ones), or build another index"
            )
        if self.image_contract != manifest.image_contract:
            raise IndexStoreError(
                f"the images of the index at {uri} were decoded by the contract {self.image_contract}, but {network} "
                f"needs {manifest.image_contract}: build another index"
            )
        if self.dim != manifest.feature_dim:
            raise IndexStoreError(f"expected features of {manifest.feature_dim} numbers, got {self.dim} at {uri}")


def no_index_error(uri: str) -> IndexNotFoundError:
    return IndexNotFoundError(f"no index at {uri}: build one with `alexnet index add --data FOLDER`")


def damaged_metadata_error(uri: str) -> IndexStoreError:
    return IndexStoreError(f"the metadata of the index at {uri} is damaged: build the index again")
