"""Whether held-out images may be training images, judging by what a manifest says about the network's training."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.artifacts.bundled import BUNDLED
from model.artifacts.held_out import (
    BUNDLED_PHOTOS_SPLIT,
    check_splits,
    kept_splits,
    may_know_held_out,
    splits_of_ancestors,
    splits_of_descendants,
)

CATS = {"dataset": "cats", "split_sha256": "a"}


@pytest.mark.parametrize(
    ("ancestors", "kept", "expected"),
    [
        ([], [], False),
        ([["cats", "a"]], [], False),
        ([["cats", "b"]], [], True),
        ([["dogs", "b"]], [], False),
        ([["cats", "b"]], ["b"], False),
        ([["cats", "b"], ["cats", "c"]], ["b"], True),
        ([["cats", "b"], ["cats", "c"]], ["b", "c"], False),
        ([["dogs", "d"], ["cats", "b"]], [], True),
    ],
    ids=[
        "from scratch", "same split", "another split", "other images", "kept", "one of two kept", "both kept",
        "before one of other images",
    ],
)  # fmt: skip
def test_another_split_of_the_same_images_is_doubted(
    ancestors: list[list[str]], kept: list[str], expected: bool
) -> None:
    training = CATS | {"splits_of_ancestors": ancestors, "kept_splits": kept}
    assert may_know_held_out(training) is expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ({}, False),
        ({"start_dataset": "cats", "start_split_sha256": ""}, False),
        ({"start_dataset": "cats", "start_split_sha256": "a"}, False),
        ({"start_dataset": "cats", "start_split_sha256": "b"}, True),
        ({"start_dataset": "cats", "start_split_sha256": "b", "kept_split_sha256": "b"}, False),
        ({"start_dataset": "cats", "start_split_sha256": "several"}, True),
    ],
)
def test_manifests_of_earlier_releases_have_one_split(start: dict[str, str], expected: bool) -> None:
    assert may_know_held_out(CATS | start) is expected


def test_a_folder_called_photos_is_not_the_data_of_the_bundled_network() -> None:
    manifest = json.loads((BUNDLED / "photos" / "manifest.json").read_text())["training"]
    assert splits_of_descendants(manifest) == (("photos", BUNDLED_PHOTOS_SPLIT),)
    trained = {"dataset": "photos", "split_sha256": "a", "splits_of_ancestors": splits_of_descendants(manifest)}
    assert not may_know_held_out(trained)
    again = {"dataset": "photos", "split_sha256": "b", "splits_of_ancestors": splits_of_descendants(trained)}
    assert may_know_held_out(again)


def test_a_network_hands_on_its_splits() -> None:
    first: dict[str, Any] = CATS | {"splits_of_ancestors": [], "kept_splits": []}
    assert splits_of_descendants(first) == (("cats", "a"),)
    second = {"dataset": "dogs", "split_sha256": "d", "splits_of_ancestors": splits_of_descendants(first)}
    assert splits_of_descendants(second) == (("dogs", "d"), ("cats", "a"))
    third = CATS | {"splits_of_ancestors": splits_of_descendants(second)}
    assert splits_of_descendants(third) == (("cats", "a"), ("dogs", "d"))
    assert splits_of_ancestors({}) == splits_of_descendants({}) == ()
    assert kept_splits({}) == ()


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"splits_of_ancestors": 5}, "pairs of a name and a checksum"),
        ({"splits_of_ancestors": [["cats"]]}, "pairs of a name and a checksum"),
        ({"splits_of_ancestors": [["cats", 1]]}, "must be text"),
        ({"kept_splits": 5}, "kept_splits checksums"),
        ({"kept_splits": [["a"]]}, "must be text"),
        ({"dataset": ["cats"]}, "must be text"),
        ({"split_sha256": 5}, "must be text"),
    ],
)
def test_what_other_programs_wrote_is_checked(training: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_splits(training)


@pytest.mark.parametrize("training", [{}, {"dataset": None, "split_sha256": None}, CATS, {"start_dataset": "cats"}])
def test_splits_of_all_releases_pass(training: dict[str, Any]) -> None:
    check_splits(training)
