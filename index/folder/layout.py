"""The folder of an index: whether it exists, its lock and its metadata. `index.folder.store` lists its files."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from index.catalog.catalog import Catalog
from index.catalog.file import empty_index_error, format_error
from index.catalog.schema import FORMAT, METADATA_CHECKSUM, metadata_checksum
from index.feature_space import FeatureSpace, damaged_metadata_error, no_index_error
from index.files import WriteLock, check_regular, storage_error
from model.artifacts.artifact import Artifact
from model.exceptions import IndexNotFoundError

CATALOG = "catalog.sqlite"
LOCK = "lock"


@dataclass(frozen=True)
class IndexMetadata:
    """Metadata of an index in a folder. `generation`: number of the current file of features."""

    space: FeatureSpace
    generation: int = 1

    @classmethod
    def read(cls, catalog: Catalog, path: Path) -> IndexMetadata:
        """Metadata of the index at `path`. Raises IndexStoreError, or IndexNotFoundError if it has none yet."""
        stored = catalog.metadata()
        if not stored:  # its first writer was killed
            raise empty_index_error(path)
        if stored.get("format") != FORMAT:
            raise format_error(stored.get("format"), path)
        if stored.get(METADATA_CHECKSUM) != metadata_checksum(stored):
            raise damaged_metadata_error(str(path))
        space = FeatureSpace.parse(stored, str(path))
        try:
            generation = int(stored["generation"])
        except (KeyError, ValueError) as error:
            raise damaged_metadata_error(str(path)) from error
        if generation < 1:
            raise damaged_metadata_error(str(path))
        return cls(space, generation)

    def write_if_new(self, catalog: Catalog) -> None:
        """Store this metadata in a new catalog; a catalog that has metadata keeps its own."""
        if not catalog.metadata():
            catalog.set_metadata({"format": FORMAT, "generation": str(self.generation), **self.space.to_texts()})


def is_index(path: Path) -> bool:
    """Whether the folder holds an index. Raises IndexStoreError if its catalog is a link, pipe, device or folder."""
    check_regular(path / CATALOG)
    return (path / CATALOG).is_file()


def missing_index_error(path: Path) -> IndexNotFoundError:
    """The error for no index at `path`; names those next to it of the network's other versions and precisions."""
    if not path.name.partition("-")[0].isdigit():
        return no_index_error(str(path))
    others = ", ".join(sorted(str(catalog.parent) for catalog in path.parent.glob(f"[0-9]*/{CATALOG}")))
    return no_index_error(f"{path} (indexes of other versions or precisions: {others})" if others else str(path))


def lock_for_writing(path: Path) -> WriteLock:
    """Lock the index at `path` until `release` or the end of the process. Raises ReadOnlyIndexError."""
    return WriteLock(path / LOCK)


def create_empty_index(path: Path, space: FeatureSpace, artifact: Artifact | None = None) -> None:
    """Create an index without images, unless there is one.

    Raises IndexStoreError if `artifact` is given and an existing one belongs to another network.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    lock = lock_for_writing(path)
    try:
        with closing(Catalog(path / CATALOG)) as catalog:
            IndexMetadata(space).write_if_new(catalog)
            if artifact is not None:
                IndexMetadata.read(catalog, path).space.check_compatible(artifact, str(path))
    finally:
        lock.release()
