"""The training history in an artifact: history.json, from networks that were trained here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from model.artifacts.artifact import Artifact, read_json
from model.exceptions import ArtifactError

HISTORY = "history.json"
MAX_CONFUSION_CLASSES = 100
"""Largest confusion matrix that is kept."""


class Epoch(BaseModel):
    """One epoch; errors are fractions from 0 to 1, null if they weren't finite."""

    model_config = ConfigDict(frozen=True)
    epoch: int
    learning_rate: float
    train_loss: float | None
    train_top1_error: float | None
    validation_loss: float | None
    validation_top1_error: float | None


class TrainingHistory(BaseModel):
    """`confusion`: number of images of `split` by true class (row) and predicted class (column), in the order of
    the labels; empty if there are more than a hundred classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    epochs: list[Epoch]
    split: str
    confusion: list[list[int]]


def read_history(artifact: Artifact) -> TrainingHistory | None:
    """The history; None if the artifact has none. Raises ArtifactError."""
    if HISTORY not in artifact.manifest.files:
        return None
    try:
        return TrainingHistory.model_validate_json(read_json(artifact.path / HISTORY))
    except ValidationError as error:
        raise ArtifactError(f"{artifact.path / HISTORY} isn't a training history") from error
