"""`make` with an older Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.documents import ROOT


def test_an_older_python_gets_one_sentence(tmp_path: Path) -> None:
    older = tmp_path / "python3"
    pretend = "import sys; sys.version_info = (3, 9, 2, 'final', 0); exec(sys.argv[-1])"
    older.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$@"\n')
    older.chmod(0o755)
    words = ["make", "--no-print-directory", f"PYTHON={older}", f"DEMO={tmp_path / 'environment'}", "demo"]
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}  # `make test` runs this
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    sentence, end = done.stderr.splitlines()
    assert sentence == f"alexnet-server needs Python 3.11 or newer, and {older} is 3.9: make PYTHON=python3.11"
    assert end.startswith("make: ***")
    assert not (tmp_path / "environment").exists()
