"""Read image tables as programs and spreadsheets write them; an unknown form is refused with what was seen."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from model.datasets.attribution import Attribution, is_web_address
from model.datasets.classes import find_doubtful_classes, list_classes
from model.datasets.file_finder import FileFinder
from model.datasets.listing import ListedImage, Listing, Skipped
from model.datasets.names import SPLITS, Split, common_folder, is_utf8, parse_split, show_path, to_text
from model.datasets.walk import Exclusions
from model.exceptions import DatasetError, DatasetNotFoundError
from model.plurals import count_of

TABLE_SUFFIXES = (".csv", ".tsv")
SEPARATORS = (",", ";", "\t")
Role = Literal["path", "label", "split", "group", "author", "author_page", "page", "license"]
COLUMNS: dict[Role, tuple[str, ...]] = {
    "path": (
        "path", "file", "filename", "file_name", "filepath", "file_path", "image", "images", "image_path", "image_file",
        "image_name", "img", "img_path", "img_name",
    ),
    "label": ("label", "labels", "class", "classes", "class_name", "classname", "label_name", "category", "target"),
    "split": ("split", "part", "partition", "set", "subset", "usage", "phase"),
    "group": ("group", "source"),
    "author": ("author",),
    "author_page": ("author_page",),
    "page": ("page",),
    "license": ("license", "licence"),
}  # fmt: skip
"""Accepted column names, in upper or lower case. If several columns fit a role, one must have the first name."""
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
MIN_SIMILARITY = 0.75
"""Least similarity of a misspelled name to the one meant: `lable` and `label` have 0.8, `trian` and `train` too."""
MAX_SHOWN = 200
"""Characters of a header, or of a column's name, that are repeated in a message."""
MAX_COLUMNS_SHOWN = 20
"""Names of columns that are listed in a message."""


def is_table(path: Path) -> bool:
    """Whether a path is a table: it has a table's suffix, in upper or lower case, and isn't a folder."""
    return path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir()


def _folder_above(table: _Table) -> str:
    """The common folder of a table's paths if all are absolute, else ""; `exclude` patterns aren't matched in it."""
    paths = [row.path for row in table.rows()]
    return f"{common_folder(paths)}/" if paths and all(path.startswith("/") for path in paths) else ""


def read_table(path: Path, exclude: Sequence[str] = ()) -> Listing:
    """The images that a table lists; paths are relative to its folder.

    Rows without an existing file are skipped. Raises DatasetError for a table that isn't understood, a row without a
    path, label or split, a file with two labels or in two splits, and a table none of whose files exist.
    """
    table = _Table.read(path)
    exclusions, finder = Exclusions(exclude), FileFinder(path.parent)
    skipped: list[Skipped] = []
    entries: dict[str, tuple[int, ListedImage]] = {}
    above = _folder_above(table) if exclude else ""
    for row in table.rows():
        if exclusions.match_any_part(row.path.removeprefix(above)):
            skipped.append(Skipped(str(path.parent / row.path), "excluded"))
            continue
        located = finder.locate(row.path)
        if isinstance(located, Skipped):
            skipped.append(located)
            continue
        entry = ListedImage(located, row.label, row.split, row.group, row.attribution)
        place = os.path.abspath(located)  # noqa: PTH100  # a table may have relative paths and absolute ones
        if place in entries:
            first_line, first = entries[place]
            if (first.label, first.split) != (entry.label, entry.split):
                raise DatasetError(
                    f"lines {first_line} and {row.line} of {path} give {show_path(located)} different labels or "
                    "splits: keep one of them"
                )
            skipped.append(Skipped(located, "listed twice"))
        else:
            entries[place] = row.line, entry
    if not entries:
        raise _no_images_error(path, skipped, finder.first_missing)
    ids = {entry.label for _, entry in entries.values() if entry.label is not None}
    unused = [f"--exclude {pattern} matched nothing" for pattern in exclusions.unused]
    return Listing(
        root=path,
        entries=tuple(entry for _, entry in entries.values()),
        classes=list_classes(ids),
        has_splits="split" in table.columns,
        skipped=tuple(skipped),
        notes=(*table.notes(), *finder.notes(), *find_doubtful_classes(ids), *unused),
    )


def _no_images_error(path: Path, skipped: Sequence[Skipped], first_missing: str) -> DatasetError:
    missing = [show_path(entry.path) for entry in skipped if entry.reason == "missing files"]
    if is_web_address(first_missing):
        return DatasetError(f"{path} lists URLs, such as {first_missing}: download the images, and list their files")
    if missing:
        return DatasetError(
            f"none of the files in {path} exist (first: {missing[0]}): paths are relative to the table's folder"
        )
    return DatasetError(f"no images in {path}: it has no rows, or all were skipped")


class _Row(NamedTuple):
    line: int
    path: str
    label: str | None
    split: Split | None
    group: str
    attribution: Attribution | None


class _Table:
    """The text of a table, its separator, and which column has which role."""

    def __init__(self, path: Path, text: str, encoding: str) -> None:
        self.path, self.encoding = path, encoding
        self._text = text
        self._labels: dict[str, str] = {}
        self._num_not_addresses = Counter[Role]()
        first, _, rest = text.partition("\n")
        self._skipped_lines = 0
        self._separators: tuple[str, ...] = SEPARATORS
        if (declared := first.strip().casefold()).startswith("sep=") and len(declared) == 5:
            self._text, self._separators, self._skipped_lines = rest, (declared[4],), 1
        self.separator, self.header, self.columns = self._read_header()

    @classmethod
    def read(cls, path: Path) -> _Table:
        """Raises DatasetError."""
        text, encoding = _decode(path)
        if "\0" in text:
            line = text[: text.index("\0")].count("\n") + 1
            raise DatasetError(f"invalid line {line} of {path}: it has a NUL character; save the table as text again")
        return cls(path, text, encoding)

    def rows(self) -> Iterator[_Row]:
        """Yield all rows that aren't empty. Raises DatasetError."""
        lines = ((line, fields) for line, fields in self._lines() if any(field.strip() for field in fields))
        next(lines, None)  # the names of the columns
        for line, fields in lines:
            if any(field.strip() for field in fields[len(self.header) :]):
                columns = count_of(len(self.header), "column")
                raise self._error(line, f"it has {count_of(len(fields), 'value')} for {columns}")
            yield self._row(line, fields)

    def notes(self) -> list[str]:
        """What was guessed, converted and left out."""
        notes = []
        if self.encoding == "guessed":
            converted = [label for value, label in self._labels.items() if not is_utf8(value)]
            shown = f", in labels such as {', '.join(sorted(converted)[:3])}" if converted else ""
            notes.append(f"the table isn't entirely UTF-8: the rest was read as cp1252 or cp437{shown}")
        elif self.encoding != "utf-8":
            notes.append(f"the table was read as {self.encoding}")
        unused = [name for number, name in enumerate(self.header) if number not in self.columns.values() and name]
        if unused:
            hints = {name: self._hint(name) for name in unused}
            unused.sort(key=lambda name: not hints[name])  # those that may be misspelled first
            shown = _list_columns([f"{name[:MAX_SHOWN]}{hints[name]}" for name in unused])
            notes.append(f"columns that weren't used: {shown}")
        used = {role: self.header[number] for role, number in self.columns.items()}
        renamed = [f"{name} as {role}" for role, name in used.items() if name.casefold() != role]
        if renamed:
            notes.append(f"columns read: {', '.join(renamed)}")
        for role, count in self._num_not_addresses.items():
            values = count_of(count, f"value of {used[role]} isn't", f"values of {used[role]} aren't")
            notes.append(f"{values} used: web addresses begin with http:// or https://")
        spaced = sum(to_text(value) != value and is_utf8(value) for value in self._labels)
        if spaced:
            spellings = count_of(spaced, "spelling of a label was", "spellings of labels were")
            notes.append(f"{spellings} normalized (spaces or Unicode form)")
        return notes

    def _hint(self, name: str) -> str:
        """A question about a column that isn't used, if it may have been meant for a role; else empty."""
        role = _nearest_role(name)
        return "" if role is None or role in self.columns else f" (did you mean {role}?)"

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self.separator, strict=True)
        line = 1
        try:
            for fields in reader:
                yield line + self._skipped_lines, fields
                line = reader.line_num + 1
        except csv.Error as error:
            problem = "a quotation mark isn't closed" if str(error) == "unexpected end of data" else str(error)
            raise self._error(line + self._skipped_lines, problem) from error

    def _row(self, line: int, fields: list[str]) -> _Row:
        def value(role: Role) -> str:
            number = self.columns.get(role, len(fields))
            return fields[number] if number < len(fields) else ""

        label: str | None = None
        if "label" in self.columns:
            written = value("label")
            label = self._labels.setdefault(written, sys.intern(to_text(written)))
            if not label:
                raise self._error(line, "it needs a label")
        split: Split | None = None
        if "split" in self.columns:
            split = parse_split(value("split"))
            if split is None:
                seen = show_path(value("split")[:MAX_SHOWN])
                nearest = _nearest(seen, SPLITS)
                meant = f" (did you mean {nearest}?)" if nearest else ""
                raise self._error(line, f"its split is {seen!r}{meant}; it must be train, validation or test")
        if not value("path").strip():
            raise self._error(line, "it needs a path")
        attribution = Attribution.of(
            sys.intern(to_text(value("author"))) or None,
            self._web_address("author_page", value("author_page")),
            self._web_address("page", value("page")),
            sys.intern(to_text(value("license"))) or None,
        )
        return _Row(line, value("path"), label, split, sys.intern(to_text(value("group"))), attribution)

    def _web_address(self, role: Role, text: str) -> str | None:
        address = to_text(text)
        if address and not is_web_address(address):
            self._num_not_addresses[role] += 1
        return sys.intern(address) if is_web_address(address) else None

    def _read_header(self) -> tuple[str, tuple[str, ...], dict[Role, int]]:
        """Separator, names of columns and column by role. Raises DatasetError."""
        first = next((line for line in self._text.splitlines() if line.strip()), "")
        candidates = []
        for separator in self._separators:
            try:
                names = tuple(to_text(name) for name in next(csv.reader([first], delimiter=separator, strict=True), []))
            except csv.Error:
                continue
            roles = _roles(names)
            candidates.append((len(roles), separator, names, roles))
        _, separator, names, roles = max(candidates, default=(0, ",", (), {}), key=lambda candidate: candidate[0])
        seen = show_path(first[:MAX_SHOWN]) or "nothing"
        for role in COLUMNS:
            if len(roles.get(role, ())) > 1:
                several = _list_columns([names[number] for number in roles[role]])
                raise DatasetError(f"several columns of {self.path} may be the {role}: {several}; rename one to {role}")
        columns = {role: numbers[0] for role, numbers in roles.items()}
        if "path" not in columns or ("label" not in columns and len(columns) < sum(map(bool, names))):
            nearest = {name: _nearest_role(name) for name in names}
            meant = [f"{known} for {name}" for name, known in nearest.items() if known and known not in columns]
            raise DatasetError(
                f"expected the columns path and label in the first line of {self.path}, with a comma, semicolon or tab "
                f"between them, got: {seen}" + (f"; did you mean {' and '.join(meant[:3])}?" if meant else "")
            )
        return separator, names, columns

    def _error(self, line: int, problem: str) -> DatasetError:
        return DatasetError(f"invalid line {line} of {self.path}: {problem}")


def _list_columns(names: Sequence[str]) -> str:
    """The names of columns for a message; if there are many, the first."""
    more = len(names) - MAX_COLUMNS_SHOWN
    shown = ", ".join(names[:MAX_COLUMNS_SHOWN])
    return f"{shown} and {more:,} more" if more > 0 else shown


def _roles(names: Sequence[str]) -> dict[Role, list[int]]:
    """The columns for each role. One with exactly the role's name excludes the others."""
    plain = [name.casefold().replace(" ", "_").replace("-", "_") for name in names]
    roles: dict[Role, list[int]] = {}
    for role, known in COLUMNS.items():
        numbers = [number for number, name in enumerate(plain) if name in known]
        if plain.count(role) == 1:
            numbers = [plain.index(role)]
        if numbers:
            roles[role] = numbers
    return roles


def _nearest_role(name: str) -> Role | None:
    """The role that has a column name similar to this one."""
    role_of = {known: role for role, names in COLUMNS.items() for known in names}
    nearest = _nearest(name, role_of)
    return None if nearest is None else role_of[nearest]


def _nearest(written: str, known: Iterable[str]) -> str | None:
    """The known name that may have been meant."""
    return next(iter(difflib.get_close_matches(written.casefold(), list(known), 1, MIN_SIMILARITY)), None)


def _decode(path: Path) -> tuple[str, str]:
    """The text of a table and its encoding. Raises DatasetError.

    Bytes that aren't UTF-8 are kept as Python keeps them in paths: a field with such bytes is either a file's name as
    it is on the disk, or text in cp1252, as spreadsheets write it.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(f"{path} is not a regular file")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"no table at {path}") from error
    except OSError as error:
        raise DatasetError(f"can't read {path}: {error.strerror}") from error
    if content.startswith(b"PK\3\4"):
        raise DatasetError(f"{path} is a spreadsheet or another zip file, not text: save it as CSV")
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content[:4]:
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    try:
        if encoding is not None:
            return content.decode(encoding), "utf-8" if encoding == "utf-8-sig" else encoding
        text = content.decode("utf-8", "surrogateescape")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} looks like {encoding}, but can't be decoded as such: save it as CSV in UTF-8"
        ) from error
    return text, "utf-8" if is_utf8(text) else "guessed"
