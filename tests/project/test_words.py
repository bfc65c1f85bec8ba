"""Habits of naming that stay out of the source: a short list, not a dictionary. CONTRIBUTING has the glossary."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ("alexnet", "server", "index", "model", "training")
FOLDERS = (*SOURCE, "benchmarks", "clients", "deploy", "experiments", "tests")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
BRITISH = (
    r"colour|neighbour|grey|centre|licence|catalogue|behaviour|labelled|modelled"
    r"|(normal|initial|quant|optim|serial)is(e|ation|ing)"
)

IDENTIFIERS = {
    rf"(?i){BRITISH}": "American spelling, as torch and numpy: color, neighbor, gray, center, normalize",
    r"(?i)picture": "image",
    r"(?i)(^|_)views?(_|$)": "crop, ten_crop (a view of the page is fine in tests/page)",
    r"(?i)(?<!at)(^|_)most(_|$)": "max_...",
    r"(?i)^(?!test_).*_an?_(batch|class|gpu|image|machine|query|request|second|step)s?$": "..._per_...",
    r"^(found|chosen|wanted|some)$": "the thing's name: result, config, batch, entry",
    r"(?i)go(es|ing)?_on": "resume",
}
FUNCTIONS = {
    r"^_?(admitted|answered|asked|begun|called|copied|drawn|finished|folded|given|known|listed|named|opened|said)$": (
        "a verb: admit, answer, parse, open, draw, copy"
    ),
}
TEXTS = {
    r"(?i)expected [^.;]*\bfound\b": "what is wrong, then what to do; 'expected X, got Y' where values are compared",
    r"(?i)(?<![</])\bpictures?\b(?! img)": "image",  # HTML has an element of this name
    r"(?i)\b(whole numbers|go(es)? on with)\b": "integers, int8; resume",
}
MODULES = {r"(^|_)(utils?|common|helpers?|misc)$": "a module named for its subject"}


def defined_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that a module names itself, but not of what it only uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def functions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each function that isn't a property or a fixture, which may be nouns and adjectives."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
            yield node.lineno, node.name


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each string; the values of an f-string become {}."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, " ".join(node.value.split())


@cache
def broken_rules(word: str, patterns: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Each pattern that a word or text matches, and where; cached, since most words occur many times."""
    return tuple((pattern, match.start()) for pattern in patterns if (match := re.search(pattern, word)))


def findings(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checks = [(IDENTIFIERS, defined_names(tree)), (FUNCTIONS, functions(tree)), (TEXTS, texts(tree))]
    if path.relative_to(ROOT).parts[0] in SOURCE:
        checks.append((MODULES, iter([(1, path.stem)])))
    for rules, words in checks:
        for line, word in words:
            for pattern, start in broken_rules(word, tuple(rules)):
                if path.is_relative_to(ROOT / "tests" / "page") and "view" in pattern:
                    continue
                shown = word if len(word) <= 60 else f"... {word[max(0, start - 20) :][:60]} ..."
                yield f"{path.relative_to(ROOT)}:{line}: {shown!r} (use: {rules[pattern]})"


def test_banned_words_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "model").mkdir()
    module = tmp_path / "model" / "utils.py"
    module.write_text(
        "MOST_CROPS = 1\nCROPS_A_BATCH = 2\ndef opened(picture): ...\nfound = 'expected a file, found none'\n"
        "def normalise(tensor): return tensor.view(-1)\nmax_crops = f'expected {max_crops} crops, got {found}'\n"
    )
    lines = [re.sub(r".*utils\.py:(\d+): .*", r"\1", line) for line in findings(module)]
    assert sorted(lines) == ["1", "1", "2", "3", "3", "4", "4", "5"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_source_has_no_banned_words(folder: str) -> None:
    found_words = [
        line
        for path in FILES
        if path.relative_to(ROOT).parts[0] == folder and path != Path(__file__)
        for line in findings(path)
    ]
    assert not found_words, "banned words (see tests/project/test_words.py):\n" + "\n".join(found_words)
