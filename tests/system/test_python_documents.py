"""The Python blocks of the documents run as they are, on a small network."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from alexnet.classifier import Classifier
from model.artifacts.artifact import Artifact
from tests.helpers.documents import ROOT
from tests.helpers.server import served


def python_blocks(document: Path) -> str:
    """The Python of a document, as one program."""
    return "\n".join(re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL))


@pytest.fixture
def home(artifact: Artifact, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder, which is the working directory: a network, and images as the documents name them."""
    shutil.copytree(artifact.path, tmp_path / "artifacts" / "patterns" / "1")
    shutil.copytree(few, tmp_path / "images")
    for number, name in enumerate(("photo", "a", "b", "new")):
        shutil.copy(few / "checks" / f"{number:02}.jpg", tmp_path / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALEXNET_HOME", raising=False)
    return tmp_path


def test_the_python_api(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(python_blocks(ROOT / "docs" / "python.md"), "python.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "(33, 64) float32\n33 images\n0.00 checks " in printed
    assert printed.endswith("can't read missing.jpg: No such file or directory\n")


def test_the_python_client(
    home: Path, artifact: Artifact, index_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(index_path, home / "index")
    keys = {"ALEXNET_INDEX": str(home / "index"), "ALEXNET_KEYS": "write:a-key-for-the-tests"}
    with served(artifact, home, keys) as (address, _):
        text = python_blocks(ROOT / "docs" / "client.md").replace("http://127.0.0.1:8000", address)
        text = text.replace('"KEY"', '"a-key-for-the-tests"').replace('"cats"', '"checks"')
        text += "\nprint(len(asyncio.run(classify_many(['a.jpg', 'b.jpg']))))\n"
        exec(compile(text, "client.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "415 unsupported_image " in printed
    assert printed.endswith("\n2\n")


def test_the_onnx_file_without_this_program(home: Path, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It gives the program's predictions."""
    shutil.copy(few / "stripes" / "00.jpg", home / "image.jpg")
    (home / "artifacts" / "NAME").symlink_to(home / "artifacts" / "patterns")
    (home / "artifacts" / "patterns" / "VERSION").symlink_to(home / "artifacts" / "patterns" / "1")
    block = python_blocks(ROOT / "docs" / "training.md")
    assert "import model" not in block
    exec(compile(block, "training.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    said = Classifier("artifacts/patterns/1").classify("image.jpg", top=3).predictions
    assert [line.rpartition(":")[0] for line in printed] == [prediction.name for prediction in said]
    for line, prediction in zip(printed, said, strict=True):
        assert abs(float(line.split()[-2]) - 100 * prediction.probability) < 1
