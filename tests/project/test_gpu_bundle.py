"""Bundles for machines without a network: missing packages are collected, then assembled, checked, installed there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pip
import pytest

from benchmarks.gpu_bundle.__main__ import REPLACED, list_requirements
from benchmarks.gpu_bundle.pieces import PIECE_BYTES, write_bundle
from benchmarks.gpu_bundle.wheels import (
    BundleError,
    Target,
    build_wheel,
    collect_wheels,
    parse_packages,
    python_version,
    write_wheel,
)

ROOT = Path(__file__).parents[2]
FACTS = {"commit": "", "python": python_version(sys.executable), "replaced": [], "kept": []}
NO_NETWORK = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
"""pip's settings with an index that nothing serves."""


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, pip's only source."""
    folder = tmp_path / "collection"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    for name, version in (("small", "1.5"), ("present", "2.0")):
        write_wheel(folder, name, version, {})
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Two wheels and four files in pieces of 1,000 bytes."""
    wheels = [write_wheel(tmp_path, name, "1.0", {f"{name}.py": f"text = {name!r}\n"}) for name in ("small", "other")]
    data = tmp_path / "images"
    (data / "cats").mkdir(parents=True)
    (data / "cats" / "1.jpg").write_bytes(bytes(3000))
    (data / "empty").touch()
    (data / "link").symlink_to(data / "cats" / "1.jpg")
    (tmp_path / "notes.txt").write_text("of one file")
    write_bundle(tmp_path / "bundle", wheels, [data, tmp_path / "notes.txt"], FACTS, 1000)
    return Path(shutil.move(tmp_path / "bundle", tmp_path / "another machine"))


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of a new environment, which borrows this one's pip: installing another takes seconds."""
    venv.create(tmp_path / "venv")
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "pip").symlink_to(Path(pip.__file__).parent)
    return tmp_path / "venv" / "bin" / "python"


def run_script(bundle: Path, *options: str, python: Path = Path(sys.executable)) -> subprocess.CompletedProcess[str]:
    """Run the bundle's script outside the repository, with no index in reach."""
    return subprocess.run(
        [str(python), "-I", str(bundle / "install.py"), *options],
        cwd=bundle, env=os.environ | NO_NETWORK, capture_output=True, text=True, check=False,
    )  # fmt: skip


def names(wheels: list[Path]) -> list[str]:
    return [path.name for path in wheels]


def test_only_what_the_target_lacks_is_collected(collection: Path, tmp_path: Path) -> None:
    present = {"present": "2.1+cu130", "numpy": "2.4.6"}  # pip could download neither
    wheels = collect_wheels(["small>=1", "present>=2", "numpy"], Target(present, sys.executable), tmp_path / "new")
    assert names(wheels) == ["small-1.5-py3-none-any.whl"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names(wheels)


def test_a_version_that_does_not_fit_is_kept_or_upgraded_on_request(collection: Path, tmp_path: Path) -> None:
    requirements, present = ["small", "present==2.0"], {"present": "1.0"}
    with pytest.raises(BundleError, match="--upgrade NAME brings the required version; --keep"):
        collect_wheels(requirements, Target(present, sys.executable), tmp_path / "refused")
    kept = Target(present, sys.executable, kept=frozenset({"present"}))
    assert names(collect_wheels(requirements, kept, tmp_path / "kept")) == ["small-1.5-py3-none-any.whl"]
    upgraded = Target(present, sys.executable, upgraded=frozenset({"present"}))
    assert "present-2.0-py3-none-any.whl" in names(collect_wheels(requirements, upgraded, tmp_path / "upgraded"))
    with pytest.raises(BundleError, match="no requirement sets a minimum version of small"):
        collect_wheels(["small"], Target({}, sys.executable, kept=frozenset({"small"})), tmp_path / "none")


def test_packages_of_the_target_are_names_and_versions() -> None:
    assert parse_packages("# pip\nJinja2==3.1.6\ntorch==2.11.0+cu130\n") == {"jinja2": "3.1.6", "torch": "2.11.0+cu130"}
    with pytest.raises(BundleError, match="pip list --format=freeze"):
        parse_packages("torch @ file:///opt/torch.whl\n")


def test_what_is_asked_for_follows_the_requirements_for_a_gpu(tmp_path: Path) -> None:
    requirements = list_requirements(tmp_path / "a.whl", "train", frozenset({"faiss-gpu"}))
    assert any(line.startswith("onnxruntime-gpu[cuda,cudnn]") for line in requirements)
    assert not any(line.startswith("faiss") for line in requirements)
    with pytest.raises(BundleError, match=r"faiss-cuda isn't in requirements-gpu\.txt"):
        list_requirements(tmp_path / "a.whl", "train", frozenset({"faiss-cuda"}))
    lines = (ROOT / "requirements-gpu.txt").read_text().splitlines()
    assert all(any(line.startswith(name) for line in lines) for name in REPLACED)


def test_a_bundle_is_put_together_and_installed_offline(bundle: Path, python: Path, tmp_path: Path) -> None:
    done = run_script(bundle, python=python)
    assert done.returncode == 0, done.stdout + done.stderr
    unpacked = bundle / "unpacked"
    assert (unpacked / "data" / "images" / "cats" / "1.jpg").read_bytes() == bytes(3000)
    assert (unpacked / "data" / "images" / "empty").read_bytes() == b""
    assert (unpacked / "data" / "images" / "link").read_bytes() == bytes(3000)
    assert (unpacked / "data" / "notes.txt").read_text() == "of one file"
    code = "import small, other; print(small.text, other.text)"
    assert subprocess.check_output([python, "-I", "-c", code], text=True) == "small other\n"
    run_script(bundle, "--target", str(tmp_path / "site"))
    assert (tmp_path / "site" / "small.py").is_file()


def test_a_package_with_the_same_files_is_uninstalled(python: Path, tmp_path: Path) -> None:
    wheel, before = (
        write_wheel(tmp_path, "small-gpu", "1.0", {"small.py": ""}),
        write_wheel(tmp_path, "small", "1.0", {}),
    )
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", before], check=True)
    write_bundle(tmp_path / "bundle", [wheel], [], FACTS | {"replaced": ["small", "absent"], "kept": ["torch stays"]})
    done = run_script(tmp_path / "bundle", python=python)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pip uninstall --yes small\n" in done.stdout
    assert "torch stays\n" in done.stdout
    installed = subprocess.check_output([python, "-m", "pip", "list", "--format=freeze"], text=True).splitlines()
    assert [line for line in installed if line.startswith("small")] == ["small-gpu==1.0"]


def test_missing_and_damaged_pieces_are_named(bundle: Path) -> None:
    pieces = sorted(bundle.glob("piece-*"))
    assert len(pieces) > 8
    assert all(piece.stat().st_size <= 1000 for piece in pieces)
    assert run_script(bundle, "--check").returncode == 0
    content = pieces[3].read_bytes()
    pieces[3].write_bytes(bytes([content[0] ^ 1]) + content[1:])
    pieces[5].write_bytes(pieces[5].read_bytes()[:10])
    pieces[7].unlink()
    done = run_script(bundle)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "piece-0004 is damaged: its checksum differs",
        "piece-0006 is damaged: expected 1,000 bytes, got 10",
        "piece-0008 is missing",
        "error: nothing was installed: copy what is named above again",
    ]
    assert not (bundle / "unpacked").exists()


def test_a_damaged_manifest_and_another_python_are_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["content"]["python"] = "3.10"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert "manifest.json is damaged" in run_script(bundle).stderr
    (bundle / "manifest.json").unlink()
    assert "manifest.json is missing" in run_script(bundle).stderr


def test_wheels_for_another_python_are_not_installed(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "small", "1.0", {})
    write_bundle(tmp_path / "bundle", [wheel], [], FACTS | {"python": "3.10"})
    done = run_script(tmp_path / "bundle")
    assert done.returncode == 1
    assert "the wheels are for Python 3.10" in done.stderr
    assert run_script(tmp_path / "bundle", "--no-install").returncode == 0
    assert (tmp_path / "bundle" / "unpacked" / "wheels" / wheel.name).is_file()


def test_a_bundle_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "images").mkdir(parents=True)
    (tmp_path / "b" / "images").mkdir(parents=True)
    for data, message in (
        ([tmp_path / "nowhere"], "doesn't exist: correct --data"),
        ([tmp_path / "a" / "images", tmp_path / "b" / "images"], "two --data paths have the name images"),
    ):
        with pytest.raises(BundleError, match=message):
            write_bundle(tmp_path / "bundle", [], data, FACTS)
    with pytest.raises(BundleError, match="isn't empty"):
        write_bundle(tmp_path, [], [], FACTS)


@pytest.mark.slow
def test_this_program_is_bundled_and_installed(python: Path, tmp_path: Path) -> None:
    small = write_wheel(tmp_path, "small", "1.0", {"small.py": ""})
    with build_wheel(ROOT, sys.executable) as wheel:
        files = write_bundle(tmp_path / "bundle", [wheel, small], [ROOT / "README.md"], FACTS)
    assert sum(path.name.startswith("piece") for path in files) > 1
    assert all(path.stat().st_size <= PIECE_BYTES for path in files)
    moved = Path(shutil.move(tmp_path / "bundle", tmp_path / "another machine"))
    done = run_script(moved, python=python)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "requires numpy, which is not installed" in done.stdout
    code = "from alexnet.installation import check_installation; check_installation()"
    checked = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert "onnxruntime is missing or incomplete" in checked.stderr  # the program's own files are complete
