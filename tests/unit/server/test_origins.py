"""Web pages of others: a server on one's own machine does nothing that they tell one's browser to do."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from server.app import create_app
from server.service import Service
from server.settings import Settings

KEY = "admin:0123456789abcdef"


@pytest.fixture(scope="module")
def asked(artifact: Artifact) -> TestClient:
    return TestClient(create_app(Service(Settings(artifact=artifact.path, cors_origins="https://a.example"))))


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),  # curl
        ({"Origin": "http://testserver"}, True),
        ({"Origin": "https://site.example", "Sec-Fetch-Site": "same-origin"}, True),  # a proxy changed the name
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://a.example", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://b.example", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "https://b.example"}, False),
        ({"Origin": "http://testserver:81"}, False),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "http://[", "Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_who_may_change_something(asked: TestClient, headers: dict[str, str], passes: bool) -> None:
    for method, path in (("POST", "/classify"), ("POST", "/images"), ("POST", "/v2/models/patterns/infer")):
        answer = asked.request(method, path, headers=headers)
        assert (answer.status_code != 403) == passes, (path, answer.text)
    assert asked.get("/info", headers=headers).status_code == 200  # which no other page can read
    assert asked.delete("/images/1", headers=headers).status_code == (404 if passes else 403)


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("localhost.", True),
        ("me.localhost", True),
        ("workstation", True),
        ("a.example", True),
        ("b.example:8000", False),
        ("127.0.0.1.b.example", False),
        ("[.b", False),
    ],
)
def test_names_that_lead_here(asked: TestClient, host: str, passes: bool) -> None:
    answer = asked.get("/info", headers={"Host": host})
    assert answer.status_code == (200 if passes else 403)
    if not passes:
        assert answer.json()["error"]["code"] == "foreign_page"


@pytest.mark.parametrize("settings", [{"cors_origins": "*"}, {"keys": KEY}])
def test_any_name_and_page_where_that_is_wanted(artifact: Artifact, settings: dict[str, str]) -> None:
    with TestClient(create_app(Service(Settings.model_validate({"artifact": artifact.path} | settings)))) as client:
        headers = {"Host": "images.example", "X-API-Key": KEY.partition(":")[2], "Origin": "http://b.example"}
        assert client.get("/info", headers=headers).status_code == 200
        assert client.post("/classify", headers=headers).status_code == 415  # nothing is no image
