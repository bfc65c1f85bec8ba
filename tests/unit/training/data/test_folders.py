"""ImageNet's layout and CSV tables: classes, names and splits as their files say, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.exceptions import DatasetError
from training.data.archives import load_elpv
from training.data.datasets import split_rows
from training.data.folders import INFO_SUFFIX, load_folder, load_table, write_table
from training.data.loading import load_dataset
from training.loop.run_directory import SPLIT

SYNSETS = {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish, Carassius auratus"}


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    root = tmp_path / "imagenet"
    for synset in SYNSETS:
        (root / "train" / synset).mkdir(parents=True)
        for number in range(4):
            (root / "train" / synset / f"{synset}_{number}.JPEG").write_bytes(f"{synset} {number}".encode())
    (root / "val").mkdir()
    for number in range(1, 4):
        (root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(str(number).encode())
    (root / "synset_words.txt").write_text("".join(f"{synset} {name}\n" for synset, name in SYNSETS.items()))
    lines = [f"ILSVRC2012_val_{n:08d},{synset} 1 2 3 4 \n" for n, synset in ((1, "n01443537"), (2, "n01440764"))]
    lines.append("ILSVRC2012_val_00000003,n01443537 1 2 3 4 n01443537 5 6 7 8\n")
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines))
    return root


def test_imagenet_with_its_lists(imagenet: Path) -> None:
    dataset = load_folder(imagenet)
    assert [(label.id, label.name) for label in dataset.labels] == list(SYNSETS.items())
    assert len(dataset.train) == 8
    assert [example.label for example in dataset.validation] == [1, 0, 1]


def test_imagenet_with_lists_that_windows_saved(imagenet: Path) -> None:
    """A byte order mark used to hide the first class's name and the column of the images."""
    for name in ("synset_words.txt", "LOC_val_solution.csv"):
        text = (imagenet / name).read_text()
        (imagenet / name).write_text(text, encoding="utf-8-sig", newline="\r\n")
    dataset = load_folder(imagenet)
    assert [(label.id, label.name) for label in dataset.labels] == list(SYNSETS.items())
    assert [example.label for example in dataset.validation] == [1, 0, 1]


def test_imagenet_with_folders_in_val(imagenet: Path) -> None:
    (imagenet / "LOC_val_solution.csv").unlink()
    for path in list((imagenet / "val").iterdir()):
        (imagenet / "val" / "n01440764").mkdir(exist_ok=True)
        path.rename(imagenet / "val" / "n01440764" / path.name)
    assert [example.label for example in load_folder(imagenet).validation] == [0, 0, 0]


def test_an_unknown_synset_is_refused(imagenet: Path) -> None:
    listing = imagenet / "LOC_val_solution.csv"
    listing.write_text(listing.read_text().replace("n01440764", "n99999999"))
    with pytest.raises(DatasetError, match=r"unknown classes in the validation split .*: n99999999"):
        load_folder(imagenet)


def write(path: Path, text: str) -> Path:
    """Write a table, and the files that it names."""
    path.write_text(text)
    for name in {line.split(",")[0] for line in text.splitlines()[1:]}:
        if not (path.parent / name).exists():
            (path.parent / name).write_bytes(name.encode())
    return path


def test_a_table_with_splits(tmp_path: Path) -> None:
    lines = "".join(
        f"{split}{n}.jpg,{'cat' if n % 2 else 'dog'},{split}\n" for split in ("train", "val") for n in range(6)
    )
    dataset = load_table(write(tmp_path / "t.csv", "path,label,split\n" + lines))
    assert [label.id for label in dataset.labels] == ["cat", "dog"]
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (6, 6, 0)
    assert dataset.train[1] == (str(tmp_path / "train1.jpg"), 0, "")


def test_a_table_without_splits_is_split(tmp_path: Path) -> None:
    lines = "".join(f"{n}.jpg,{n % 2}\n" for n in range(40))
    dataset = load_table(write(tmp_path / "t.csv", "path,class\n" + lines))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (30, 4, 6)


def test_with_train_and_test_only_the_seed_draws_validation_images_from_train(tmp_path: Path) -> None:
    lines = "".join(f"{split}{n}.jpg,{n % 2},{split}\n" for split in ("train", "test") for n in range(40))
    table = write(tmp_path / "t.csv", "path,label,split\n" + lines)
    first, again, other = (load_table(table, seed) for seed in (0, 0, 1))
    assert first == again
    assert set(first.validation) != set(other.validation)
    for dataset in (first, other):
        assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (36, 4, 40)
        assert dataset.test == first.test
        assert all("/train" in example.file for example in dataset.validation)


def test_a_run_s_split_is_such_a_table(images: Path, tmp_path: Path) -> None:
    before = load_folder(images)
    again = load_dataset(str(write(tmp_path / SPLIT, before.split_csv())))
    assert again.labels == before.labels
    assert again.split_sha256() == before.split_sha256()


def test_tables_that_cannot_be_trained_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="at least two classes"):
        load_table(write(tmp_path / "t.csv", "path,label\na.jpg,cat\n"))
    (tmp_path / "d" / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "d" / "photos" / "cat" / "1.jpg").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"at least two classes .*if its subfolders are the classes, use that"):
        load_folder(tmp_path / "d")
    with pytest.raises(DatasetError, match="no classes in"):
        load_table(write(tmp_path / "t.csv", "path\na.jpg\n"))
    with pytest.raises(DatasetError, match=r"no table at .*other\.csv$"):
        load_table(tmp_path / "other.csv")


def test_a_split_keeps_the_order_of_the_classes(tmp_path: Path) -> None:
    """Words are sorted as folders are, whatever their length; numbers by their value."""
    root = tmp_path / "zoo"
    for name in ("ant", "butterfly", "cat", "zebra"):
        (root / name).mkdir(parents=True)
        for number in range(4):
            (root / name / f"{number}.jpg").write_bytes(f"{name} {number}".encode())
    before = load_folder(root)
    assert load_table(write(tmp_path / SPLIT, before.split_csv())).labels == before.labels
    lines = "".join(f"{n}-{i}.jpg,{n}\n" for n in (10, 9, 100) for i in range(3))
    assert [label.id for label in load_table(write(tmp_path / "n.csv", "path,label\n" + lines)).labels] == [
        "9",
        "10",
        "100",
    ]


def test_a_split_that_does_not_fit_is_not_left_out(imagenet: Path) -> None:
    (imagenet / "LOC_val_solution.csv").unlink()
    with pytest.raises(DatasetError, match=r"3 images of the validation split .* without a class"):
        load_folder(imagenet)
    (imagenet / "val" / "N01440764").mkdir()
    for path in list((imagenet / "val").glob("*.JPEG")):
        path.rename(imagenet / "val" / "N01440764" / path.name)
    with pytest.raises(DatasetError, match=r"unknown classes in .*: N01440764"):
        load_folder(imagenet)


def test_a_run_s_split_is_the_same_dataset(tmp_path: Path) -> None:
    """Names, license, groupings, orientation and the order of the classes come back from the file beside the table."""
    before = load_elpv()
    path = write(tmp_path / SPLIT, before.split_csv())
    assert load_table(path) != before
    info = path.with_suffix(INFO_SUFFIX)
    info.write_text(before.info().model_dump_json())
    assert load_table(path) == before
    info.write_text(info.read_text().replace("mono-33", "mono-34"))
    with pytest.raises(DatasetError, match="unknown class 'mono-33'"):
        load_table(path)
    for content in ("{}", "5", before.info().model_copy(update={"license": "MIT\33[2J"}).model_dump_json()):
        info.write_text(content)
        with pytest.raises(DatasetError, match="invalid dataset metadata"):  # not only at publication
            load_table(path)


@pytest.mark.parametrize("group", ["web", " two  words", "a,b", "a\rb", "a\nb", "caf\udce9", "cafe\u0301/inside"])
def test_a_run_s_split_keeps_the_groups(tmp_path: Path, group: str) -> None:
    """Classes compete within groups: without them, a run resumed with its table would train differently."""
    for kind in ("cat", "dog"):
        for place, folder in enumerate((tmp_path / "d" / kind, tmp_path / "d" / kind / group)):
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(6):
                (folder / f"{number}.jpg").write_bytes(f"{kind} {place} {number}".encode())
    before = load_folder(tmp_path / "d")
    write_table(before, tmp_path / SPLIT)
    again = load_table(tmp_path / SPLIT)
    assert [example.group for example in again.examples] == [example.group for example in before.examples]
    assert len({example.group for example in again.examples}) == 2
    assert split_rows(again.split_csv()) == split_rows(before.split_csv())
