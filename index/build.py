"""Build an index: read images, compute their features and add them; restartable at any moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from index.entries import AddStatus, FileState
from index.protocol import Index, SupportsSync
from index.reading import ImageSource, ReadImage, add_read, read_batches, to_sources
from index.shards import Shard
from model.datasets.listing import Listing, Skipped
from model.datasets.reader import read_folder
from model.exceptions import DatasetError
from model.images.info import WarningKind, count_warnings
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.runtime import OnnxModel


@dataclass(frozen=True)
class BuildReport:
    """Numbers of images added and of images the index already had (same bytes), and the files that can't be read.

    `restored`: how many of `added` were in the index but removed. `copies`: additional files with the same bytes as one
    of these images. `read`: path -> the file's state when it was read, or why it couldn't be read.
    """

    added: int
    existing: int
    copies: int = 0
    skipped: tuple[Skipped, ...] = ()
    read: Mapping[str, FileState | Skipped] = field(default_factory=dict, repr=False, compare=False)
    warnings: Mapping[WarningKind, int] = field(default_factory=dict)
    restored: int = 0

    @property
    def unreadable(self) -> int:
        """Number of files that can't be read or decoded."""
        return len(self.skipped)


def build(
    index: Index, model: OnnxModel, sources: Sequence[ImageSource], limits: ImageLimits = DEFAULT_LIMITS
) -> BuildReport:
    """Add all `sources`. Features of images the index already has (same checksum) aren't computed again."""
    statuses = Counter[AddStatus]()
    skipped: list[Skipped] = []
    read: dict[str, FileState | Skipped] = {}
    warnings = Counter[WarningKind]()
    for batch in read_batches(index, sources, limits, "indexing"):
        new = [result for _, result in batch if isinstance(result, ReadImage)]
        failed = [result for _, result in batch if isinstance(result, Skipped)]
        for entry in failed:
            tqdm.write(f"skipped {entry}")
        statuses.update(result.status for result in add_read(index, model, new))
        record_states(index, new)
        skipped += failed
        read |= {source.file: result if isinstance(result, Skipped) else result.state for source, result in batch}
        warnings.update(count_warnings(image.warnings for image in new))
    states = [result for result in read.values() if isinstance(result, FileState)]
    images = len({state.sha256 for state in states})
    added, copies = statuses["added"] + statuses["restored"], len(states) - images
    return BuildReport(added, images - added, copies, tuple(skipped), read, warnings, statuses["restored"])


def find_images(root: Path) -> list[ImageSource]:
    """The images of a folder with their labels, in the order of their paths. Raises DatasetError if there are none."""
    listing = list_folder(root, None, ())
    if not listing.entries:
        raise DatasetError(f"there are no images in the folder {listing.root}")
    return to_sources(listing)


def list_folder(root: Path, shard: Shard | None, exclude: Sequence[str]) -> Listing:
    """The images of a folder by its real path; with a shard, only the shard's stay in memory. Raises DatasetError."""
    root = root.resolve()
    return read_folder(root, exclude, None if shard is None else lambda path: shard.contains(path, root))


def record_states(index: Index, images: Sequence[ReadImage]) -> None:
    """Record how the files of added images were read, so that `index.sync` needn't read them again."""
    if isinstance(index, SupportsSync):
        states = {str(image.entry.source): image.state for image in images if image.entry.source is not None}
        index.file_records.set_file_states(states)
