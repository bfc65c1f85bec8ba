"""What an index was made for: the network and the crops behind its features, and how its rows are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from index.catalog import Catalog
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError, InvalidRequestError

FORMAT = "2"
Kind = Literal["float32", "float16"]
SUFFIXES: dict[str, str] = {"float32": "f32", "float16": "f16"}


def parse_dtype(name: str) -> Kind:
    """A kind of rows by its name. Raises InvalidRequestError."""
    if name not in get_args(Kind):
        raise InvalidRequestError(f"expected rows of {' or '.join(get_args(Kind))}, found {name!r}")
    return cast(Kind, name)


@dataclass(frozen=True)
class Settings:
    """`features`: the number of the file with the rows, which are `rows` of `dim` numbers."""

    network_sha256: str
    crops: tuple[int, ...]
    dim: int
    features: int
    rows: str

    @classmethod
    def read(cls, catalog: Catalog, path: Path) -> Settings:
        """Those of the index at `path`. Raises IndexStoreError."""
        found = catalog.settings()
        if found.get("format") != FORMAT:
            raise IndexStoreError(f"expected an index of format {FORMAT} at {path}, found {found.get('format')}")
        try:
            crops = tuple(int(view) for view in found["crops"].split(","))
            rows = found.get("rows", "float32")
            SUFFIXES[rows]
            return cls(found["network_sha256"], crops, int(found["feature_dim"]), int(found["features"]), rows)
        except (KeyError, ValueError) as error:
            raise IndexStoreError(f"expected the settings of an index at {path}, found them damaged") from error

    @staticmethod
    def begin(catalog: Catalog, artifact: Artifact, crops: Sequence[int], rows: Kind) -> None:
        """Those of a new index for the features of `artifact`; an index that has some keeps them."""
        Settings(artifact.network_sha256, tuple(crops), artifact.manifest.feature_dim, 1, rows).repeat(catalog)

    def repeat(self, catalog: Catalog) -> None:
        """The same of a new index; an index that has some keeps them."""
        if not catalog.settings():
            made_by = {"network_sha256": self.network_sha256, "crops": ",".join(map(str, self.crops))}
            kept = {"feature_dim": str(self.dim), "rows": self.rows, "features": "1"}
            catalog.set_settings({"format": FORMAT} | made_by | kept)

    def file(self, path: Path, number: int) -> Path:
        """Where the rows are in the index at `path`."""
        return path / f"features-{number}.{SUFFIXES[self.rows]}"

    def require(self, artifact: Artifact, path: Path) -> None:
        """Raise IndexStoreError unless the features of the index at `path` are those of this network."""
        if self.network_sha256 != artifact.network_sha256:
            raise IndexStoreError(
                f"expected an index made by {artifact.manifest.name} version {artifact.manifest.version}, found one at "
                f"{path} made by another network: name that one with --artifact, or build another index, since their "
                "distances mean nothing to each other"
            )
        if self.dim != artifact.manifest.feature_dim:
            raise IndexStoreError(
                f"expected features of {artifact.manifest.feature_dim} numbers, found {self.dim} at {path}"
            )
