"""The application: the page, its security policy, and the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from model.exceptions import InvalidRequestError
from server.app import check_root_path
from server.page import WEB
from tests.helpers.errors import all_errors


def test_the_page_needs_no_other_host_and_is_small(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=", page.text)
    num_bytes = len(page.content)
    for file in WEB.iterdir():
        answer = client.get(f"/page/{file.name}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-cache"
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text), file.name
        assert len(answer.text.splitlines()) <= 200, file.name
        num_bytes += int(answer.headers["content-length"]) if file.name != "index.html" else 0
        assert answer.headers.get("content-encoding") == "gzip" or len(answer.content) < 500
    assert num_bytes < 60_000


def test_the_page_has_words_for_every_error_that_it_can_meet() -> None:
    texts = set(re.findall(r"^  (\w+): \(", (WEB / "error-texts.js").read_text(), re.MULTILINE))
    elsewhere = {
        "bad_request", "unsupported_operation", "unknown_model", "method_not_allowed", "reload_failed",
        "unsupported_encoding", "invalid_body", "invalid_header",
    }  # fmt: skip
    assert texts == {info.code for info in all_errors()} - elsewhere | {
        "unreachable",
        "unreadable_file",
        "unreadable_answer",
    }


def test_a_prefix_that_begins_like_an_address_is_refused(client: TestClient) -> None:
    """With the prefix /images, it would be unclear whether a proxy has removed it from a request for /images/1."""
    app: Any = client.app
    while not isinstance(app, FastAPI):  # inside the middleware
        app = app.app
    unlisted = {route.path for route in app.routes if hasattr(route, "path")} - {"/"}
    assert unlisted == {"/page", "/docs", "/openapi.json"}
    for path in ("/images", "/v2", *unlisted):
        for prefix in (path, f"{path}/vision"):
            with pytest.raises(InvalidRequestError, match=f"--root-path {prefix} begins like the server's own path"):
                check_root_path(prefix)
    for prefix in ("", "/vision", "/vision/images", "/image"):
        check_root_path(prefix)


def test_no_page_may_load_or_send_anywhere_else(client: TestClient) -> None:
    for path in ("/", "/page/app.js", "/images/1/thumbnail", "/nothing"):
        policy = dict(
            part.split(maxsplit=1) for part in client.get(path).headers["content-security-policy"].split("; ")
        )
        assert policy == {
            "default-src": "'self'", "img-src": "'self' blob:", "object-src": "'none'", "base-uri": "'none'",
            "form-action": "'none'", "frame-ancestors": "'none'",
        }  # fmt: skip


def test_openapi_describes_every_call(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, method in {"/classify": "post", "/similar": "post", "/images/{image_id}": "get"}.items():
        operation = document["paths"][path][method]
        assert operation["summary"]
        assert "200" in operation["responses"]
    body = document["paths"]["/classify"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json", "image/*", "application/octet-stream"}
    answers = document["paths"]["/classify"]["post"]["responses"]
    assert set(answers) == {"200", "401", "403", "408", "413", "415", "422", "429", "500", "503", "504"}
    for status in ("413", "415", "422", "503"):
        assert answers[status]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorResponse")
    assert document["components"]["schemas"]["Prediction"]["properties"]["name"]["examples"]
