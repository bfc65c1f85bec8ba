"""A run's numbers: a line an epoch in metrics.jsonl and on the terminal, and the same for TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

METRICS = "metrics.jsonl"


def read(run: Path) -> list[dict[str, Any]]:
    """The records of the run so far, one an epoch; none before the first is over."""
    path = run / METRICS
    records = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except ValueError:  # a full disk cut it
            continue
    return records


class RunLog:
    """Writes the records of one run. Those after `epochs` are forgotten: the run goes on from there."""

    def __init__(self, run: Path, epochs: int = 0) -> None:
        self.run = run
        kept = [record for record in read(run) if record["epoch"] <= epochs]
        if kept or (run / METRICS).is_file():
            partial = run / f"{METRICS}.partial"
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept))
            os.replace(partial, run / METRICS)
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=epochs + 1)

    def write(self, record: dict[str, Any]) -> None:
        """Add one epoch's record (see `training.loop.trainer.Trainer.fit` for its fields)."""
        path = self.run / METRICS
        whole = not path.is_file() or path.read_bytes()[-1:] in (b"", b"\n")
        with path.open("a") as file:
            file.write(("" if whole else "\n") + json.dumps(record) + "\n")
        epoch = record["epoch"]
        for name, value in record.items():
            if name != "epoch":
                self.board.add_scalar(name.replace("_", "/", 1), value, epoch)
        self.board.flush()
        tqdm.write(
            f"epoch {epoch:3d}  rate {record['rate']:<8g} train loss {record['train_loss']:.4f}  "
            f"validation loss {record['validation_loss']:.4f}  error {100 * record['validation_top1_error']:.2f} %  "
            f"{record['images_per_second']:.0f} images/s  waited {100 * record['waited']:.0f} %"
        )

    def close(self) -> None:
        self.board.close()
