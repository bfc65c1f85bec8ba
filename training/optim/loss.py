"""The loss of training: cross-entropy, with the options that a recipe may have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


class Targets(NamedTuple):
    """The training targets of N images.

    `classes` (N,). `partners` (N,) and `shares` (N,): the classes of the images that were mixed in, and the share of
    the image itself; None without mixing. `excluded` (N, classes) bool: classes that don't compete for an image.
    """

    classes: Tensor
    partners: Tensor | None = None
    shares: Tensor | None = None
    excluded: Tensor | None = None


def training_loss(
    logits: Tensor, targets: Targets, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """The sum of the images' cross-entropy.

    `label_smoothing`: share of a target that is spread evenly over the classes that compete. `class_weights`
    (classes,): how much an image of each class counts. They weigh images. PyTorch's class weights weigh the shares of a
    smoothed target, so that a rare class's share of every other image's target would count more than the image's own
    class.
    """
    if targets.partners is None and targets.excluded is None:
        if class_weights is None:
            return F.cross_entropy(logits, targets.classes, reduction="sum", label_smoothing=label_smoothing)
        losses = F.cross_entropy(logits, targets.classes, reduction="none", label_smoothing=label_smoothing)
        return (class_weights[targets.classes] * losses).sum()
    excluded = torch.zeros_like(logits, dtype=torch.bool) if targets.excluded is None else targets.excluded
    log_probabilities = logits.masked_fill(excluded, -torch.inf).log_softmax(1).masked_fill(excluded, 0.0)
    competing = (~excluded).to(logits.dtype)
    mixed = _mixed(targets, logits)
    if class_weights is not None:
        mixed = mixed * class_weights
    target = label_smoothing * competing / competing.sum(1, keepdim=True) * mixed.sum(1, keepdim=True)
    target += (1 - label_smoothing) * mixed
    return -(target * log_probabilities).sum()


def _mixed(targets: Targets, logits: Tensor) -> Tensor:
    """(N, classes): 1 for the class of an image, or its share and that of its partner."""
    own = F.one_hot(targets.classes, logits.shape[1]).to(logits.dtype)
    if targets.partners is None or targets.shares is None:
        return own
    share = targets.shares.to(logits.dtype)[:, None]
    return share * own + (1 - share) * F.one_hot(targets.partners, logits.shape[1])


def balanced_class_weights(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """(num_classes,) weights in inverse proportion to the number of images; their mean over the images is 1."""
    counts = np.bincount(labels, minlength=num_classes)
    return len(labels) / (num_classes * np.maximum(counts, 1))


def chance_loss(
    labels: NDArray[np.int64],
    num_classes: int,
    label_smoothing: float = 0.0,
    class_weights: NDArray[np.float64] | None = None,
) -> float:
    """The mean training loss of the best constant prediction, without competition."""
    shares = np.bincount(labels, minlength=num_classes) / len(labels)
    if class_weights is not None:
        shares = shares * class_weights
    target = (1 - label_smoothing) * shares + label_smoothing * shares.sum() / num_classes
    target = target[target > 0]
    return float(-(target * np.log(target / target.sum())).sum())
