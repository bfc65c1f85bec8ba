"""The commands in messages install what `pyproject.toml` and `requirements-gpu.txt` say."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from alexnet import installation
from model.requirements import DISTRIBUTION, INSTALL_GPU, PACKAGES, install_extra, missing_package

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=; ]", requirement)[0] for requirement in requirements}


def test_the_package_has_its_name() -> None:
    assert PROJECT["name"] == DISTRIBUTION == installation.DISTRIBUTION


def test_each_extra_brings_its_packages() -> None:
    for package, extra in PACKAGES.values():
        assert package in names(PROJECT["optional-dependencies"][extra]), package
    assert missing_package("sklearn.svm") == f"scikit-learn is not installed: {install_extra('train')}"
    assert missing_package("numpy") is None
    assert missing_package(None) is None


def test_an_extra_is_added_by_the_program_that_made_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "pip").touch(mode=0o755)
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(bin_folder))
    assert install_extra("heic") == "pip install 'alexnet-server[heic]'"
    monkeypatch.setenv("PATH", "/nowhere")
    assert install_extra("heic") == f"{bin_folder}/pip install 'alexnet-server[heic]'"
    monkeypatch.setattr("model.requirements.find_spec", lambda name: None)
    assert install_extra("heic") == f"uv pip install --python {tmp_path} 'alexnet-server[heic]'"
    monkeypatch.setattr("sys.prefix", str(tmp_path / "archive-v0" / "x"))
    assert install_extra("heic") == "in the clone, uvx --from '.[heic]' alexnet ..."
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    (tmp_path / "pipx_metadata.json").touch()
    assert install_extra("heic") == "pipx runpip alexnet-server install 'alexnet-server[heic]'"


def test_packages_for_a_gpu_replace_those_for_the_cpu() -> None:
    lines = (ROOT / "requirements-gpu.txt").read_text().splitlines()
    uninstall, install = (shlex.split(command) for command in INSTALL_GPU.partition(", ")[2].split(" && "))
    assert install[2:] == [line for line in lines if not line.startswith("#")]
    assert set(uninstall[3:]) == {"onnxruntime", "faiss-cpu"} <= names(PROJECT["dependencies"])
    documented = "pip uninstall --yes onnxruntime faiss-cpu && pip install -r requirements-gpu.txt"
    documented = "pip uninstall --yes onnxruntime faiss-cpu && pip install -r requirements-gpu.txt"
    assert any(documented in line for line in lines)
