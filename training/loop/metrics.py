"""Metrics of a run: one line per epoch in metrics.jsonl and on the terminal, and the same for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model.artifacts.history import Epoch
from model.exceptions import TrainingError
from model.files import atomic_write

METRICS = "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run so far, one per epoch; none before the first epoch is finished.

    Damaged lines, such as those cut off by a full disk, are left out and counted in a message.
    """
    path = folder / METRICS
    lines = path.read_bytes().splitlines() if path.is_file() else []
    records = [record for record in map(_parse_record, lines) if record is not None]
    if len(records) < len(lines):
        tqdm.write(f"{len(lines) - len(records):,} of {len(lines):,} lines of {path} are damaged and left out")
    return records


def run_seconds(records: Sequence[dict[str, Any]]) -> float:
    """Seconds of training and validation up to the end of the last of these epochs."""
    return float(records[-1].get("run_seconds", 0)) if records else 0.0


def copy_metrics(source: Path, target: Path) -> list[dict[str, Any]]:
    """Replace the records of the run in `target` by those of the run in `source`, whose training it continues.

    Returns these records. Raises OSError.
    """
    records = read_metrics(source)
    with atomic_write(target / METRICS) as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    return records


def _parse_record(line: bytes) -> dict[str, Any] | None:
    """The record of a line if it has the fields of an epoch; None if the line is damaged."""
    try:
        Epoch.model_validate_json(line)  # also fails for JSON that isn't an object
        return dict(json.loads(line))
    except ValueError:
        return None


class MetricsLog:
    """Writes the records of one run. Records after `epochs` are removed, since the run is resumed from there.

    Raises TrainingError if that can't be done. If a later write fails, as on a full disk, a warning is logged: that
    must cost neither the run nor its network.
    """

    def __init__(self, folder: Path, epochs: int = 0) -> None:
        self.folder = folder
        kept = [record for record in read_metrics(folder) if record["epoch"] <= epochs]
        try:
            if kept or (folder / METRICS).is_file():
                with atomic_write(folder / METRICS) as file:
                    file.writelines(json.dumps(record) + "\n" for record in kept)
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=epochs + 1)
        except OSError as error:
            raise TrainingError(
                f"cannot write the logs in {folder}: {error.strerror}; fix that, then run the command again"
            ) from error

    def write(self, record: dict[str, Any]) -> None:
        """Add one epoch's record: the fields of `model.artifacts.history.Epoch`, times and speed."""
        try:
            self._append(record)
        except OSError as error:
            tqdm.write(f"warning: cannot log epoch {record['epoch']} in {self.folder}: {error.strerror}")

    def _append(self, record: dict[str, Any]) -> None:
        path = self.folder / METRICS
        line_ended = not path.is_file() or path.read_bytes()[-1:] in (b"", b"\n")
        with path.open("a") as file:
            file.write(("" if line_ended else "\n") + json.dumps(record) + "\n")
        epoch = record["epoch"]
        for name, value in record.items():
            if name != "epoch":
                self.board.add_scalar(name.replace("_", "/", 1), value, epoch)
        self.board.flush()
        tqdm.write(
            f"epoch {epoch:3d}  learning rate {record['learning_rate']:<8g} train loss {record['train_loss']:.4f}  "
            f"validation loss {record['validation_loss']:.4f}  error {100 * record['validation_top1_error']:.2f} %  "
            f"{record['images_per_second']:.0f} images/s  data stall {100 * record['data_stall']:.0f} %"
        )

    def close(self) -> None:
        """Write what TensorBoard's writer still buffers, and close it."""
        try:
            self.board.close()
        except OSError as error:
            tqdm.write(f"warning: cannot write the end of the logs in {self.folder}: {error.strerror}")
