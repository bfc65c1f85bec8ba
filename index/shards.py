"""Shards: divide the images of a dataset among machines, deterministically and without coordination."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from model.exceptions import InvalidRequestError


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `count`, from 1.

    An image belongs to shard 1 + h mod `count`, where h is the first eight bytes of the SHA-256 of its path, as a
    big-endian integer. The path is relative to the folder of the data or the table, with `/`, in the file system's
    encoding. So the shard depends on nothing else: not on other images, their order, or the location of the folder.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`3/16`: the third of sixteen. Raises InvalidRequestError."""
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise InvalidRequestError(f"invalid shard {text[:80]!r}: give K/N with 1 <= K <= N, such as 3/16")
        return cls(int(match[1]), int(match[2]))

    def index_path(self, path: Path) -> Path:
        """The path of this shard's index, next to that of the whole dataset."""
        return path.with_name(f"{path.name}.{self.number}-of-{self.count}")

    def contains(self, path: Path, root: Path) -> bool:
        """Whether an image belongs to this shard. `root`: its path is relative to this folder, but may lead outside."""
        name = os.fsencode(os.path.relpath(path, root))
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % self.count == self.number - 1
