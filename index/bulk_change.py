"""Bulk changes: which images to change, and how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Selection:
    """The images with these ids, those with these keys, or all images with this label; one of the three is given."""

    ids: Sequence[int] | None = None
    label: str | None = None
    keys: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if [self.ids, self.label, self.keys].count(None) != 2:
            raise ValueError("select images by ids, by keys or by a label")


class ImageState(NamedTuple):
    """The fields of an image that a bulk change reads or modifies."""

    id: int
    label: str | None
    removed: bool
    key: str | None


class BulkResult(NamedTuple):
    """`changed`: ids of the images that were changed. `unknown_ids`, `unknown_keys`: selected ids and keys that match
    no image. A removed image is a match only if the change restores images."""

    changed: list[int]
    unknown_ids: list[int]
    unknown_keys: list[str]


@dataclass(frozen=True)
class BulkChange:
    """`removed`: True removes images, False restores removed ones, None does neither. `label`: the new label
    if `relabel`; None removes the label."""

    removed: bool | None = None
    relabel: bool = False
    label: str | None = None

    def plan(self, selection: Selection, images: Iterable[ImageState]) -> BulkResult:
        """What this change does to a selection. `images`: the selected images, including removed ones."""
        affected = [image for image in images if self.removed is False or not image.removed]
        changed = [image.id for image in affected if self._differs(image)]
        ids, keys = {image.id for image in affected}, {image.key for image in affected}
        unknown_ids = [image_id for image_id in selection.ids or () if image_id not in ids]
        return BulkResult(changed, unknown_ids, [key for key in selection.keys or () if key not in keys])

    def _differs(self, image: ImageState) -> bool:
        becomes_removed = image.removed if self.removed is None else self.removed
        return becomes_removed != image.removed or (self.relabel and image.label != self.label)
