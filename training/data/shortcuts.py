"""Shortcuts: classes that traits of the file give away, without a look at the image.

If all images of one class come from another camera, web site or program, a network learns that instead of the class,
and fails elsewhere. A small decision tree predicts the class from width, height, format, compression, sharpness and
source alone. It is cross-validated and compared with always guessing the most frequent class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Label
from model.artifacts.intervals import Interval, wilson_interval
from training.data.traits import Traits

NUM_FOLDS = 5
MIN_LEAVES, MIN_LEAF_IMAGES = 32, 5
"""Maximum leaves of the tree, or one per class if there are more classes; and minimum images in each."""
MAX_IMAGES = 20_000
"""Images that the tree is grown on and tested with; more are sampled."""
MIN_IMAGES = 40
"""With fewer, chance explains what a tree finds."""
MIN_GAIN, MIN_TRAIT_GAIN = 0.5, 0.25
"""Share of the most frequent class's error that a tree with all traits, or with one of `FILE_TRAITS`, must avoid before
it is worth a warning. On the solar cells all avoid 21 % (two cell types: 36 %), on CIFAR-10 8 %; the 16 web sites that
`photos` was put together from are told apart by 57 %, by the width alone by 48 %."""
FILE_TRAITS = ("width", "height", "format", "source")
"""Traits that don't depend on what an image shows, unlike compression and sharpness."""
MIN_SEPARATION = dict.fromkeys(FILE_TRAITS, 0.8) | {"compression": 0.95, "sharpness": 0.95}
"""A class is named if the share of its images with a trait is larger than that of all others by at least this much."""
MIN_CLASS_IMAGES = 8
MAX_SOURCES = 50

Array = NDArray[np.float64]


class ClassShortcut(NamedTuple):
    """A trait that gives a class away: `share` of its images have it, and `share_of_others` of all others.

    `trait`: says what those images are, such as "are PNG" or "are wider than 640 pixels".
    """

    label: Label
    trait: str
    share: float
    share_of_others: float

    def __str__(self) -> str:
        return f"{_say(self.share)} of {self.label.name} {self.trait}, {_say(self.share_of_others)} of the others"


def _say(share: float) -> str:
    """A share in words; "all" and "none" are exact."""
    if share in (0, 1):
        return "all" if share else "none"
    percent = round(100 * share)
    return {0: "under 1 %", 100: "over 99 %"}.get(percent, f"{percent} %")


class Shortcuts(NamedTuple):
    """How well traits predict the class, by cross-validation on `num_images`.

    `accuracy`: of the tree with all traits. `by_trait`: of a tree with one of them. `majority`: accuracy of always
    guessing the most frequent class. `classes`: those that one trait gives away, the clearest first.
    """

    num_images: int
    accuracy: float
    majority: float
    by_trait: dict[str, float]
    classes: tuple[ClassShortcut, ...]

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the accuracy, by Wilson's method."""
        return wilson_interval(self.accuracy, self.num_images)

    def gain(self, accuracy: float) -> float:
        """The share of the majority's error that is avoided with this accuracy; 1: all of it."""
        return (accuracy - self.majority) / (1 - self.majority) if self.majority < 1 else 0.0

    @property
    def is_suspicious(self) -> bool:
        """Whether the traits predict so well that a network may learn them."""
        if self.classes:
            return True
        by_file = max(self.gain(self.by_trait.get(trait, 0.0)) for trait in FILE_TRAITS)
        enough = self.gain(self.accuracy) >= MIN_GAIN or by_file >= MIN_TRAIT_GAIN
        return enough and self.interval[0] > self.majority


def find_shortcuts(
    traits: Traits, labels: NDArray[np.int64], sources: Sequence[str], classes: Sequence[Label]
) -> Shortcuts | None:
    """What the traits (N,) of decoded images tell about their `labels` (N,); None if there are too few images.

    `sources`: where each image is from, "" if that isn't known.
    """
    if len(labels) < MIN_IMAGES:
        return None
    sample = np.sort(np.random.default_rng(0).permutation(len(labels))[:MAX_IMAGES])
    traits, labels, sources = traits[sample], labels[sample], [sources[place] for place in sample]
    folds = traits["digest"][:, 0] % NUM_FOLDS  # copies of an image are in one fold
    columns = _columns(traits, sources)
    everything = np.concatenate(list(columns.values()), 1)
    frequent = np.bincount(labels)
    return Shortcuts(
        num_images=len(labels),
        accuracy=_cross_validate(everything, labels, folds),
        majority=float(frequent.max() / len(labels)),
        by_trait={name: _cross_validate(values, labels, folds) for name, values in columns.items()},
        classes=_class_shortcuts(traits, labels, sources, classes),
    )


def can_use_sources(sources: Sequence[str], labels: NDArray[np.int64]) -> bool:
    """Whether sources can be compared with classes: at least one source must occur in several classes.

    Otherwise they are subclasses (`cat/siamese`, `dog/poodle`).
    """
    labels_of: dict[str, set[int]] = {}
    for source, label in zip(sources, labels.tolist(), strict=True):
        if source:
            labels_of.setdefault(source, set()).add(label)
    return any(len(numbers) > 1 for numbers in labels_of.values())


def _numbers(traits: Traits) -> dict[str, Array]:
    """The traits that are numbers, each (N,)."""
    width, height = traits["width"].astype(np.float64), traits["height"].astype(np.float64)
    return {
        "width": width,
        "height": height,
        "compression": traits["bytes"] / np.maximum(width * height, 1),
        "sharpness": traits["sharpness"].astype(np.float64),
    }


def _columns(traits: Traits, sources: Sequence[str]) -> dict[str, Array]:
    """Trait -> its columns (N, k) for the tree; a column for each format and for each of the most frequent sources."""
    columns = {name: values[:, None] for name, values in _numbers(traits).items()}
    columns["format"] = _one_hot(traits["format"])
    if any(sources):
        columns["source"] = _one_hot(np.array(sources))
    return columns


def _one_hot(values: NDArray[np.generic]) -> Array:
    names, counts = np.unique(values, return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")[:MAX_SOURCES]]
    columns: Array = (values[:, None] == frequent[None]).astype(np.float64)
    return columns


def _cross_validate(values: Array, labels: NDArray[np.int64], folds: NDArray[np.uint64]) -> float:
    """Accuracy over all folds, each predicted by a tree grown on the others."""
    from sklearn.tree import DecisionTreeClassifier

    correct = 0
    for fold in range(NUM_FOLDS):
        test = folds == fold
        if test.all() or not test.any():
            continue
        leaves = max(MIN_LEAVES, len(np.unique(labels)))
        tree = DecisionTreeClassifier(max_leaf_nodes=leaves, min_samples_leaf=MIN_LEAF_IMAGES, random_state=0)
        tree.fit(values[~test], labels[~test])
        correct += int((tree.predict(values[test]) == labels[test]).sum())
    return correct / len(labels)


def _class_shortcuts(
    traits: Traits, labels: NDArray[np.int64], sources: Sequence[str], classes: Sequence[Label]
) -> tuple[ClassShortcut, ...]:
    """For each class its clearest trait, if there is one."""
    values = {"format": (traits["format"].astype(str), "are {}"), "source": (np.array(sources), "are from {}")}
    numbers = [_Thresholds(name, column) for name, column in _numbers(traits).items()]
    shortcuts = list[ClassShortcut]()
    for position, label in enumerate(classes):
        inside = labels == position
        if not MIN_CLASS_IMAGES <= inside.sum() <= len(labels) - MIN_CLASS_IMAGES:
            continue
        candidates = [
            *((name, *_describe_mode(column, text, inside)) for name, (column, text) in values.items()),
            *((thresholds.name, *side) for thresholds in numbers for side in thresholds.best(inside)),
        ]
        clear = [
            ClassShortcut(label, text, share, share_of_others)
            for name, text, share, share_of_others in candidates
            if text and share - share_of_others >= MIN_SEPARATION[name]
        ]
        if clear:
            shortcuts.append(max(clear, key=_separation))
    return tuple(sorted(shortcuts, key=_separation, reverse=True))


def _separation(shortcut: ClassShortcut) -> float:
    return shortcut.share - shortcut.share_of_others


def _describe_mode(values: NDArray[np.str_], text: str, inside: NDArray[np.bool_]) -> tuple[str, float, float]:
    """The most frequent value of a class in words, with its shares in and outside it; "" if it is the empty one."""
    names, counts = np.unique(values[inside], return_counts=True)
    name = names[counts.argmax()]
    has = values == name
    return text.format(name) if name else "", float(has[inside].mean()), float(has[~inside].mean())


class _Thresholds:
    """The thresholds of one trait: the sorted `order` of its values (N,), and the `ends` of equal values in it."""

    TEXTS: ClassVar[dict[str, tuple[str, str]]] = {
        "width": ("are at most {:,.0f} pixels wide", "are more than {:,.0f} pixels wide"),
        "height": ("are at most {:,.0f} pixels high", "are more than {:,.0f} pixels high"),
        "compression": ("have at most {:.2f} bytes per pixel", "have more than {:.2f} bytes per pixel"),
        "sharpness": ("have a sharpness of at most {:.1f}", "have a sharpness of more than {:.1f}"),
    }

    def __init__(self, name: str, values: Array) -> None:
        self.name, self.values = name, values
        self.order = np.argsort(values, kind="stable")
        self.ends = np.flatnonzero(np.append(np.diff(values[self.order]) > 0, True))

    def best(self, inside: NDArray[np.bool_]) -> Iterator[tuple[str, float, float]]:
        """The best threshold in each direction in words, with the shares of the class and of the others on its side."""
        below = np.cumsum(inside[self.order])[self.ends] / inside.sum()
        others = np.cumsum(~inside[self.order])[self.ends] / (~inside).sum()
        at_most, more_than = self.TEXTS[self.name]
        low, high = int((below - others).argmax()), int((others - below).argmax())
        bounds = self.values[self.order[self.ends]]
        yield at_most.format(bounds[low]), float(below[low]), float(others[low])
        yield more_than.format(bounds[high]), float(1 - below[high]), float(1 - others[high])
