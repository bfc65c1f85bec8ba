"""Conflicting packages and folders are named before anything is imported from them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet import installation
from alexnet.installation import InstallationError, check_installation

ROOT = Path(__file__).parents[3]


def make_distribution(site: Path, name: str, files: dict[str, str]) -> None:
    """Write a distribution as an installer leaves it: its files, and a folder that lists their checksums and sizes."""
    rows = []
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
        rows.append(f"{path},sha256={hashlib.sha256(text.encode()).hexdigest()},{len(text)}")
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,"]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, first on Python's path, from which alexnet-server seems to run."""
    folders = ("alexnet", *installation.PACKAGES)
    files = {f"{folder}/{name}.py": f'"""{folder}"""' for folder in folders for name in ("__init__", "run")}
    make_distribution(tmp_path, "alexnet-server", files)
    monkeypatch.setattr(installation, "ROOT", tmp_path.resolve())
    monkeypatch.syspath_prepend(tmp_path)
    for name in installation.PACKAGES:
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
    return tmp_path


def test_this_installation_is_whole(site: Path) -> None:
    check_installation()
    (site / "server" / "__init__.py").write_text("changed by its user")
    check_installation()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("onnxruntime", "onnxruntime-gpu"), "onnxruntime and onnxruntime-gpu are both installed and overwrite"),
        (
            ("faiss-cpu", "faiss-gpu"),
            "faiss-cpu and faiss-gpu are both installed .* new environment with only one of them",
        ),
    ],
)
def test_a_mixture_of_cpu_and_gpu_is_refused(site: Path, names: tuple[str, ...], message: str) -> None:
    for name in names:
        make_distribution(site, name, {})
    with pytest.raises(InstallationError, match=message):
        check_installation()


def test_what_is_left_of_an_uninstalled_runtime_is_refused(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(installation.RUNTIMES, "left_over", ("onnxruntime",))
    (site / "left_over").mkdir()
    with pytest.raises(InstallationError, match=r"left_over is missing or incomplete: pip install .* onnxruntime$"):
        check_installation()


def test_files_that_another_distribution_has_overwritten(site: Path) -> None:
    acme = {"server/__init__.py": "print('acme')", "server/run.py": "another", "server/acme.py": ""}
    make_distribution(site, "acme", acme)
    with pytest.raises(InstallationError, match=r"^acme has overwritten server/__init__.py .* in its own environment"):
        check_installation()


def test_files_that_were_deleted(site: Path) -> None:
    (site / "server" / "run.py").unlink()
    with pytest.raises(InstallationError, match=r"^server/run.py of alexnet-server is missing in .*; .*: reinstall"):
        check_installation()


def test_another_package_comes_first(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "model.py").touch()
    monkeypatch.syspath_prepend(other)
    with pytest.raises(InstallationError, match=r"model\.py shadows the package 'model' .* in its own environment"):
        check_installation()
    monkeypatch.chdir(other)
    with pytest.raises(
        InstallationError, match=r"model\.py shadows .*: run alexnet from another folder, or rename model\.py"
    ):
        check_installation()


def test_a_missing_package_is_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(site)])
    shutil.rmtree(site / "training")
    with pytest.raises(InstallationError, match="the package 'training' of alexnet-server is missing in"):
        check_installation()


@pytest.mark.parametrize("words", [["-m", "alexnet", "--help"], ["-m", "training.run"]], ids=lambda words: words[1])
def test_a_folder_beside_the_user_is_named_in_one_line(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "__init__.py").touch()
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    expected = (
        f"error: {tmp_path / 'model'} shadows the package 'model' of alexnet-server in {ROOT}: run alexnet from another"
    )
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1
