"""Generated pages are what docs/generate.py writes now; recorded responses fit the OpenAPI document."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.helpers.documents import ROOT

DOCS = ROOT / "docs"
EXAMPLES: dict[str, Any] = json.loads((DOCS / "http_examples.json").read_text(encoding="utf-8"))


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = load_script("generate")
DOCUMENT = GENERATE.openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


def test_pages_are_current() -> None:
    for name, text in GENERATE.pages().items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"{name}: run `python docs/generate.py`"


def test_every_operation_has_an_example() -> None:
    assert set(EXAMPLES) == set(OPERATIONS), "run `python docs/record_http.py IMAGES`"


@pytest.fixture(scope="module")
def components() -> dict[str, Any]:
    """The schemas of the OpenAPI document, changed to forbid fields that they don't name."""
    components: dict[str, Any] = json.loads(json.dumps(DOCUMENT["components"]))
    for schema in components["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return components


@pytest.mark.parametrize("operation", [name for name in EXAMPLES if isinstance(EXAMPLES[name].get("response"), dict)])
def test_recorded_responses_fit_their_schema(operation: str, components: dict[str, Any]) -> None:
    example = EXAMPLES[operation]
    content = OPERATIONS[operation]["responses"][str(example["status"])].get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    Draft202012Validator(schema | {"components": components}).validate(example["response"])


def test_a_response_with_another_field_does_not_fit(components: dict[str, Any]) -> None:
    changed = EXAMPLES["POST /classify"]["response"] | {"more": 1}
    schema = {"$ref": "#/components/schemas/ClassifyResponse", "components": components}
    assert not Draft202012Validator(schema).is_valid(changed)
