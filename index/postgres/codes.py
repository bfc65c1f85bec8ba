"""PostgresCodes: the binary codes of an index on PostgreSQL, in one table for the current encoder.

The row `encoder_sha256` of the metadata names the encoder. A writer with another encoder stores its images without
codes; they are in every shortlist until a writer with the current encoder has encoded them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from index.codes import check_encoder
from index.feature_space import FeatureSpace
from index.features import round_to_dtype
from index.postgres.connections import Connection, Cursor, Database
from index.postgres.schema import lock_for_writing
from index.postgres.vectors import to_bits, to_features
from model.encoder import Encoder
from model.exceptions import IndexStoreError

logger = logging.getLogger(__name__)

ENCODE_ROWS = 512
BUILD_POLL_SECONDS = 0.2


def codes_table(encoder_sha256: str) -> str:
    """The name of the table of an encoder's codes."""
    return f"codes_{encoder_sha256[:16]}"


class PostgresCodes:
    """Creates and fills the table of an encoder's codes. Raises IndexStoreError if the encoder's dimension differs."""

    def __init__(self, database: Database, space: FeatureSpace, encoder: Encoder) -> None:
        check_encoder(encoder, space.dim)
        self._database, self._space, self.encoder = database, space, encoder
        self.table = codes_table(encoder.sha256)

    def is_current(self) -> bool:
        """Whether the index has the codes of this encoder."""
        with self._database.reading() as cursor:
            rows = cursor.execute("SELECT value FROM metadata WHERE key = 'encoder_sha256'").fetchall()
        return bool(rows == [(self.encoder.sha256,)])

    def prepare(self) -> None:
        """Make this the index's encoder, encode the images without a code, and build the HNSW index of the codes."""
        self._replace_others()
        while self._encode_some():
            pass
        self._build_index()

    def insert(self, cursor: Cursor, ids: Sequence[int], features: NDArray[np.float32]) -> None:
        """Store the codes of images in the caller's transaction; those of removed images are inactive."""
        bits = to_bits(self.encoder.encode(round_to_dtype(features, self._space.dtype)), self.encoder.bits)
        cursor.executemany(
            f"INSERT INTO {self.table} SELECT id, NOT removed, %s FROM images WHERE id = %s ON CONFLICT DO NOTHING",
            list(zip(bits, ids, strict=True)),
        )
        cursor.execute("UPDATE images SET coded = true WHERE id = ANY(%s)", [list(ids)])

    def _build_index(self) -> None:
        """Build the HNSW index of the codes unless it exists. Only one program builds at a time, or PostgreSQL
        finds a deadlock. An index whose build was interrupted is rebuilt, since PostgreSQL never uses it."""
        name = f"{self.table}_hnsw"
        with self._database.autocommit_connection() as connection:
            while not _lock_build(connection, f"{self._database.address.schema} {name}"):
                time.sleep(BUILD_POLL_SECONDS)
            states = connection.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [name]
            ).fetchall()
            if states == [(False,)]:
                connection.execute(f"DROP INDEX CONCURRENTLY {name}")
            connection.execute(
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {self.table} "
                "USING hnsw (code bit_hamming_ops) WHERE active"
            )

    def _replace_others(self) -> None:
        with self._database.transaction(time_limit=False) as cursor:
            before = lock_for_writing(cursor, self._space, self._database.address)
            if before == self.encoder.sha256:
                return
            if before:
                logger.info("replacing the binary codes of another encoder")
                cursor.execute(f"DROP TABLE IF EXISTS {codes_table(before)}")
            cursor.execute("UPDATE images SET coded = false WHERE coded")
            cursor.execute(
                f"CREATE TABLE {self.table} (id bigint PRIMARY KEY REFERENCES images ON DELETE CASCADE, "
                f"active boolean NOT NULL, code bit({self.encoder.bits}) NOT NULL)"
            )
            cursor.execute("UPDATE metadata SET value = %s WHERE key = 'encoder_sha256'", [self.encoder.sha256])

    def _encode_some(self) -> bool:
        """Encode some images that have no code. Returns whether there were any."""
        with self._database.transaction() as cursor:
            if lock_for_writing(cursor, self._space, self._database.address) != self.encoder.sha256:
                raise IndexStoreError("another program has changed the encoder of the index: open it again")
            rows = cursor.execute(
                "SELECT id, feature FROM images WHERE NOT coded ORDER BY id LIMIT %s", [ENCODE_ROWS]
            ).fetchall()
            if rows:
                ids, columns = zip(*rows, strict=True)
                self.insert(cursor, ids, to_features(columns, self._space.dim, self._space.dtype))
        return bool(rows)


def _lock_build(connection: Connection, name: str) -> bool:
    """Try to lock the build of an index until the connection ends. Doesn't wait within a statement, because a build
    waits for all older statements."""
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [f"alexnet {name}"]).fetchone()
    return row == (True,)
