"""Request ids: a client's id is used if it is harmless, and written to the log and the errors."""

from __future__ import annotations

import logging

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from server.middleware.request_id import read_ids

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_clients_request_id_is_kept(client: TestClient) -> None:
    response = client.get("/nothing", headers={"X-Request-ID": "order-17.b_2"})
    assert response.headers["x-request-id"] == "order-17.b_2"
    assert response.json()["error"]["request_id"] == "order-17.b_2"


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "a\tb", "<script>", "\u00e9"])
def test_an_odd_request_id_is_replaced(client: TestClient, request_id: str) -> None:
    response = client.get("/live", headers={b"X-Request-ID": request_id.encode("latin-1")})
    assert len(response.headers["x-request-id"]) == 32
    assert response.headers["x-request-id"] != client.get("/live").headers["x-request-id"]


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [(f"00-{TRACE}-00f067aa0ba902b7-01", TRACE), ("00-xyz-00f067aa0ba902b7-01", None), (None, None)],
)
def test_the_trace_id_is_logged(
    client: TestClient, caplog: pytest.LogCaptureFixture, traceparent: str | None, trace_id: str | None
) -> None:
    caplog.set_level(logging.DEBUG, "server.middleware.access_log")
    client.get("/live", headers={} if traceparent is None else {"traceparent": traceparent})
    (record,) = [record for record in caplog.records if record.name == "server.middleware.access_log"]
    assert getattr(record, "trace_id", None) == trace_id


def test_the_longest_id() -> None:
    assert read_ids(Headers({"x-request-id": "a" * 128}))[0] == "a" * 128
    assert read_ids(Headers({"x-request-id": "a" * 129}))[0] != "a" * 129
