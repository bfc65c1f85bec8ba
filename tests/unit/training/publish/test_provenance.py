"""Where a result comes from."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from training.publish import provenance
from training.publish.provenance import SOURCE, commit


def make_repository(root: Path, source: Path) -> str:
    """Make a repository in `root` with one commit, of a copy of this program's file at `source`; return the commit."""
    source.parent.mkdir(parents=True)
    shutil.copyfile(provenance.__file__, source)
    who = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    for arguments in (("init",), ("add", "-f", str(source)), (*who, "commit", "-m", "one")):
        subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)
    described = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    return described.stdout[:12]


def test_the_commit_of_this_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_repository(tmp_path, tmp_path / SOURCE)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / SOURCE))
    assert commit() == made
    (tmp_path / SOURCE).write_text("changed")
    assert commit() == f"{made}+"


@pytest.mark.parametrize("is_tracked", [True, False])
def test_another_repository_s_commit_is_not_this_program_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_tracked: bool
) -> None:
    """As if the environment were in a folder of the user's own project."""
    installed = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages" / SOURCE
    make_repository(tmp_path, installed if is_tracked else tmp_path / "own" / "program.py")
    if not is_tracked:
        installed.parent.mkdir(parents=True)
        shutil.copyfile(provenance.__file__, installed)
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert commit() == f"version {version('alexnet-server')}"
