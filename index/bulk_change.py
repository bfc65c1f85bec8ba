"""Changes of many images at once: which images, and what changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Selection:
    """The images with these ids, or all images with this label; one of the two is given."""

    ids: Sequence[int] | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if (self.ids is None) == (self.label is None):
            raise ValueError("select images by ids or by a label")


class ImageState(NamedTuple):
    """What a change of many images may change in one of them."""

    id: int
    label: str | None
    removed: bool


class BulkResult(NamedTuple):
    """`changed`: ids of the images that are different now. `unknown_ids`: selected ids that match no image. A removed
    image counts as a match only when images are restored."""

    changed: list[int]
    unknown_ids: list[int]


@dataclass(frozen=True)
class BulkChange:
    """`removed`: True removes images, False restores removed ones, None does neither. `label`: with `relabel`, the new
    label, or None for none."""

    removed: bool | None = None
    relabel: bool = False
    label: str | None = None

    def plan(self, selection: Selection, images: Iterable[ImageState]) -> BulkResult:
        """What this changes. `images`: those of the selection, removed ones included."""
        affected = [image for image in images if self.removed is False or not image.removed]
        changed = [image.id for image in affected if self._differs(image)]
        known = {image.id for image in affected}
        return BulkResult(changed, [image_id for image_id in selection.ids or () if image_id not in known])

    def _differs(self, image: ImageState) -> bool:
        becomes_removed = image.removed if self.removed is None else self.removed
        return becomes_removed != image.removed or (self.relabel and image.label != self.label)
