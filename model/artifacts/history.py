"""How a network came about, for people to look at: an artifact's history.json, where training wrote one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError

HISTORY = "history.json"
MAX_CONFUSION_CLASSES = 100
"""Of a confusion matrix that a person could read."""


class Epoch(BaseModel):
    """One pass over the training images; errors are shares from 0 to 1, null where they were no numbers."""

    model_config = ConfigDict(frozen=True)
    epoch: int
    rate: float
    train_loss: float | None
    train_top1_error: float | None
    validation_loss: float | None
    validation_top1_error: float | None


class TrainingHistory(BaseModel):
    """`confusion`: images of the part `part`, a row a true class, a column the class named first, in the order of the
    labels; empty where there are more than a hundred classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    epochs: list[Epoch]
    part: str
    confusion: list[list[int]]


def read_history(artifact: Artifact) -> TrainingHistory | None:
    """None where the artifact has none. Raises ArtifactError."""
    if HISTORY not in artifact.manifest.files:
        return None
    try:
        return TrainingHistory.model_validate_json((artifact.path / HISTORY).read_bytes())
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"expected the history of a training in {HISTORY}, found another file") from error
