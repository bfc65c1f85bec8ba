"""What stands in a run's folder besides checkpoint and log: its configuration, its split, and the lock on it."""

from __future__ import annotations

import fcntl

from model.exceptions import TrainingError
from training import config
from training.data import datasets
from training.data.folders import ABOUT
from training.loop.trainer import Trainer

SPLIT = "split.csv"


def write_down(trainer: Trainer, goes_on: bool) -> None:
    """The run's configuration and split, in its folder; a run that goes on must have the same split."""
    run, split = trainer.run, trainer.dataset.split_csv()
    run.mkdir(parents=True, exist_ok=True)
    lock = (run / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # such as the workers of a torchrun that was killed: they live on for a while
        lock.close()
        raise TrainingError(f"expected no other process at the run in {run}, found another that works on it") from None
    trainer.lock = lock
    before = (run / SPLIT).read_text() if goes_on and (run / SPLIT).is_file() else split
    if datasets.split_names(before) != datasets.split_names(split):
        raise TrainingError(f"expected the images of {run / SPLIT}, found other ones: a run can't change its split")
    config.save(run, trainer.config)
    config.replace_file(run / SPLIT, split)
    config.replace_file((run / SPLIT).with_suffix(ABOUT), trainer.dataset.account().model_dump_json(indent=1) + "\n")
