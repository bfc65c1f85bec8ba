"""`RunDirectory`: the folder of one run, with its lock, configuration, split, checkpoint and metrics."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout
from pydantic import ValidationError

from model.artifacts.artifact import MANIFEST, Artifact
from model.artifacts.writer import utc_now
from model.exceptions import TrainingError
from model.files import atomic_write
from model.plurals import count_of
from model.shell_command import option_name
from training.config import Environment, TrainConfig
from training.data.datasets import Dataset, split_rows
from training.data.folders import write_table
from training.loop.checkpoint_file import previous_path, read_checkpoint, read_latest_checkpoint, write_checkpoint

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from training.loop.checkpoint_state import CheckpointState

CONFIG, CHECKPOINT, BEST, SPLIT, ARTIFACT = "config.json", "checkpoint.pt", "best.pt", "split.csv", "artifact.txt"


class RunDirectory:
    """The folder of one run:

        config.json       the run's configuration (`training.config.TrainConfig`)
        split.csv         its images by split, with split.info.json; `--data` accepts it
        checkpoint.pt     weights, momenta, schedule and position, to resume from, and checkpoint.previous.pt, the one
                          before (`training.loop.checkpoint_file`); removed when the run is finished
        best.pt           weights of the epoch with the lowest validation error, if they are to be published
        metrics.jsonl     one line per epoch, and tensorboard/ (`training.loop.metrics`)
        report.html       the report for people (`training.publish.report`)
        artifact.txt      where its artifact is, once it is finished
        lock              held by the process that works on the run, while this context is entered

    Files are replaced as a whole or stay as they were.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / "lock", blocking=False)

    def __enter__(self) -> RunDirectory:
        """Create the folder if necessary, and lock it. Raises TrainingError if another process has locked it."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:  # such as the workers of a killed torchrun, which live on for a while
            raise TrainingError(f"another process is working on the run in {self.path}: wait until it ends") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def read_config(self) -> TrainConfig:
        """The configuration that the run was started with. Raises TrainingError.

        Its relative folders are below the folder in which it was started, whatever the working directory is now.
        """
        try:
            config = TrainConfig.from_json((self.path / CONFIG).read_bytes())
        except OSError as error:
            everywhere = " (every machine needs it)" if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1 else ""
            raise TrainingError(f"no run at {self.path}: it has no {CONFIG}{everywhere}") from error
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(key) for key in problem["loc"]) or "top level"
            raise TrainingError(
                f"{self.path / CONFIG} is not valid in this version: {place}: {problem['msg']}"
            ) from error
        except ValueError as error:
            raise TrainingError(f"{self.path / CONFIG} is damaged: it isn't valid JSON ({error})") from error
        return replace(config, environment=self._located(config.environment))

    def _located(self, environment: Environment) -> Environment:
        """`environment` with absolute folders if the run is read from another folder than it was started in.

        A run that was moved out of its folder of runs keeps them as they are.
        """
        runs, parent = environment.runs_folder, self.path.resolve().parent
        if runs.is_absolute() or runs.resolve() == parent or parent.parts[-len(runs.parts) :] != runs.parts:
            return environment
        started_in = parent.parents[len(runs.parts) - 1]
        others = {name: getattr(environment, name) for name in ("artifacts", "runs", "cache")}
        given = {name: started_in / folder for name, folder in others.items() if folder is not None}
        return replace(environment, home=started_in / environment.home, **given)

    def write_config(self, config: TrainConfig) -> None:
        """Raises TrainingError."""
        self._write(CONFIG, config.to_json().encode())

    def check_split(self, dataset: Dataset) -> None:
        """Raise TrainingError if the run had another split."""
        path = self.path / SPLIT
        before = path.read_bytes().decode("utf-8", "surrogateescape") if path.is_file() else None
        if before is None:
            return
        rows, now = split_rows(before), split_rows(dataset.split_csv())
        if rows != now:
            raise TrainingError(
                f"{_difference(rows, now)} since this run began, and a run can't change its split: "
                f"resume it with --data {shlex.quote(str(path))}, which lists its own images, or start a new run"
            )

    def claim(self, config: TrainConfig, dataset: Dataset, resumed: bool) -> None:
        """Write configuration and split. Raises TrainingError if they can't be written."""
        path = self.path / SPLIT
        if resumed and self.artifact() is not None and self.read_config().recipe != config.recipe:
            (self.path / ARTIFACT).unlink()  # it was made longer, and is no longer finished
        self.write_config(config)
        try:
            write_table(dataset, path)
        except OSError as error:
            raise TrainingError(f"cannot write {path}: {error.strerror}") from error

    def save_checkpoint(self, state: CheckpointState) -> None:
        """Write `state`; the previous file stays until this one is complete.

        Raises TrainingError if it can't be written; the previous file is then unchanged.
        """
        self._save(CHECKPOINT, state)

    def save_best(self, state: dict[str, Any]) -> None:
        """Write the weights of the best epoch so far, as `save_checkpoint` does. Raises TrainingError."""
        self._save(BEST, state)

    def _save(self, name: str, state: Mapping[str, object]) -> None:
        before = "the previous one is kept" if (self.path / name).is_file() else "there is no previous one"
        with self._named_errors(name, before):
            write_checkpoint(self.path / name, state, keep_previous=name == CHECKPOINT)

    def load_checkpoint(self) -> CheckpointState:
        """The run's checkpoint; if it is damaged or missing, the previous one, with a message. Raises TrainingError."""
        path = self.path / CHECKPOINT
        if not path.is_file() and not previous_path(path).is_file():
            raise TrainingError(f"no checkpoint at {path}: the run can't be resumed")
        return cast("CheckpointState", read_latest_checkpoint(path))

    def require_best(self) -> Path:
        """The file that `save_best` wrote last. Raises TrainingError if there is none."""
        path = self.path / BEST
        if not path.is_file():
            raise TrainingError(
                f"no best-epoch weights at {path}: the run wasn't started with --publish best, or they couldn't "
                "be written; --finish RUN --publish last publishes the last epoch"
            )
        return path

    def load_best(self) -> dict[str, Any]:
        """What `save_best` wrote last. Raises TrainingError."""
        return read_checkpoint(self.require_best())

    def best_epoch(self) -> int | None:
        """The epoch of `load_best`; None if there are no such weights. Raises TrainingError if they are damaged."""
        return int(self.load_best()["epoch"]) if (self.path / BEST).is_file() else None

    def artifact(self) -> Path | None:
        """The artifact of a finished run, if it still exists."""
        file = self.path / ARTIFACT
        if not file.is_file():
            return None
        path = Path(os.fsdecode(file.read_bytes()).removesuffix("\n"))
        return path if (path / MANIFEST).is_file() else None

    def write_artifact(self, artifact: Artifact) -> None:
        """Note where the artifact of the finished run is. Raises TrainingError."""
        self._write(ARTIFACT, os.fsencode(artifact.path.absolute()) + b"\n")

    def remove_checkpoints(self) -> None:
        """Remove the checkpoint and the best epoch's weights of a finished run: its artifact has them."""
        for name in (CHECKPOINT, BEST):
            (self.path / name).unlink(missing_ok=True)
        previous_path(self.path / CHECKPOINT).unlink(missing_ok=True)

    def _write(self, name: str, content: bytes) -> None:
        with self._named_errors(name, "nothing was changed"), atomic_write(self.path / name, "wb") as file:
            file.write(content)

    @contextmanager
    def _named_errors(self, name: str, before: str) -> Iterator[None]:
        """Turn errors of writing a file into TrainingErrors. `before`: what has become of the previous file."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
            reason = error.strerror if isinstance(error, OSError) else "the file could not be written"
            raise TrainingError(f"cannot write {self.path / name}: {reason}; {before}") from error


def _difference(before: list[tuple[str, ...]], now: list[tuple[str, ...]]) -> str:
    """How two splits differ, given their rows: "2 images (such as cat.jpg) were added"."""
    old, new = ({row[:2] for row in rows} for rows in (before, now))  # file names and labels
    changes = [
        f"{count_of(len(files), 'image')} (such as {min(files)[0]}) {'was' if len(files) == 1 else 'were'} {verb}"
        for verb, files in (("added", new - old), ("removed", old - new))
        if files
    ]
    return " and ".join(changes) or "the splits or groups of the images have changed"


def create_run_folder(runs: Path, name: str) -> Path:
    """Create the folder of a new run, NAME-DATE-TIME in `runs`, with a number at the end if another run of this name
    began in the same second. Raises OSError."""
    runs.mkdir(parents=True, exist_ok=True)
    first = folder = runs / f"{name}-{utc_now():%Y%m%d-%H%M%S}"
    for number in count(2):
        try:
            folder.mkdir()
        except FileExistsError:
            folder = first.with_name(f"{first.name}-{number}")
        else:
            break
    return folder


def resume_config(
    folder: Path, environment: Environment, given: set[str], epochs: int | None = None, minutes: float | None = None
) -> TrainConfig:
    """The configuration of the run in `folder`, with the fields of `environment` that were `given`.

    `given`: names of all options besides `--resume`. `epochs`, `minutes`: a new length of the run, to which its
    schedule adapts. Raises TrainingError if other options were given, or if the run is finished, unless it
    gets a new length and has kept its checkpoint.
    """
    fixed = sorted(given - (set(Environment.__dataclass_fields__) - {"find_rate"}) - {"epochs", "minutes"})
    if fixed:
        options = ", ".join(map(option_name, fixed))
        raise TrainingError(f"{options} cannot be combined with --resume: the run is resumed as it was started")
    if epochs == 0:
        raise TrainingError("--epochs 0 is for a new run: --finish RUN publishes this one as it is")
    run = RunDirectory(folder)
    config = run.read_config()
    recipe = config.recipe if epochs is None else config.recipe.with_epochs(epochs)
    recipe = recipe if minutes is None else recipe.with_minutes(minutes)
    if (artifact := run.artifact()) is not None:
        if recipe == config.recipe:
            raise TrainingError(
                f"this run is finished: its artifact is {artifact}; --epochs or --minutes extends it, if it was "
                "trained with --keep-checkpoint"
            )
        if not (folder / CHECKPOINT).is_file():
            raise TrainingError(
                f"this run is finished and kept no checkpoint: start a new one with --init-from {artifact}"
            )
    changes = {name: getattr(environment, name) for name in given & set(Environment.__dataclass_fields__)}
    return replace(config, recipe=recipe, environment=replace(config.environment, **changes))
