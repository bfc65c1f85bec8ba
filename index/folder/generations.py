"""Names of the files that a compaction replaces: features and codes, with their generation number in them."""

from __future__ import annotations

import re
from pathlib import Path

from index.feature_space import RowDType

SUFFIXES: dict[RowDType, str] = {"float32": "f32", "float16": "f16"}
NAME = re.compile(r"(?:features|codes)-(?P<generation>[0-9]+)(?:\.f32|\.f16|-[0-9a-f]{16}\.u8.*)")
"""A file of codes may have another suffix while it is written."""


def features_path(folder: Path, generation: int, dtype: RowDType) -> Path:
    """The file of features in the index at `folder`."""
    return folder / f"features-{generation}.{SUFFIXES[dtype]}"


def codes_path(folder: Path, generation: int, encoder_sha256: str) -> Path:
    """The file of the codes that an encoder makes of these features."""
    return folder / f"codes-{generation}-{encoder_sha256[:16]}.u8"


def delete_before(folder: Path, generation: int) -> None:
    """Delete features and codes of earlier generations, including those left by a compaction that was killed."""
    for number, file in _files(folder):
        if number < generation:
            file.unlink(missing_ok=True)


def delete_after(folder: Path, generation: int) -> None:
    """Delete features and codes of later generations, left by a compaction that didn't reach its commit."""
    for number, file in _files(folder):
        if number > generation:
            file.unlink(missing_ok=True)


def has_features_after(folder: Path, generation: int) -> bool:
    """Whether a compaction has made newer features than those of `generation`."""
    return any(number > generation and file.name.startswith("features-") for number, file in _files(folder))


def _files(folder: Path) -> list[tuple[int, Path]]:
    """The files of features and codes with the number of their generation."""
    matches = ((NAME.fullmatch(file.name), file) for file in folder.iterdir())
    return [(int(match["generation"]), file) for match, file in matches if match]
