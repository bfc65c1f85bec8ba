"""JSON bodies: the limits of what is parsed, and what the parser refuses."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from model.exceptions import InvalidRequestError
from server.exceptions import InvalidBodyError
from server.request_body.json_body import MAX_NAMES, parse_json


@pytest.mark.parametrize(
    "values", [b"[0, 1]", b"[[0]]", b"[{}]", b'[{"b": 0}]'], ids=["comma", "list", "object", "name"]
)
def test_values_are_counted_by_their_separators(values: bytes) -> None:
    text = b'{"a": ' + values + b"}"
    assert parse_json(text, 3) == {"a": eval(values)}
    with pytest.raises(InvalidBodyError, match="more than 2 JSON values"):
        parse_json(text, 2)


def test_names_are_limited() -> None:
    names = ",".join(f'"{number}": 0' for number in range(MAX_NAMES))
    assert len(parse_json(f"{{{names}}}".encode(), MAX_NAMES + 1)) == MAX_NAMES
    with pytest.raises(InvalidBodyError, match="more than 10,000 names"):
        parse_json(f'{{{names}, "more": 0}}'.encode(), MAX_NAMES + 2)


@pytest.mark.parametrize(
    "text",
    [b"", b"nothing", b"[]", b"1", b'{"a": 0', b'{"a": "\xff"}', b'{"a": ' + b"1" * 5_000 + b"}", b"[" * 100_000],
    ids=["empty", "text", "list", "number", "cut", "Latin-1", "digits", "deep"],
)
def test_what_is_not_an_object_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidBodyError, match="the body is not a JSON object"):
        parse_json(text, 1_000_000)


def test_a_repeated_name_is_refused_at_any_depth() -> None:
    name = "x" * 100
    with pytest.raises(InvalidRequestError, match=f"^JSON field '{'x' * 80}' is repeated: send it once$"):
        parse_json(f'{{"a": [{{"{name}": 1, "{name}": 1}}]}}'.encode(), 10)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"label": "\xff"}', "the body is not JSON: it is not UTF-8"),
        (b'{"label": ' + b"[" * 30_000, "the JSON is nested too deeply"),
        (b'{"label": ' + b"1" * 5_000 + b"}", "the body has a number with too many digits"),
        (b'{"label": "a", "label": "b"}', "JSON field 'label' is repeated: send it once"),
    ],
    ids=["Latin-1", "deep", "digits", "repeated"],
)
def test_json_that_the_framework_parses(writable_client: TestClient, body: bytes, message: str) -> None:
    answer = writable_client.patch("/images/1", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["message"] == message
