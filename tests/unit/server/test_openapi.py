"""schemathesis asks what the OpenAPI document allows, and what it doesn't, and finds nothing wrong with the answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model.artifacts.artifact import Artifact
from tests.helpers.server import served

KEY = "a-key-of-this-test-only"
LEFT_OUT = "positive_data_acceptance,ensure_resource_availability"
"""What a schema allows is refused where it is no image: no schema can say what an image is. An image that was sent
has a thumbnail and no file: its square is 404, as documented."""


@pytest.mark.parametrize("examples", [10, pytest.param(1000, marks=pytest.mark.slow)])
def test_schemathesis_finds_nothing(examples: int, artifact: Artifact, index_path: Path, tmp_path: Path) -> None:
    environment = {"ALEXNET_INDEX": str(index_path), "ALEXNET_KEYS": f"admin:{KEY}"}
    with served(artifact, tmp_path, environment) as (url, _):
        command = [Path(sys.executable).parent / "schemathesis", "run", f"{url}/openapi.json", "--no-color"]
        command += ["--checks", "all", "--exclude-checks", LEFT_OUT, "--max-examples", str(examples)]
        command += ["-H", f"X-API-Key: {KEY}", "--seed", "1", "--request-timeout", "30"]
        found = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-6000:]
    assert "Traceback" not in (tmp_path / "log").read_text()
