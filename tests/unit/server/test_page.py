"""The page's files are read as UTF-8, whatever the system's encoding."""

from __future__ import annotations

import os
import subprocess
import sys

SHOW = """
from starlette.requests import Request
from server.page import show_not_found
print(ascii(show_not_found(Request({"type": "http", "headers": []})).body.decode()))
"""


def test_the_system_has_another_encoding() -> None:
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shown = subprocess.run([sys.executable, "-c", SHOW], env=environment, check=True, capture_output=True, text=True)
    assert r"Not found \xb7 alexnet-server" in shown.stdout
