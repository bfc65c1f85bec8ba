"""The Milvus collection of an index: its address, its schema and its rows."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from index.entries import Entry, NewEntry
from index.feature_space import FeatureSpace, no_index_error
from model.datasets.attribution import Attribution
from model.exceptions import IndexStoreError, InvalidRequestError
from model.requirements import install_extra

if TYPE_CHECKING:
    from pymilvus import MilvusClient

SCHEME = "milvus:"
FORMAT = "4"
DETAILS = "details"
"""Field for the values of an entry that aren't searched, as JSON."""
FIELDS = ("id", "sha256", "key", "label", DETAILS, "thumbnail", "removed", "feature")
MAX_INSERT_BYTES = 16 * 2**20
"""Milvus allows 64 MB at most."""
MAX_VARCHAR_BYTES = 65_535
"""Maximum length of a text field of Milvus."""
EMBEDDED_COLLECTION = "images"
"""Name of the collection in a Milvus file."""
START_TIMEOUT = 60.0
"""Seconds to wait for the Milvus Lite process, which opens a file, to start: pymilvus doesn't wait for it."""


@dataclass(frozen=True)
class MilvusAddress:
    """Location of a collection. `server`: the URI that pymilvus connects to, `http://HOST:PORT` or a file."""

    server: str = field(repr=False)
    collection: str

    @classmethod
    def parse(cls, text: str) -> MilvusAddress:
        """Parse `milvus://HOST:PORT/COLLECTION` or `milvus:FILE.db`. Raises InvalidRequestError."""
        rest = text.removeprefix(SCHEME)
        if rest.endswith(".db") and not rest.startswith("//"):
            return cls(rest, EMBEDDED_COLLECTION)
        host, _, collection = rest.removeprefix("//").partition("/")
        if not rest.startswith("//") or not host or not collection or "/" in collection:
            raise InvalidRequestError(
                f"invalid index {hide_password(text[:200])!r}: give milvus://HOST:PORT/COLLECTION or milvus:FILE.db"
            )
        return cls(f"http://{host}", collection)

    def __str__(self) -> str:
        """The text that was parsed, without a password, since it is logged and shown to clients."""
        host = hide_password(self.server).removeprefix("http://")
        return f"{SCHEME}//{host}/{self.collection}" if self.is_remote else f"{SCHEME}{host}"

    @property
    def is_remote(self) -> bool:
        """Whether it is a server, not a file."""
        return self.server.startswith("http://")


def hide_password(uri: str) -> str:
    """The same URI with `***` in place of the password, or of a token without a user."""
    return re.sub(r"(?<=//)([^/@:\s]*:)?\S*@", r"\1***@", uri)


def describe(space: FeatureSpace) -> str:
    """A collection's description, which records its features. Raises InvalidRequestError unless they are float32."""
    if space.dtype != "float32":
        raise InvalidRequestError(f"an index on Milvus can only have float32 features, not {space.dtype}")
    return json.dumps(
        {
            "format": FORMAT,
            "network_sha256": space.network_sha256,
            "feature_dim": space.dim,
            "crops": list(space.crops),
            "image_contract": space.image_contract,
        }
    )


def read_space(client: MilvusClient, address: MilvusAddress) -> FeatureSpace:
    """The feature space of a collection, from its description. Raises IndexNotFoundError or IndexStoreError."""
    if not client.has_collection(address.collection):
        raise no_index_error(str(address))
    return parse_description(client.describe_collection(address.collection)["description"], str(address))


def parse_description(description: str, uri: str) -> FeatureSpace:
    """Parse what `describe` returned. Raises IndexStoreError."""
    try:
        stored = json.loads(description)
        if stored["format"] != FORMAT:
            raise IndexStoreError(
                f"the index at {uri} has format {stored['format']}, but only {FORMAT} is supported: build it again"
            )
        texts = {name: str(value) for name, value in stored.items()}
        texts |= {"crops": ",".join(map(str, stored["crops"])), "dtype": "float32"}
    except (KeyError, TypeError, ValueError) as error:
        raise IndexStoreError(
            f"the collection at {uri} was not made by `alexnet index add`: choose another name"
        ) from error
    return FeatureSpace.parse(texts, uri)


def connect(address: MilvusAddress) -> MilvusClient:
    """Connect to Milvus, or open its file. Raises IndexStoreError."""
    try:
        from pymilvus import MilvusClient
        from pymilvus.client.types import Status
        from pymilvus.exceptions import MilvusException
    except ModuleNotFoundError as error:
        raise IndexStoreError(f"an index on Milvus needs pymilvus: {install_extra('milvus')}") from error
    deadline = time.monotonic() + (0 if address.is_remote else START_TIMEOUT)
    while True:
        try:
            return MilvusClient(address.server)
        except (MilvusException, ValueError, OSError) as error:
            if getattr(error, "code", None) == Status.CONNECT_FAILED and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            reason = hide_password(str(getattr(error, "message", error)))
            raise IndexStoreError(f"cannot connect to Milvus at {address}: {reason}") from error


def create_collection(address: MilvusAddress, space: FeatureSpace) -> None:
    """Create the collection, unless it exists. Raises IndexStoreError, InvalidRequestError."""
    description = describe(space)
    client = connect(address)
    try:
        if client.has_collection(address.collection):
            return
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
        schema.add_field("id", DataType.INT64, is_primary=True)
        lengths = {"sha256": 64, "key": 1024, "label": 1024, DETAILS: MAX_VARCHAR_BYTES, "thumbnail": MAX_VARCHAR_BYTES}
        for name, length in lengths.items():
            schema.add_field(name, DataType.VARCHAR, max_length=length)
        schema.add_field("removed", DataType.BOOL)
        schema.add_field("feature", DataType.FLOAT_VECTOR, dim=space.dim)
        params = client.prepare_index_params()
        params.add_index(field_name="feature", index_type="FLAT", metric_type="L2")
        client.create_collection(address.collection, schema=schema, index_params=params, consistency_level="Strong")
    finally:
        client.close()


def id_from_sha256(sha256: str) -> int:
    """The first 53 bits, which JavaScript's numbers hold exactly; at least 1."""
    return max(1, int(sha256[:14], 16) >> 3)


def to_row(image_id: int, entry: NewEntry, feature: NDArray[np.float32]) -> dict[str, Any]:
    """The collection's row for a new image."""
    details = {"source": str(entry.source or ""), "format": entry.format, "width": entry.width, "height": entry.height}
    attribution = (entry.attribution or Attribution())._asdict()
    return {
        "id": image_id,
        "sha256": entry.sha256,
        "key": entry.key or "",
        "label": entry.label or "",
        DETAILS: json.dumps(details | attribution),
        "thumbnail": base64.b64encode(entry.thumbnail).decode(),
        "removed": False,
        "feature": feature,
    }


def to_entry(row: dict[str, Any]) -> Entry:
    """The entry that a row of the collection stores."""
    details = json.loads(row[DETAILS])
    source = Path(details["source"]) if details["source"] else None
    label, key = row["label"] or None, row["key"] or None
    attribution = Attribution.of(*(details[name] for name in Attribution._fields))
    size = details["width"], details["height"]
    return Entry(int(row["id"]), key, label, source, details["format"], *size, attribution)


def to_new_entry(row: dict[str, Any]) -> NewEntry:
    """The entry to store in another index, from a row of the collection."""
    return to_entry(row).to_new(row["sha256"], base64.b64decode(row["thumbnail"]))


def split_inserts(rows: Sequence[dict[str, Any]], dim: int) -> Iterator[list[dict[str, Any]]]:
    """Divide rows into insertions of at most `MAX_INSERT_BYTES`."""
    batch: list[dict[str, Any]] = []
    batch_bytes = 0
    for row in rows:
        row_bytes = 4 * dim + sum(len(value) for value in row.values() if isinstance(value, str))
        if batch and batch_bytes + row_bytes > MAX_INSERT_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append(row)
        batch_bytes += row_bytes
    if batch:
        yield batch


def quote(value: str | list[str]) -> str:
    """One or several strings as a literal in a Milvus filter expression, whatever characters they contain."""
    return json.dumps(value, ensure_ascii=False)
