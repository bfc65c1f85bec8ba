"""The Milvus collection of an index: its fields, its rows, and how it is reached."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from index.catalog import Entry, NewEntry
from model.exceptions import IndexStoreError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

ABOUT = "about"
FIELDS = ("id", "sha256", "key", "label", ABOUT, "thumbnail", "removed", "feature")
FORMAT = "1"
CHUNK_BYTES = 16 * 2**20
"""Of one insertion; Milvus takes 64 MB at most."""
TEXT = 65_535
EMBEDDED = "images"
"""The collection's name in a file."""


def connect(address: Path) -> tuple[MilvusClient, str]:
    """A client, and the collection's name, of `milvus://HOST:PORT/NAME` or `milvus:FILE.db`. Raises IndexStoreError."""
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ModuleNotFoundError as error:
        raise IndexStoreError(
            "expected pymilvus for an index on Milvus, found none: install the extra milvus"
        ) from error
    place = str(address).removeprefix("milvus:")
    if place.endswith(".db"):
        uri, name = place, EMBEDDED
    else:
        host, _, name = place.lstrip("/").partition("/")
        uri = f"http://{host}"
        if not host or not name or "/" in name:
            raise IndexStoreError(f"expected milvus://HOST:PORT/NAME or milvus:FILE.db, found {address}")
    try:
        return MilvusClient(uri), name
    except (MilvusException, ValueError, OSError) as error:
        reason = getattr(error, "message", str(error))
        raise IndexStoreError(f"expected Milvus at {address}, found: {reason}") from error


def make(address: Path, network_sha256: str, dim: int, crops: Sequence[int]) -> None:
    """The collection, unless it is there. Raises IndexStoreError."""
    from pymilvus import DataType, MilvusClient

    client, name = connect(address)
    try:
        if client.has_collection(name):
            return
        about = {"format": FORMAT, "network_sha256": network_sha256, "feature_dim": dim, "crops": list(crops)}
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=json.dumps(about))
        schema.add_field("id", DataType.INT64, is_primary=True)
        for field, length in (("sha256", 64), ("key", 1024), ("label", 1024), (ABOUT, TEXT), ("thumbnail", TEXT)):
            schema.add_field(field, DataType.VARCHAR, max_length=length)
        schema.add_field("removed", DataType.BOOL)
        schema.add_field("feature", DataType.FLOAT_VECTOR, dim=dim)
        indexed = client.prepare_index_params()
        indexed.add_index(field_name="feature", index_type="FLAT", metric_type="L2")
        client.create_collection(name, schema=schema, index_params=indexed, consistency_level="Strong")
    finally:
        client.close()


def settings(client: MilvusClient, name: str, address: Path) -> tuple[str, int, tuple[int, ...]]:
    """The network's sha256, the features' length and their crops. Raises IndexStoreError."""
    if not client.has_collection(name):
        raise IndexStoreError(f"expected an index at {address}, found none: build one with `alexnet index add`")
    try:
        about = json.loads(client.describe_collection(name)["description"])
        if about["format"] != FORMAT:
            raise IndexStoreError(f"expected an index of format {FORMAT} at {address}, found {about['format']}")
        return about["network_sha256"], int(about["feature_dim"]), tuple(map(int, about["crops"]))
    except (KeyError, TypeError, ValueError) as error:
        raise IndexStoreError(f"expected a collection made by `alexnet index` at {address}, found another") from error


def image_id(sha256: str) -> int:
    """The first 53 bits, which JavaScript's numbers hold exactly; at least 1."""
    return max(1, int(sha256[:14], 16) >> 3)


def row(number: int, entry: NewEntry, feature: NDArray[np.float32]) -> dict[str, Any]:
    about = {"source": str(entry.source or ""), "format": entry.format, "width": entry.width, "height": entry.height}
    return {
        "id": number,
        "sha256": entry.sha256,
        "key": entry.key or "",
        "label": entry.label or "",
        ABOUT: json.dumps(about),
        "thumbnail": base64.b64encode(entry.thumbnail).decode(),
        "removed": False,
        "feature": feature,
    }


def entry(found: dict[str, Any]) -> Entry:
    about = json.loads(found[ABOUT])
    source = Path(about["source"]) if about["source"] else None
    label, key = found["label"] or None, found["key"] or None
    return Entry(int(found["id"]), key, label, source, about["format"], about["width"], about["height"])


def chunks(rows: Sequence[dict[str, Any]], dim: int) -> Iterator[list[dict[str, Any]]]:
    """Rows in insertions of a bounded size."""
    some: list[dict[str, Any]] = []
    size = 0
    for one in rows:
        bytes_ = 4 * dim + sum(len(value) for value in one.values() if isinstance(value, str))
        if some and size + bytes_ > CHUNK_BYTES:
            yield some
            some, size = [], 0
        some.append(one)
        size += bytes_
    if some:
        yield some


def literal(value: str | list[str]) -> str:
    """A text, or several, in one of Milvus's conditions: quoted, so that it stays a text whatever is in it."""
    return json.dumps(value, ensure_ascii=False)
