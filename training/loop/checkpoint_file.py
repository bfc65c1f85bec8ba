"""Checkpoint files: written atomically with the previous one kept, and verified by their checksums when read.

`torch.save` writes a zip archive, whose members have CRC-32 checksums that `torch.load` doesn't verify.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model.exceptions import TrainingError
from model.files import atomic_write

CHECKPOINT_FORMAT = 9


def previous_path(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept: `checkpoint.previous.pt`."""
    return path.with_suffix(f".previous{path.suffix}")


def write_checkpoint(path: Path, state: Mapping[str, object], keep_previous: bool = False) -> None:
    """Write `state` (tensors and plain values) to `path`; the old file stays until the new one is complete.

    `keep_previous`: keep the replaced checkpoint beside the new one. The one before it is deleted first, so that there
    are never three. Raises OSError, or torch's RuntimeError, if it can't be written.
    """
    import torch  # takes seconds to import; code that only looks at a run's files doesn't need it

    previous = previous_path(path)
    if keep_previous and path.is_file():
        previous.unlink(missing_ok=True)
    with atomic_write(path, "wb") as file:
        torch.save({"format": CHECKPOINT_FORMAT, **state}, file)
        file.flush()
        os.fsync(file.fileno())
        if keep_previous and path.is_file():
            os.replace(path, previous)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote; anything but tensors and plain values is refused. Raises TrainingError."""
    return _check_format(path, _read_intact(path))


def read_latest_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint at `path`; if it is damaged or missing, the previous one, with a message.

    The previous one then takes its place. If it can't be read either, raises the TrainingError of the one at `path`.
    """
    try:
        state = _read_intact(path)
    except TrainingError as error:
        previous = previous_path(path)
        if not previous.is_file():
            raise
        try:
            state = read_checkpoint(previous)
        except TrainingError:
            raise error from None
        os.replace(previous, path)  # otherwise the next write would first delete it, and keep the damaged one
        tqdm.write(f"{error}: resuming from the previous one, {previous.name}")
    return _check_format(path, state)


def _read_intact(path: Path) -> Any:
    """The file's content. Raises TrainingError if it is missing or damaged."""
    import torch  # as in `write_checkpoint`

    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise TrainingError(f"the checkpoint at {path} is damaged: the checksum of {damaged} in it doesn't match")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise TrainingError(f"no checkpoint at {path}") from error
    except TrainingError:
        raise
    except Exception as error:
        raise TrainingError(f"the checkpoint at {path} is damaged") from error


def _check_format(path: Path, state: Any) -> dict[str, Any]:
    """The state of a checkpoint. Raises TrainingError if another version of this program wrote it."""
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
        raise TrainingError(f"the checkpoint at {path} was written by another version of this program")
    return state
