"""The description of a Milvus collection, which needs no Milvus to be written and read."""

from __future__ import annotations

import json

import pytest

from index.feature_space import FeatureSpace
from index.milvus.collection import describe, parse_description
from model.exceptions import IndexStoreError, InvalidRequestError

SPACE = FeatureSpace("a" * 64, (0, 4, 9), 64, "float32", "rgb-256-center-bilinear-3")
STORED = {
    "format": "4",
    "network_sha256": "a" * 64,
    "feature_dim": 64,
    "crops": [0, 4, 9],
    "image_contract": "rgb-256-center-bilinear-3",
}
"""Existing collections have this description, so it can't change without a new format."""


def test_a_description_is_read_back() -> None:
    assert json.loads(describe(SPACE)) == STORED
    assert parse_description(json.dumps(STORED), "milvus:a.db") == SPACE


def test_only_float32_can_be_described() -> None:
    with pytest.raises(InvalidRequestError, match="can only have float32 features, not float16"):
        describe(FeatureSpace("a" * 64, (4,), 64, "float16", "rgb-256-center-bilinear-3"))


@pytest.mark.parametrize(
    "change", [{"feature_dim": -5}, {"feature_dim": None}, {"crops": [77]}, {"crops": []}, {"crops": ["x"]}]
)
def test_a_damaged_description(change: dict[str, object]) -> None:
    with pytest.raises(IndexStoreError, match=r"the metadata of the index at milvus:a\.db is damaged"):
        parse_description(json.dumps(STORED | change), "milvus:a.db")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("", "was not made by `alexnet index add`"),
        ("[]", "was not made by `alexnet index add`"),
        ('{"format": "4", "crops": 4}', "was not made by `alexnet index add`"),
        ('{"format": "3"}', "has format 3, but only 4 is supported"),
        (json.dumps(STORED | {"image_contract": "raw"}), "isn't supported by this version"),
    ],
)
def test_a_description_of_something_else(description: str, message: str) -> None:
    with pytest.raises(IndexStoreError, match=message):
        parse_description(description, "milvus:a.db")
