"""Whether held-out images may be training images, by what a manifest says of a network's training."""

from __future__ import annotations

import pytest

from model.artifacts.held_out import SEVERAL_SPLITS, may_know_held_out


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ({}, False),
        ({"start_dataset": "cats", "start_split_sha256": "a"}, False),
        ({"start_dataset": "cats", "start_split_sha256": "b"}, True),
        ({"start_dataset": "dogs", "start_split_sha256": "b"}, False),
        ({"start_dataset": "cats", "start_split_sha256": ""}, False),
        ({"start_dataset": "cats", "start_split_sha256": "b", "kept_split_sha256": "b"}, False),
        ({"start_dataset": "cats", "start_split_sha256": SEVERAL_SPLITS}, True),
    ],
    ids=["no start", "same split", "another split", "other images", "unknown", "kept", "several"],
)
def test_only_another_split_of_the_same_images_is_doubted(start: dict[str, str], expected: bool) -> None:
    assert may_know_held_out({"dataset": "cats", "split_sha256": "a"} | start) is expected
