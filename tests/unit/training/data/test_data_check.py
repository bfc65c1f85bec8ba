"""What `alexnet check` finds, and what training and the report also say."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from alexnet.cli.app import app
from benchmarks.icc_profiles import DISPLAY_P3
from model.artifacts.artifact import Artifact, Label
from model.exceptions import ArtifactError, DatasetError
from model.images.contract import ImageContract
from model.images.icc import make_profile
from tests.helpers.drawn_files import Files, make_image, write_files
from training.data.cache import build_cache
from training.data.data_check import check_data, check_images
from training.data.data_warnings import ClassSize, size_warnings
from training.data.folders import load_folder, load_table
from training.default_start import default_contract


def one_each(counts: dict[str, int]) -> Files:
    """Files with `counts` different images in each class's folder."""
    return {f"{name}/{n}.png": make_image(1000 * number + n) for number, (name, count) in enumerate(counts.items())
            for n in range(count)}  # fmt: skip


def size(name: str, train: int, test: int) -> ClassSize:
    return ClassSize(Label(id=name, name=name), train, 5, test)


def test_a_sound_data_set(tmp_path: Path) -> None:
    check = check_data(load_folder(write_files(tmp_path / "d", one_each({"cat": 70, "dog": 70}))))
    assert check.warnings == ()
    assert str(check).endswith("no problems found")
    assert "A decision tree that sees only" in str(check)
    assert check.to_json()["class_sizes"]["cat"] == {"train": 53, "validation": 7, "test": 10}


def test_copies_in_one_class_are_counted(tmp_path: Path) -> None:
    """Case 08, first part, with one more image: 12 copies of one image are one image."""
    files = {f"{kind}/{n}.png": make_image(seed) for seed, kind in enumerate(("cat", "dog")) for n in range(12)}
    with pytest.raises(DatasetError, match="at least one class needs three different images"):
        load_folder(write_files(tmp_path / "copies", files))
    files |= {
        f"{kind}/other{n}.png": make_image(10 * n + seed) for seed, kind in ((2, "cat"), (3, "dog")) for n in (1, 2, 3)
    }
    dataset = load_folder(write_files(tmp_path / "copies", files))
    check = check_data(dataset)
    assert (len(dataset.test), len(dataset.validation)) == (4, 2)
    assert len(check.copies.kept) == 22
    assert "22 images with a copy in the same class and split: " in str(check)


def test_files_in_train_and_test_under_two_labels(tmp_path: Path) -> None:
    """Case 08, second part: a table with a file in two splits is refused; a copy in training is left out."""
    files = {f"src/{kind}/{n}.png": make_image(100 * k + n) for k, kind in enumerate(("cat", "dog")) for n in range(8)}
    files |= {name.replace("src", "again"): data for name, data in files.items()}
    files["again/dog/cat.png"] = files["src/cat/1.png"]
    files |= {
        f"new/{kind}/{n}.png": make_image(500 + 100 * k + n) for k, kind in enumerate(("cat", "dog")) for n in range(9)
    }
    root = write_files(tmp_path / "d", files)
    rows = [f"src/{kind}/{n}.png,{kind},test" for kind in ("cat", "dog") for n in range(8)]
    rows += [f"again/{kind}/{n}.png,{kind},train" for kind in ("cat", "dog") for n in range(8)]
    rows += [f"new/{kind}/{n}.png,{kind},train" for kind in ("cat", "dog") for n in range(9)]
    rows += ["again/dog/cat.png,dog,train"]
    (root / "leak.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    check = check_data(load_table(root / "leak.csv"))
    assert check.summary.skipped == {"copies of held-out images": 15, "under several labels": 2}
    text = str(check)
    assert "15 images left out of training or validation, because held-out images have the same pixels: again/" in text
    assert "2 images left out, because the same pixels appear under several labels: " in text
    assert "1 image of the test split under several labels: src/cat/1.png; such images are still measured" in text
    (root / "twice.csv").write_text("path,label,split\nsrc/cat/0.png,cat,train\nsrc/cat/0.png,cat,test\n")
    with pytest.raises(DatasetError, match="different labels or splits"):
        load_table(root / "twice.csv")


def test_small_classes_are_named(tmp_path: Path) -> None:
    """Case 08, third part."""
    check = check_data(load_folder(write_files(tmp_path / "one", one_each({"bird": 2, "cat": 1, "dog": 6}))))
    text = str(check)
    assert "classes without a test image, so their errors are unknown: 2 of 3, bird, cat; add images" in text
    assert "classes with fewer than 10 test images, too few to estimate their errors: 1 of 3, dog (1)" in text
    assert "1 of 1 right still allows an error of 0.0 to 79.3 %" in text


def test_unequal_classes() -> None:
    sizes = [size("cat", 500, 50), size("dog", 5, 20)]
    (warning,) = size_warnings(sizes, "test")
    assert warning.startswith("imbalanced classes: cat has 500 training images, dog 5;")
    assert size_warnings([size("cat", 500, 50), size("dog", 90, 20)], "test") == []


def test_the_command(tmp_path: Path) -> None:
    files = one_each({"elm": 40, "oak": 40})
    for n in range(40):
        del files[f"elm/{n}.png"]
        files[f"elm/{n}.jpg"] = make_image(n, quality=90)
    files["elm/notes.png"] = b"nothing"
    root = write_files(tmp_path / "d", files)
    result = CliRunner().invoke(app, ["check", "--data", str(root), "--list-skipped", str(tmp_path / "skipped.txt")])
    assert result.exit_code == 0, result.output
    assert "d: 81 found, 80 used, 1 skipped (1 not an image)" in result.output
    assert "file properties reveal the class: all of elm are JPEG, none of the others" in result.output
    assert result.output.count("and not what the images show") == 1
    assert "skipped 1 of 81 files, which can't be decoded (--list-skipped FILE lists them all)" in result.output
    assert "notes.png: not an image in a supported format" in result.output
    assert "notes.png\tnot images" in (tmp_path / "skipped.txt").read_text()
    as_json = json.loads(CliRunner().invoke(app, ["check", "--data", str(root), "--json"]).stdout)
    assert as_json["shortcuts"]["classes"][0] == {"class": "elm", "trait": "are JPEG", "share": 1.0, "others": 0.0}
    assert as_json["skipped"] == {"not images": 1}


def test_limits_and_contract_are_those_asked_for(tmp_path: Path, artifact: Artifact) -> None:
    files = one_each({"elm": 12, "oak": 12})
    large, profile = io.BytesIO(), make_profile(DISPLAY_P3, 2.2, "Display P3")
    Image.new("RGB", (200, 200)).save(large, "PNG", icc_profile=profile)
    files["elm/large.png"] = large.getvalue()
    root = str(write_files(tmp_path / "d", files))
    command = ["check", "--data", root, "--max-pixels", "20000", "--json"]
    assert json.loads(CliRunner().invoke(app, command).stdout)["skipped"] == {"images too large": 1}
    assert "(converted to sRGB)" in str(check_data(load_folder(Path(root))))
    ignored = check_data(load_folder(Path(root)), ImageContract(color_profiles=False))
    assert "(converted to sRGB)" not in str(ignored)
    like_network = CliRunner().invoke(app, ["check", "--data", root, "--artifact", str(artifact.path)])
    assert like_network.exit_code == 0, like_network.output
    missing = CliRunner().invoke(app, ["check", "--data", root, "--artifact", str(tmp_path / "none")])
    assert isinstance(missing.exception, ArtifactError)


def test_images_are_read_as_training_reads_them(tmp_path: Path) -> None:
    """Training starts from the bundled network, which sees less detail, so the images' sharpness differs."""
    root = write_files(tmp_path / "d", one_each({"elm": 40, "oak": 40}))
    dataset = load_folder(root)
    cache = build_cache(dataset, tmp_path / "cache", contract=default_contract(len(dataset.train)))
    trained = check_images(dataset, cache.traits, cache.skipped, cache.copies).to_json()
    assert trained["shortcuts"] != check_data(dataset).to_json()["shortcuts"]
    checked = json.loads(CliRunner().invoke(app, ["check", "--data", str(root), "--json"]).stdout)
    assert checked["shortcuts"] == json.loads(json.dumps(trained["shortcuts"]))
