"""The shell blocks of the documents, each in a folder of its own with a small network, its index and a few images.

Training commands get options that make them small; servers keep running while `curl` calls them; names that stand for
a reader's own are replaced. The tutorial is run as a whole, in test_tutorial.py.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.entries import NewEntry
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from tests.helpers.documents import DOCUMENTS, ROOT, shell_blocks
from tests.helpers.drawings import CLASSES, encode

ROWS = 400
SMALL = "--hidden 64 --epochs 1 --batch-size 10 --crops 1"
SHELL = f"""set -euo pipefail
shopt -s expand_aliases
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
small() {{
  case "$*" in
    *--resume*) "$@" ;;
    "command alexnet train"*|*training/run.py*) "$@" {SMALL} ;;
    *) "$@" ;;
  esac
}}
alexnet() {{ stop; small command alexnet "$@"; }}
python() {{ stop; small command python "$@"; }}
torchrun() {{ stop; small command torchrun "$@"; }}
curl() {{ [ -n "$server" ] || serve; command curl --silent --show-error --fail "$@"; }}
server=
stop() {{ [ -z "$server" ] || {{ kill $server; wait $server; server=; }}; }}
serve() {{
  stop
  command alexnet serve "$@" &
  server=$!
  until command curl --silent --fail $ALEXNET_READY; do kill -0 $server; sleep 0.1; done
}}
"""
STAND_FOR = {
    r"\.venv/bin/": "",
    r"alexnet serve": "serve",
    r"127\.0\.0\.1:8000": "127.0.0.1:$ALEXNET_PORT",
    r"~/(my-)?photos": "~/images",
    r"find photos": "find images/",
    r"\bphoto\.jpg": "image.jpg",
    r"\bphotos/": "images/",
    r"NAME/VERSION": "patterns/1",
    r"runs/NAME-DATE-TIME": "runs/patterns-1",
    r"\bNAME\b": "patterns",
    r"indexes/cats/": "indexes/patterns/",
    r"--label cat\b": "--label circles",
    r" /(images|photos)|(?<=--data )grocery": " ~/images",
    r"(?m)(codes train.*?)(?: --bits 256)?$": r"\1 --bits 32",  # from 64 features, not 4096
    r"(artifacts|indexes)/grocery": r"\1/patterns",
}
ELSEWHERE = {
    r"^make ": "continuous integration and contributors run them as they are",
    r"^kill -HUP": "tests/faults/test_swap.py",
    r"^(sudo|journalctl) ": "systemd runs them; its unit: tests/project/test_deployment.py",
    r"^docker |docker compose|^kubectl ": "what can be seen without them: tests/project/test_deployment.py",
    r"pip install|-m venv": "this environment is what they make",
    r"milvus": "tests/milvus",
    r"postgresql:": "tests/postgres",
    r"alexnet pull|--imagenet-val": "tests/system/test_pulled.py, from a server of its own",
    r"--node-rank": "tests/system/test_two_hosts.py",
    r"experiments[/.]|--baseline": "tests/system/test_experiments.py, quick",
    r"benchmarks[/.]": "each writes a result below docs/results",
    r"train --data (grocery|cifar10|elpv)|~/imagenet": "minutes to days of training",
    r"alexnet pack": "what it made: tests/unit/model/artifacts/test_packed_bundled.py",
    r"alexnet demo": "the page's demo takes minutes; tests/unit/alexnet/test_demo.py",
    r"^(uv|uvx|pipx) ": "they install, as pip does",
    r"https://example\.org": "another host; standard input: tests/unit/alexnet/cli/test_classify.py",
}


MINUTES = r"run\.py|alexnet (train|quantize|draw|evaluate|codes|index|export|classify|check|calibrate) "
MAX_SERVERS = 2
"""A block that runs `alexnet serve` more often takes a quarter of a minute, and is marked slow."""


def blocks() -> list[Any]:
    """The script of every block with something to run."""
    scripts = []
    for document in DOCUMENTS:
        for number, block in enumerate(shell_blocks(document) if document.name != "tutorial.md" else [], 1):
            lines = [re.sub(r"\s+#.*", "", line) for line in block.splitlines()]
            run = [line for line in lines if line and not any(re.search(words, line) for words in ELSEWHERE)]
            if run:
                script = "\n".join(run)
                is_slow = re.search(MINUTES, script) or script.count("alexnet serve") > MAX_SERVERS
                marks = [pytest.mark.slow] if is_slow else []
                scripts.append(pytest.param(script, id=f"{document.stem}-{number}", marks=marks))
    return scripts


def furnish(home: Path, script: str, artifact: Artifact, index: Path, images: Path) -> None:
    """Fill a reader's folder with what the script's lines name."""
    for name in ("images", "queries"):
        (home / name).symlink_to(images)
    for number, name in enumerate(("image", "a", "b")):
        shutil.copy(images / CLASSES[0] / f"{number:02}.jpg", home / f"{name}.jpg")
    (home / "c.jpg").write_bytes(encode(np.zeros((64, 64, 3), np.uint8)))  # the only one that isn't in the index
    for name in {"patterns", *re.findall(r"artifacts/([\w-]+)", script)}:
        shutil.copytree(artifact.path, home / "artifacts" / name / "1")
    shutil.copytree(index, home / "indexes" / "patterns" / "1")
    if "codes train" in script:  # it needs more images than are drawn
        with closing(FolderIndex(home / "indexes" / "patterns" / "1", writable=True)) as grown:
            thumbnail = encode(np.zeros((1, 1, 3), np.uint8))
            rows = np.random.default_rng(0).random((ROWS, grown.dim), np.float32)
            grown.add(rows, [NewEntry(f"{n:064x}", "drawn", None, "JPEG", 1, 1, thumbnail) for n in range(ROWS)])
    (run,) = (artifact.path.parents[2] / "runs").iterdir()
    shutil.copytree(run, home / "runs" / "patterns-1", ignore=shutil.ignore_patterns("artifact.txt"))  # as if stopped
    (home / "training").symlink_to(ROOT / "training")


@pytest.mark.parametrize("script", blocks())
def test_block(script: str, artifact: Artifact, index_path: Path, images: Path, tmp_path: Path) -> None:
    for words, meant in STAND_FOR.items():
        script = re.sub(words, meant, script)
    furnish(tmp_path, script, artifact, index_path, images)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    server = {"ALEXNET_PORT": str(port), "ALEXNET_READY": f"http://127.0.0.1:{port}/ready"}
    done = subprocess.run(
        ["bash", "-c", f"{SHELL}{script}\nstop\n"], cwd=tmp_path, text=True, capture_output=True, timeout=300,
        check=False, env=os.environ | places | server,
    )  # fmt: skip
    assert done.returncode == 0, script + done.stdout + done.stderr


def test_python_block_of_the_readme(
    artifact: Artifact, index_path: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    furnish(tmp_path, block, artifact, index_path, images)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALEXNET_HOME", raising=False)
    exec(block, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CLASSES) + 6
    assert lines[-6].split()[0] == "0.000"  # the image itself


def test_nothing_is_left_out_without_need() -> None:
    lines = "\n".join(line for document in DOCUMENTS for line in document.read_text().splitlines())
    assert all(re.search(words, lines, re.MULTILINE) for words in ELSEWHERE)
