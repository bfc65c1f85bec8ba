"""The access log: one line per request, as JSON and as text."""

from __future__ import annotations

import json
import logging
import re

import pytest
from starlette.testclient import TestClient
from starlette.types import Scope

from server.middleware.access_log import level_of_request, log_request
from server.observability.log_output import make_formatter


def test_one_line_per_request(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.middleware.access_log")
    response = client.post("/classify", content=b"no image")
    (record,) = [record for record in caplog.records if record.name == "server.middleware.access_log"]
    line = json.loads(make_formatter("json").format(record))
    assert line["request_id"] == response.headers["x-request-id"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/classify", 415)
    assert (line["code"], line["level"]) == ("unsupported_image", "INFO")
    assert line["total_ms"] > 0
    assert line["time"]
    text = make_formatter("text").format(record)
    assert text.startswith("INFO request method=POST path=/classify status=415 code=unsupported_image ")


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/images/17/thumbnail", "/live", "/metrics", "/docs"])
def test_what_is_routine_is_for_debugging(path: str) -> None:
    assert level_of_request("GET", path, 200) == logging.DEBUG
    assert level_of_request("GET", path, 304) == logging.DEBUG
    assert level_of_request("GET", path, 404) == logging.INFO
    assert level_of_request("POST", path, 200) == logging.INFO
    assert level_of_request("GET", path, 500) == logging.ERROR


@pytest.mark.parametrize("path", ["/images/17", "/images/17/image", "/images", "/info", "/pages", "/v2/models/a"])
def test_other_requests_are_logged(path: str) -> None:
    assert level_of_request("GET", path, 200) == logging.INFO


def test_the_page_behind_a_prefix_is_routine(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.middleware.access_log")
    for path in ("/page/app.js", "/live", "/labels"):
        assert client.get(path, headers={"X-Forwarded-Prefix": "/vision"}).status_code == 200
    assert [record.getMessage().split()[2] for record in caplog.records] == ["path=/labels"]


def not_found(path: str) -> Scope:
    """The scope of a request for an address that doesn't exist."""
    return {"path": path, "error_code": "not_found", "request_id": "7", "trace_id": ""}


def test_a_path_with_a_line_break_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.middleware.access_log")
    log_request(not_found("/a\nINFO forged"), "GET", 404, {"total": 0.001})
    for form in ("text", "json"):
        assert "\n" not in make_formatter(form).format(caplog.records[0])


@pytest.mark.parametrize(
    "path", ["/x status=200 code= forged", '/x" status=200', "/a\nINFO forged", "/\x1b[2J", "/\u2028x", "/é", ""]
)
def test_no_path_forges_a_field_or_a_line(caplog: pytest.LogCaptureFixture, path: str) -> None:
    caplog.set_level(logging.INFO, "server.middleware.access_log")
    log_request(not_found(path), "GET", 404, {"total": 0.001})
    text = make_formatter("text").format(caplog.records[0])
    fields = dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', text))
    assert (fields["status"], fields["code"], json.loads(fields["path"])) == ("404", "not_found", path)
    assert text.isprintable()
    assert json.loads(make_formatter("json").format(caplog.records[0]))["path"] == path


def test_a_head_of_a_file_of_the_page_is_routine() -> None:
    assert level_of_request("HEAD", "/page/app.js", 200) == level_of_request("GET", "/live", 200) == logging.DEBUG
    assert level_of_request("POST", "/live", 200) == level_of_request("HEAD", "/live", 404) == logging.INFO
