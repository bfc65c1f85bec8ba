"""schemathesis sends what the OpenAPI document allows, and what it doesn't, and checks the responses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from tests.helpers.server import served

KEY = "a-key-of-this-test-only"
EXCLUDED_CHECKS = "positive_data_acceptance,ensure_resource_availability,ignored_auth"
"""A body that the schema allows may be no image. An uploaded image has no file: its preview is 404, as documented. One
of two keys is enough: an empty bearer token beside a valid X-API-Key is accepted; test_security.py tests the rest."""


@pytest.mark.parametrize(
    ("examples", "phases"),
    [(1, "fuzzing"), pytest.param(200, "examples,coverage,fuzzing,stateful", marks=pytest.mark.slow)],
)
def test_schemathesis_finds_nothing(
    examples: int, phases: str, artifact: Artifact, index_path: Path, tmp_path: Path
) -> None:
    index = shutil.copytree(index_path, tmp_path / "index")  # schemathesis removes images, too
    environment = {"ALEXNET_INDEX": str(index), "ALEXNET_KEYS": f"admin:{KEY}"}
    with served(artifact, tmp_path, environment) as (url, _):
        command = [Path(sys.executable).parent / "schemathesis", "run", f"{url}/openapi.json", "--no-color"]
        command += ["--checks", "all", "--exclude-checks", EXCLUDED_CHECKS, "--max-examples", str(examples)]
        command += ["--phases", phases]
        command += ["-H", f"X-API-Key: {KEY}", "--seed", "1", "--request-timeout", "30"]
        result = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:]
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_only_a_search_may_have_no_body(client: TestClient) -> None:
    """It may name an indexed image instead."""
    paths = client.get("/openapi.json").json()["paths"]
    for path, required in (("/similar", False), ("/classify", True), ("/images", True)):
        body = paths[path]["post"]["requestBody"]
        assert body["required"] == required
        assert ("required" in body["content"]["multipart/form-data"]["schema"]) == required
