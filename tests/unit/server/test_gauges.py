"""Gauges: each is in `/metrics`, with its help text, and in the documentation."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from model.exceptions import IndexUnavailableError
from server.gauges import GAUGES, count_images

DOCUMENT = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("name", GAUGES)
def test_gauge(client: TestClient, name: str) -> None:
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    family = families[f"alexnet_{name}"]
    assert (family.type, family.documentation) == ("gauge", GAUGES[name].help)
    assert family.samples[0].value >= 0
    assert f"`alexnet_{name}`" in DOCUMENT


def test_a_database_that_does_not_answer_has_no_number_of_images() -> None:
    class Down:
        def __len__(self) -> int:
            raise IndexUnavailableError("down")

    assert math.isnan(count_images(SimpleNamespace(current=SimpleNamespace(index=Down()))))  # type: ignore[arg-type]
