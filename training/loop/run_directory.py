"""`RunDirectory`: the folder of one run, with its lock, configuration, split, checkpoint and metrics."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from filelock import FileLock, Timeout
from pydantic import ValidationError

from model.artifacts.artifact import MANIFEST, Artifact
from model.exceptions import TrainingError
from model.files import atomic_write
from training.config import Environment, TrainConfig
from training.data.datasets import Dataset, split_rows
from training.data.folders import write_table

CONFIG, CHECKPOINT, SPLIT, ARTIFACT = "config.json", "checkpoint.pt", "split.csv", "artifact.txt"
CHECKPOINT_FORMAT = 4


class RunDirectory:
    """The folder of one run:

        config.json       what the run was told (`training.config.TrainConfig`)
        split.csv         its images by split, with split.info.json; `--data` accepts it
        checkpoint.pt     weights, momenta, schedule and position, to resume from
        metrics.jsonl     one line per epoch, and tensorboard/ (`training.loop.metrics`)
        report.html       what a person wants to see of it (`training.publish.report`)
        artifact.txt      where its artifact is, once it is finished
        lock              held by the process that works on the run, as long as this is entered as a context

    Files are replaced as a whole or stay as they were.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / "lock", blocking=False)

    def __enter__(self) -> RunDirectory:
        """Lock the folder, which is created if necessary. Raises TrainingError if another process has locked it."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:  # such as the workers of a torchrun that was killed: they live on for a while
            raise TrainingError(f"another process is working on the run in {self.path}: wait until it ends") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def read_config(self) -> TrainConfig:
        """The configuration that the run was started with. Raises TrainingError."""
        try:
            return TrainConfig.from_json((self.path / CONFIG).read_bytes())
        except OSError as error:
            everywhere = " (every machine needs it)" if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1 else ""
            raise TrainingError(f"no run at {self.path}: it has no {CONFIG}{everywhere}") from error
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(key) for key in problem["loc"]) or "its beginning"
            raise TrainingError(
                f"{self.path / CONFIG} is not a configuration of this version: {place}: {problem['msg']}"
            ) from error

    def write_config(self, config: TrainConfig) -> None:
        """Raises TrainingError."""
        self._write(CONFIG, config.to_json().encode())

    def claim(self, config: TrainConfig, dataset: Dataset, resumed: bool) -> None:
        """Write configuration and split. Raises TrainingError if a resumed run had another split."""
        path = self.path / SPLIT
        if resumed and path.is_file() and split_rows(path.read_text()) != split_rows(dataset.split_csv()):
            raise TrainingError(f"the images differ from those in {path}: a run can't change its split")
        self.write_config(config)
        try:
            write_table(dataset, path)
        except OSError as error:
            raise TrainingError(f"cannot write {path}: {error.strerror}") from error

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write `state` (tensors and plain values); the previous file stays until this one is complete.

        Raises TrainingError if it can't be written, with the previous file as it was.
        """
        before = "the previous one is kept" if (self.path / CHECKPOINT).is_file() else "there is none yet"
        self._write(CHECKPOINT, {"format": CHECKPOINT_FORMAT, **state}, before)

    def load_checkpoint(self) -> dict[str, Any]:
        """The run's checkpoint; anything but tensors and plain values is refused. Raises TrainingError."""
        path = self.path / CHECKPOINT
        if not path.is_file():
            raise TrainingError(f"no checkpoint at {path}: the run can't be resumed")
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:
            raise TrainingError(f"the checkpoint at {path} is damaged") from error
        if state.get("format") != CHECKPOINT_FORMAT:
            raise TrainingError(f"the checkpoint at {path} was written by another version of this program")
        return state

    def artifact(self) -> Path | None:
        """The artifact of a finished run, if it still exists."""
        file = self.path / ARTIFACT
        if not file.is_file():
            return None
        path = Path(file.read_text(encoding="utf-8").rstrip("\n"))
        return path if (path / MANIFEST).is_file() else None

    def write_artifact(self, artifact: Artifact) -> None:
        """Note where the artifact of the finished run is. Raises TrainingError."""
        self._write(ARTIFACT, f"{artifact.path.absolute()}\n".encode())

    def _write(self, name: str, content: bytes | dict[str, Any], before: str = "nothing was changed") -> None:
        path = self.path / name
        try:
            with atomic_write(path, "wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    torch.save(content, file)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
            reason = error.strerror if isinstance(error, OSError) else "the file could not be written"
            raise TrainingError(f"cannot write {path}: {reason}; {before}") from error


def resume_config(folder: Path, environment: Environment, given: set[str]) -> TrainConfig:
    """The configuration of the run in `folder`, with the fields of `environment` that were `given`.

    `given`: names of all options beside `--resume`. Raises TrainingError if they aren't of the environment, or if the
    run is finished.
    """
    fixed = sorted(given - set(Environment.__dataclass_fields__))
    if fixed:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
        raise TrainingError(f"{options} cannot be combined with --resume: the run is resumed as it was started")
    run = RunDirectory(folder)
    config = run.read_config()
    if (artifact := run.artifact()) is not None:
        raise TrainingError(f"this run is finished: its artifact is {artifact}")
    changes = {name: getattr(environment, name) for name in given}
    return replace(config, environment=replace(config.environment, **changes))
