"""Which machine indexes which image, where several divide a data set without a word to each other."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from model.exceptions import InvalidRequestError


@dataclass(frozen=True)
class Shard:
    """Number `number` of `count` parts, from 1.

    An image belongs to part 1 + h mod `count`, where h is the number that the first eight bytes of the SHA-256 of its
    path make (big-endian): the path below the data's folder, with `/`, in the file system's bytes. So it depends on
    nothing else: not on the other images, not on their order, not on where the folder is.
    """

    number: int
    count: int

    @classmethod
    def named(cls, text: str) -> Shard:
        """`3/16`: the third of sixteen. Raises InvalidRequestError."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise InvalidRequestError(f"expected a part like 3/16, from 1/16 to 16/16, found {text[:80]!r}")
        return cls(int(found[1]), int(found[2]))

    def index(self, whole: Path) -> Path:
        """Where the index of this part is, beside that of the whole."""
        return whole.with_name(f"{whole.name}.{self.number}-of-{self.count}")

    def has(self, path: Path, root: Path) -> bool:
        """Whether an image below `root` belongs to this part."""
        name = os.fsencode(path.relative_to(root).as_posix())
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % self.count == self.number - 1
