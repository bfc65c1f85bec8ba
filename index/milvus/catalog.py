"""Which images a Milvus collection holds; `index.catalog` for the folder's."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from index.catalog import Entry
from index.milvus import collection
from index.milvus.collection import ABOUT, literal
from model.exceptions import UnknownImageError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

PAGE = 1000


class MilvusCatalog:
    """Reads a collection; all answers are of its newest state."""

    def __init__(self, client: MilvusClient, name: str) -> None:
        self._client, self._name = client, name

    def known(self, sha256s: Sequence[str]) -> dict[str, tuple[int, bool]]:
        """Those of the checksums whose images are here: their ids, and whether they are removed."""
        found: dict[str, tuple[int, bool]] = {}
        for start in range(0, len(sha256s), PAGE):
            condition = f"sha256 in {literal(list(sha256s[start : start + PAGE]))}"
            for row in self.query(condition, ["id", "sha256", "removed"]):
                found[row["sha256"]] = int(row["id"]), bool(row["removed"])
        return found

    def page(self, after: int, limit: int, label: str | None = None) -> list[Entry]:
        """The next images by id, of a label if one is given."""
        condition = f"removed == false and id > {int(after)}"
        if label is not None:
            condition += f" and label == {literal(label)}"
        return sorted(self.entries(condition, limit), key=lambda entry: entry.id)

    def everything(self, label: str | None = None) -> Iterator[Entry]:
        after = 0
        while some := self.page(after, PAGE, label):
            yield from some
            after = some[-1].id

    def thumbnail(self, image_id: int) -> bytes:
        """JPEG bytes. Raises UnknownImageError."""
        return base64.b64decode(self.one(image_id, "thumbnail"))

    def sha256(self, image_id: int) -> str:
        """Of the bytes that were indexed. Raises UnknownImageError."""
        return str(self.one(image_id, "sha256"))

    def present(self, ids: Sequence[int]) -> list[Entry]:
        """The entries of those that are here."""
        found: list[Entry] = []
        for start in range(0, len(ids), PAGE):
            some = list(map(int, ids[start : start + PAGE]))
            found += self.entries(f"removed == false and id in {some}", len(some))
        return found

    def one(self, image_id: int, field: str) -> Any:
        """A field of an image. Raises UnknownImageError."""
        rows = self.query(f"id == {int(image_id)} and removed == false", [field])
        if not rows:
            raise UnknownImageError(f"expected the id of an indexed image, found {image_id}")
        return rows[0][field]

    def entries(self, condition: str, limit: int) -> list[Entry]:
        """Images by one of Milvus's conditions."""
        return [collection.entry(row) for row in self.query(condition, ["id", "key", "label", ABOUT], limit)]

    def query(self, condition: str, fields: list[str], limit: int | None = None) -> list[dict[str, Any]]:
        """Rows by one of Milvus's conditions; what was acknowledged before is seen."""
        more = {} if limit is None else {"limit": limit}
        return list(
            self._client.query(self._name, filter=condition, output_fields=fields, consistency_level="Strong", **more)
        )
