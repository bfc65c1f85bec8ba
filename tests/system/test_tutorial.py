"""Every command of the tutorial, in order, in one shell, as a reader would type them, on a few drawn images."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.documents import ROOT, shell_blocks

INSTALLING = "python3 -m venv"


@pytest.mark.slow
def test_the_tutorial_s_commands(few: Path, tmp_path: Path) -> None:
    blocks = shell_blocks(ROOT / "docs" / "tutorial.md")
    left_out = [block for block in blocks if INSTALLING in block]
    assert len(left_out) == 1  # it creates the environment, which is this one
    shutil.copytree(few, tmp_path / "images")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = "set -euo pipefail\n" + "".join(block for block in blocks if block not in left_out)
    done = subprocess.run(
        ["bash", "-c", script.replace(":8000", f":{port}")], cwd=tmp_path, text=True, capture_output=True, timeout=300,
        check=False, env=os.environ | {"HOME": str(tmp_path), "ALEXNET_PORT": str(port), "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    printed = [line.strip() for line in (done.stdout + done.stderr).replace("\r", "\n").splitlines()]
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    promised = "".join(re.findall(r"```text\n(?!images/)(.*?)```", tutorial, re.DOTALL))
    for start in re.findall(r"^ *([a-z][a-z -]+)", promised, re.MULTILINE):
        assert any(line.startswith(start) for line in printed), start
    assert '"predictions"' in done.stdout
    assert '"neighbors"' in done.stdout
    assert '"status":"added"' in done.stdout
    assert '{"label":"mine","images":1}' in done.stdout
    assert '"label":"circles"' in done.stdout
