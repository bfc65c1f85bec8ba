"""Index: images are added, found and kept, as by the commands."""

from __future__ import annotations

import os
import shutil
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from alexnet import Classifier, Index
from alexnet.image_index import Neighbor
from alexnet.image_kinds import decode_batches
from index.entries import AddResult
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.exceptions import (
    IndexNotFoundError,
    IndexStoreError,
    InvalidImageError,
    InvalidRequestError,
    ReadOnlyIndexError,
)
from model.images.crops import TEN_CROP
from model.runtime import OnnxModel


@pytest.fixture(scope="module")
def classifier(artifact: Artifact) -> Classifier:
    return Classifier(artifact, device="cpu")


@pytest.fixture
def files(few: Path) -> list[Path]:
    return sorted(few.rglob("*.jpg"))


def test_a_closed_index_says_so(classifier: Classifier, files: list[Path], tmp_path: Path) -> None:
    index = Index(tmp_path / "i", classifier)
    index.add(files[0])
    assert repr(index) == f"<Index {tmp_path / 'i'}: 1 image>"
    index.close()
    assert repr(index) == f"<Index {tmp_path / 'i'}: closed>"
    for use in (lambda: index.search(files[0]), lambda: index.add(files[0]), lambda: len(index)):
        with pytest.raises(IndexStoreError, match=r"this index is closed: open it again with Index\("):
            use()
    with Index(tmp_path / "i", classifier) as again:
        assert len(again) == 1


def test_an_index_of_the_command_is_searched(classifier: Classifier, index_path: Path, images: Path) -> None:
    files = sorted(images.rglob("*.jpg"))[:20]
    with Index(index_path, classifier) as index:
        assert len(index) == 90
        several = index.search(files, k=3)
        assert [len(result) for result in several] == [3] * 20
        for file, result in zip(files, several, strict=True):
            assert result[0].path == file
            assert result[0].distance == pytest.approx(0, abs=1e-3)
        assert [n.id for n in index.search(files[0], k=3)] == [n.id for n in several[0]]
        assert {n.label for n in index.search(files[0], label="checks")} == {"checks"}
        assert str(several[0][0]).endswith(f"{files[0].parent.name}  {files[0]}")
        with pytest.raises(InvalidRequestError, match=r"needs binary codes|has no binary codes|has none"):
            index.search(files[0], mode="binary")
        for k in (0, 1001, 1.5, "3"):
            with pytest.raises(InvalidRequestError, match=r"k must be an integer from 1 to 1,000, not"):
                index.search(files[0], k)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match=r"label must be a string or None, not \['a'\]"):
            index.search(files[0], label=["a"])  # type: ignore[call-overload]


def test_images_are_added_and_kept(classifier: Classifier, files: list[Path], tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(files[0]).convert("RGB").rotate(90))
    with Index(tmp_path / "index", classifier) as index:
        assert len(index) == 0
        with pytest.raises(IndexNotFoundError, match=r"no index at .*: build one with `alexnet index add"):
            index.search(files[0])
        assert not (tmp_path / "index").exists()
        results = index.add(files[:20], labels=[file.parent.name for file in files[:20]])
        assert results == [AddResult(number, "added") for number in range(1, 21)]
        assert index.add([files[0], pixels, files[20]], labels="mine") == [
            AddResult(1, "exists"), AddResult(21, "added"), AddResult(22, "added")
        ]  # fmt: skip
        assert index.add(Image.fromarray(pixels)) == AddResult(21, "exists")
        (nearest,) = index.search(pixels, k=1)
        assert nearest == Neighbor(21, nearest.distance, "mine", None)
        assert nearest.distance == pytest.approx(0, abs=1e-3)
    with Index(tmp_path / "index", classifier) as index:
        assert len(index) == 22
        assert index.search(files[3], k=1)[0].label == files[3].parent.name


def test_the_real_folder_of_a_file_is_kept(
    classifier: Classifier, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are kept without `..` and links, so that `alexnet index sync` finds each file in its real folder."""
    for folder in ("a/b", "c"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    shutil.copy(files[0], tmp_path / "c" / "x.jpg")
    shutil.copy(files[1], tmp_path / "a" / "y.jpg")
    monkeypatch.chdir(tmp_path / "a" / "b")
    with Index(tmp_path / "index", classifier) as index:
        index.add(["../../c/x.jpg", tmp_path / "link" / ".." / "y.jpg"])
        paths = [index.search(file, k=1)[0].path for file in files[:2]]
    assert paths == [tmp_path / "c" / "x.jpg", tmp_path / "a" / "y.jpg"]


def test_removed_images_are_restored(classifier: Classifier, files: list[Path], tmp_path: Path) -> None:
    with Index(tmp_path / "index", classifier) as index:
        index.add(files[:2])
    store = FolderIndex.open(tmp_path / "index", writable=True)
    store.remove(1)
    store.close()
    with Index(tmp_path / "index", classifier) as index:
        assert [result.status for result in index.add(files[:3])] == ["restored", "exists", "added"]


def test_an_image_that_cannot_be_read_keeps_those_before_it(
    classifier: Classifier, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(files[0].read_bytes()[:900])
    with Index(tmp_path / "index", classifier) as index:
        with pytest.raises(InvalidImageError, match=r"bad\.jpg$"):
            index.add([*files[:16], tmp_path / "bad.jpg"])
        assert len(index) == 16
        with pytest.raises(InvalidRequestError, match=r"one label, or one per image: 2 images, 1 label$"):
            index.add(files[:2], labels=["one"])


@pytest.mark.parametrize("label", [0, True, np.int64(1), 1.5, b"cat", "", " cat", "a\nb", "\ud800", "x" * 201])
def test_a_label_that_an_index_cannot_store_is_refused(
    classifier: Classifier, files: list[Path], tmp_path: Path, label: Any
) -> None:
    with Index(tmp_path / "index", classifier) as index:
        for labels in (["cat", label], [None, label]):
            with pytest.raises(InvalidRequestError, match=r"a label must be a string or None, got|invalid label"):
                index.add(files[:2], labels=labels)
        if not isinstance(label, bytes):
            with pytest.raises(InvalidRequestError, match=r"a label must be a string or None, got|invalid label"):
                index.add(files[0], labels=label)
        assert not (tmp_path / "index").exists()


def test_keys_are_kept_and_unique(classifier: Classifier, files: list[Path], tmp_path: Path) -> None:
    pixels = [np.asarray(Image.open(file).convert("RGB")) for file in files[:18]]
    with Index(tmp_path / "index", classifier) as index:
        index.add(pixels, keys=[None, *(f"k{number}" for number in range(1, 18))])
        index.add(files[18], "x", "shelf 3")
        (nearest,) = index.search(pixels[17], k=1)
        assert (nearest.id, nearest.key, str(nearest).split()) == (18, "k17", ["0.000", "-", "k17"])
        assert [index.search(image, k=1)[0].key for image in (pixels[0], files[18])] == [None, "shelf 3"]
        assert index.add(pixels[1], keys="other") == AddResult(2, "exists")
        assert index.search(pixels[1], k=1)[0].key == "k1"
        with pytest.raises(InvalidRequestError, match="the key 'k1' belongs to another image"):
            index.add(files[19], keys="k1")
        with pytest.raises(InvalidRequestError, match=r"give one key per image: 2 images, 1 key$"):
            index.add(files[19:21], keys="k")
        wrong: tuple[Any, ...] = ("", "a\0", 7)
        for key in wrong:
            with pytest.raises(InvalidRequestError, match=r"a key must be a string or None, got 7|invalid key"):
                index.add(files[19], keys=key)
        assert len(index) == 19


def test_a_path_that_is_not_utf8_is_not_kept(classifier: Classifier, files: list[Path], tmp_path: Path) -> None:
    foreign = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    shutil.copyfile(files[0], foreign)
    with Index(tmp_path / "index", classifier) as index:
        assert index.add(foreign, labels="caf\u00e9") == AddResult(1, "added")
        (nearest,) = index.search(files[0], k=1)
        assert (nearest.label, nearest.path) == ("caf\u00e9", None)


def test_one_writer_at_a_time(classifier: Classifier, files: list[Path], tmp_path: Path) -> None:
    with Index(tmp_path / "index", classifier) as first, Index(tmp_path / "index", classifier) as second:
        first.add(files[0])
        with pytest.raises(ReadOnlyIndexError):
            second.add(files[1])
        first.close()
        second.add(files[1])
        assert len(second) == 2


def test_an_index_stays_readable_when_an_addition_is_refused(
    classifier: Classifier, files: list[Path], tmp_path: Path
) -> None:
    with Index(tmp_path / "index", classifier) as writer:
        writer.add(files[:3])
        with Index(tmp_path / "index", classifier) as reader, Index(tmp_path / "index", classifier) as early:
            writer.add(files[3])
            for _ in range(2):
                with pytest.raises(ReadOnlyIndexError, match="another process, such as a server, has the index"):
                    reader.add(files[4])
                assert len(reader) == 4  # it was reopened, so it also has what was added meanwhile
                assert reader.search(files[3], k=1)[0].id == 4
            assert (len(early), len(writer)) == (3, 4)
            assert writer.add(files[4]) == AddResult(5, "added")
            writer.close()
            assert reader.add(files[5]) == AddResult(6, "added")
    with Index(tmp_path / "index", classifier) as again:
        assert len(again) == 6


def test_another_network_and_the_default_folder(
    classifier: Classifier, artifact: Artifact, files: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(artifact.path, tmp_path / "artifacts" / "patterns" / "1")
    mine = Classifier(home=tmp_path, device="cpu")
    with Index(classifier=mine) as index:
        index.add(files[0])
    assert (tmp_path / "indexes" / "patterns" / "1").is_dir()
    other = Classifier(_change_checksums(artifact), device="cpu")
    with pytest.raises(IndexStoreError, match="network"):
        Index(tmp_path / "indexes" / "patterns" / "1", other)


def _change_checksums(artifact: Artifact) -> Artifact:
    """The artifact with other checksums, as if it held another network."""
    files = artifact.manifest.files
    changed = {name: record.model_copy(update={"sha256": "0" * 64}) for name, record in files.items()}
    manifest = artifact.manifest.model_copy(update={"files": changed})
    return Artifact(artifact.path, manifest, artifact.labels)


def test_an_index_of_ten_crops_has_and_is_searched_by_their_features(
    artifact: Artifact, classifier: Classifier, files: list[Path], tmp_path: Path
) -> None:
    FolderIndex.create(tmp_path / "index", artifact, crops=TEN_CROP).close()
    with Index(tmp_path / "index", classifier) as index:
        index.add(files[:3])
        assert [index.search(file, k=1)[0].distance for file in files[:3]] == pytest.approx([0] * 3, abs=1e-3)
    with closing(FolderIndex.open(tmp_path / "index")) as store:
        stored = store.feature(1)
    pixels = np.asarray(Image.open(files[0]).convert("RGB"))
    (loaded,) = decode_batches([pixels], artifact.image_contract)
    expected = OnnxModel(artifact.network_path, "cpu").features(loaded[0].image.pixels[None], TEN_CROP)[0]
    np.testing.assert_allclose(stored, expected, atol=1e-3)
    assert np.abs(stored - classifier.features(files[0])[0]).max() > 0.01


@pytest.mark.parametrize("label", ["東京\u3000タワー", "caf\u00e9", "👩\u200d🎨"], ids=["blank", "accent", "joined"])
def test_a_label_is_stored_and_found_as_folders_have_it(
    label: str, classifier: Classifier, files: list[Path], tmp_path: Path
) -> None:
    with Index(tmp_path / "i", classifier) as index:
        index.add(files[0], labels=unicodedata.normalize("NFD", label))
        (neighbor,) = index.search(files[0], k=cast(int, np.int64(3)), label=label)
        assert neighbor.label == label
