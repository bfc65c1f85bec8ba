"""`prepare.py`: fill ATTACK_HOME with images (8 classes of 30 solar cells), the bundled network and an index of them.

Needs the extra `demo`.
"""

from __future__ import annotations

import collections
import shutil
from pathlib import Path

import elpv_dataset

from model.artifacts.packed import unpack_bundled
from tests.cases.attack.harness import ARTIFACTS, HOME, INDEX, add_command, report, run_shell

IMAGES_PER_CLASS = 30


def copy_images(target: Path) -> dict[str, int]:
    """Copy the first images of each class. Returns the number of each."""
    root = Path(elpv_dataset.__file__).parent / "data"
    counts: dict[str, int] = collections.Counter()
    for line in (root / "labels.csv").read_text().splitlines():
        path, probability, cell = line.split()
        name = f"{cell}_{round(100 * float(probability))}"
        if counts[name] < IMAGES_PER_CLASS:
            counts[name] += 1
            (target / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(root / path, target / name)
    return dict(counts)


def main() -> None:
    report(copy_images(HOME / "images"))
    if not (ARTIFACTS / "elpv").exists():
        report(unpack_bundled("elpv", ARTIFACTS).path)
    if not INDEX.exists():
        report(run_shell(add_command(HOME / "images", INDEX), timeout=600).output)


if __name__ == "__main__":
    main()
