"""What CONTRIBUTING promises: files of the map exist, the glossary is short, `make clean` keeps results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.documents import ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
KEPT = ("artifacts", "indexes", "runs", "cache", "data", "demo")


def section(title: str) -> str:
    return CONTRIBUTING.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the table in a section, without its header."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_files_of_the_map_exist() -> None:
    assert len(rows("Where do I ...?")) >= 8
    for change, files in rows("Where do I ...?"):
        paths = [path for path in re.findall(r"`([\w./-]+)`", files) if "/" in path and "N" not in path]
        assert paths or "NNNN" in files or "NAME" in files, change
        for path in paths:
            assert (ROOT / path).exists(), f"{change}: {path}"


def test_glossary_is_short() -> None:
    assert len(rows("Glossary")) <= 20


@pytest.mark.parametrize("name", KEPT)
def test_clean_keeps(name: str) -> None:
    recipe = re.search(r"^clean:.*\n((?:\t.*\n?)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert not re.search(rf"(?<![\w.-]){name}(?![\w-])", recipe[1])


def mirrors_a_module(test: Path) -> bool:
    """Whether test_MODULE.py or test_MODULE_SUBJECT.py stands where MODULE.py does in the source."""
    folder = ROOT / test.relative_to(ROOT / "tests" / "unit").parent
    return any(f"{test.stem}_".startswith(f"test_{module.stem}_") for module in folder.glob("*.py"))


def test_unit_tests_mirror_the_source() -> None:
    tests = sorted((ROOT / "tests" / "unit").rglob("test_*.py"))
    assert len(tests) > 100
    misplaced = [str(test.relative_to(ROOT)) for test in tests if not mirrors_a_module(test)]
    assert not misplaced, "rename these to tests/unit/PACKAGE/test_MODULE.py or test_MODULE_SUBJECT.py of a module"
    assert not mirrors_a_module(ROOT / "tests" / "unit" / "model" / "test_importer.py")
    assert not mirrors_a_module(ROOT / "tests" / "unit" / "model" / "images" / "test_open.py")


@pytest.mark.parametrize("package", ["alexnet", "server", "index", "model", "training"])
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_decisions_are_numbered_and_listed() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    design, site = (ROOT / "docs" / "design.md").read_text(), (ROOT / "mkdocs.yml").read_text()
    for number, file in enumerate(files, 1):
        text = file.read_text()
        assert file.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences")), file.name
        assert f"decisions/{file.name}" in design
        assert f"decisions/{file.name}" in site
