"""Data sets that come in an archive: checked before they are unpacked, unpacked once, and downloaded."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import shutil
import tarfile
import threading
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from model.exceptions import DatasetError
from model.files import exclusive_lock
from training.data.archives import Archive, load_named, unpack

SHARED = Path(__file__).parents[5] / "shared" / "data"
FILES = {"train/cat/0.jpg": b"a cat", "train/dog/0.jpg": b"a dog"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pets-main/README.md", "about")
        for name, content in files.items():
            archive.writestr(f"pets-main/{name}", content)
    return path


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in {"pets-main/README.md": b"about", **files}.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("./train/cat/1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    content = buffer.getvalue()
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix == ".xz":
        content = lzma.compress(content)
    path.write_bytes(content)
    return path


def pets(url: str = "file:///nothing") -> Archive:
    lines = sorted(f"{name}\t{len(content)}\t{zlib.crc32(content):08x}" for name, content in FILES.items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Archive(url, r"(?:^|/)(train/[a-z]+/[0-9]+\.jpg)$", digest)


def visible(home: Path) -> list[str]:
    """Names of all files but the lock, which stays."""
    return [path.name for path in home.iterdir() if path.name != ".pets.lock"]


@pytest.mark.parametrize(("flag", "value"), [(8, 1), (10, 99)])
def test_odd_flags_of_a_zip_file_are_refused_in_words(tmp_path: Path, flag: int, value: int) -> None:
    """An encrypted member, and a compression method that zipfile doesn't know."""
    file = packed(tmp_path / "pets.zip", FILES)
    content = bytearray(file.read_bytes())
    for number in range(3):
        place = [n for n in range(len(content)) if content.startswith(b"PK\x01\x02", n)][number]
        content[place + flag] = value
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=r"cannot read .*pets\.zip, which should be a zip or tar archive"):
        unpack("pets", pets(), file)


def test_unpacked_once(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = packed(tmp_path / "pets.zip", FILES)
    root = unpack("pets", pets(), file)
    assert root == home / "pets"
    assert {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.jpg")} == FILES
    assert not (root / "README.md").exists()
    file.unlink()
    capsys.readouterr()
    assert unpack("pets", pets(), None) == root
    assert capsys.readouterr().out == ""
    assert unpack("pets", pets(), file) == root
    assert f"pets is already unpacked in {root}, so {file} isn't read" in capsys.readouterr().out
    assert visible(home) == ["pets"]


@pytest.mark.parametrize("name", ["pets.tar", "pets.tar.gz", "pets.tar.xz"])
def test_unpacked_from_a_tar_archive(tmp_path: Path, home: Path, name: str) -> None:
    """Links in it are ignored, and its files are checked before any is written."""
    root = unpack("pets", pets(), tarred(tmp_path / name, FILES))
    assert {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()} == FILES
    shutil.rmtree(root)
    with pytest.raises(DatasetError, match="the checksum of its files doesn't match"):
        unpack("pets", pets(), tarred(tmp_path / name, FILES | {"train/dog/0.jpg": b"a fox"}))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 3])
    with pytest.raises(DatasetError, match=r"checksum of its files doesn't match|should be a zip or tar archive"):
        unpack("pets", pets(), tmp_path / name)
    assert visible(home) == []


def test_downloaded(tmp_path: Path) -> None:
    file = packed(tmp_path / "pets.zip", FILES)
    assert (unpack("pets", pets(file.as_uri()), None) / "train/cat/0.jpg").read_bytes() == b"a cat"


def test_no_network_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.download.RETRY_SECONDS", 0.0)
    with pytest.raises(DatasetError, match="download it elsewhere and pass it with --archive"):
        unpack("pets", pets(), None)
    assert visible(home) == []


def test_other_files_and_broken_ones_are_refused(tmp_path: Path, home: Path) -> None:
    with pytest.raises(DatasetError, match="the checksum of its files doesn't match"):
        unpack("pets", pets(), packed(tmp_path / "other.zip", FILES | {"train/dog/0.jpg": b"a fox"}))
    (tmp_path / "page.zip").write_text("<html>not found</html>")
    with pytest.raises(DatasetError, match="should be a zip or tar archive"):
        unpack("pets", pets(), tmp_path / "page.zip")
    damaged = bytearray(packed(tmp_path / "pets.zip", FILES).read_bytes())
    damaged[damaged.index(b"a cat")] ^= 1
    (tmp_path / "damaged.zip").write_bytes(damaged)
    with pytest.raises(DatasetError, match="Bad CRC"):
        unpack("pets", pets(), tmp_path / "damaged.zip")
    with pytest.raises(DatasetError, match=r"cannot read .*nope\.zip, .*: No such file or directory$"):
        unpack("pets", pets(), tmp_path / "nope.zip")
    assert visible(home) == []


def test_one_process_fetches_for_all(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second waits, says so, and finds the first one's files: its own archive isn't even opened."""
    home.mkdir()
    result: list[Path] = []
    second = threading.Thread(target=lambda: result.append(unpack("pets", pets(), tmp_path / "none.zip")))
    with exclusive_lock(home / ".pets.lock", "fetching pets"):
        second.start()
        deadline, said = time.monotonic() + 20, ""
        while "another process is fetching pets: waiting for it" not in said:
            assert time.monotonic() < deadline
            said += capsys.readouterr().err
            time.sleep(0.01)
        (home / "pets").mkdir()
    second.join(20)
    assert result == [home / "pets"]


@pytest.mark.shared
def test_the_real_grocery_store() -> None:
    file = SHARED / "grocery.zip"
    if not file.is_file():
        pytest.skip("no grocery.zip in ../shared/data")
    dataset = load_named("grocery", file)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (2640, 296, 2485)
    assert len(dataset.labels) == 81
    assert len(set(dataset.groupings["coarse class"])) == 43
    assert {example.label for example in dataset.train} == set(range(81))
    assert dataset.labels[0].name == "Golden Delicious"
    assert all(example.path.is_file() for example in dataset.examples[::50])


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_cifar_10() -> None:
    file = SHARED / "cifar10.tar.xz"
    if not file.is_file():
        pytest.skip("no cifar10.tar.xz in ../shared/data")
    dataset = load_named("cifar10", file)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (45_000, 5_000, 10_000)
    assert dataset.labels[0].id == "airplane"
