"""Features and codes in PostgreSQL's binary format: pgvector's `vector` and `halfvec`, and `bit`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

from index.feature_space import RowDType

COLUMN_TYPES: dict[RowDType, str] = {"float32": "vector", "float16": "halfvec"}
_SENT_DTYPES: dict[RowDType, str] = {"float32": ">f4", "float16": ">f2"}
_HEADER_BYTES = 4


@dataclass(frozen=True)
class _Binary:
    """A value in the binary format of its type."""

    data: bytes


class Vector(_Binary):
    """A feature of float32 numbers."""


class HalfVector(_Binary):
    """A feature of float16 numbers."""


class Bits(_Binary):
    """A binary code."""


_WRAPPERS: dict[RowDType, type[_Binary]] = {"float32": Vector, "float16": HalfVector}
_BIT_OID = 1560


def to_vectors(features: NDArray[np.float32], dtype: RowDType) -> list[_Binary]:
    """(N, dim) features as statement parameters."""
    header = struct.pack(">hh", features.shape[1], 0)
    wrap, sent = _WRAPPERS[dtype], features.astype(_SENT_DTYPES[dtype])
    return [wrap(header + row.tobytes()) for row in sent]


def to_query(feature: NDArray[np.float32]) -> _Binary:
    """A (dim,) feature to compare with others, as a statement parameter."""
    return to_vectors(feature[None], "float32")[0]


def to_features(columns: Sequence[bytes], dim: int, dtype: RowDType) -> NDArray[np.float32]:
    """(N, dim) features from a column that was read."""
    joined = b"".join(bytes(column)[_HEADER_BYTES:] for column in columns)
    return np.frombuffer(joined, _SENT_DTYPES[dtype]).reshape(len(columns), dim).astype(np.float32)


def to_bits(codes: NDArray[np.uint8], num_bits: int) -> list[Bits]:
    """(N, bytes) codes as statement parameters."""
    header = struct.pack(">i", num_bits)
    return [Bits(header + code.tobytes()) for code in codes]


def register(connection: psycopg.Connection[Any]) -> str | None:
    """Let a connection send features and codes. Returns pgvector's schema; None if it isn't installed."""
    _register(connection, Bits, _BIT_OID)
    rows = connection.execute(
        "SELECT nspname, typname, pg_type.oid FROM pg_extension "
        "JOIN pg_namespace ON pg_namespace.oid = extnamespace JOIN pg_type ON typnamespace = extnamespace "
        "WHERE extname = 'vector' AND typname IN ('vector', 'halfvec')"
    ).fetchall()
    oids = {name: oid for _, name, oid in rows}
    for dtype, wrapper in _WRAPPERS.items():
        if COLUMN_TYPES[dtype] in oids:
            _register(connection, wrapper, oids[COLUMN_TYPES[dtype]])
    return str(rows[0][0]) if rows else None


def _register(connection: psycopg.Connection[Any], wrapper: type[_Binary], type_oid: int) -> None:
    class BinaryDumper(Dumper):
        oid = type_oid
        format = Format.BINARY

        def dump(self, obj: _Binary) -> Buffer:
            return obj.data

    connection.adapters.register_dumper(wrapper, BinaryDumper)
