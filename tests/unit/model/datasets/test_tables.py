"""Tables from spreadsheets: encodings, separators and columns are recognized, or refused with what was seen."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from model.datasets.attribution import Attribution
from model.datasets.listing import Listing
from model.exceptions import DatasetError
from tests.helpers.listings import read_images

ROWS = [("p/1.png", "cat"), ("p/2.png", "café"), ("p/3.png", "dog")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p").mkdir()
    for number in range(1, 4):
        (tmp_path / "p" / f"{number}.png").write_bytes(b"x")
    return tmp_path


def write(folder: Path, text: str, encoding: str = "utf-8", name: str = "t.csv") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def rows(listing: Listing) -> list[tuple[str, str | None]]:
    return [(Path(entry.file).relative_to(listing.root.parent).as_posix(), entry.label) for entry in listing.entries]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encodings_and_separators(folder: Path, encoding: str, separator: str) -> None:
    text = "\r\n".join(separator.join(row) for row in [("path", "label"), *ROWS]) + "\r\n"
    listing = read_images(write(folder, text, encoding))
    assert rows(listing) == ROWS
    said = {"utf-8": 0, "utf-8-sig": 0}.get(encoding, 1)
    assert len(listing.notes) == said


def test_what_was_guessed_is_said(folder: Path) -> None:
    listing = read_images(write(folder, "Image;Class;Set;comment\np/2.png;café;Training;me\n", "cp1252", "LABELS.CSV"))
    assert rows(listing) == [("p/2.png", "café")]
    assert listing.entries[0].split == "train"
    assert listing.notes == (
        "the table isn't entirely UTF-8: the rest was read as cp1252 or cp437, in labels such as café",
        "columns that weren't used: comment",
        "columns read: Image as path, Class as label, Set as split",
    )


@pytest.mark.parametrize("header", ["filename,category", "File Name,Label", "img-path,target", "sep=,\npath,label"])
def test_names_of_columns(folder: Path, header: str) -> None:
    assert rows(read_images(write(folder, f"{header}\np/1.png,cat\n", name="t.CSV"))) == [("p/1.png", "cat")]


def test_a_column_for_the_split_and_the_group(folder: Path) -> None:
    text = "path,label,Partition,source\np/1.png,cat,VALID,a\np/2.png,cat,Testing,b\n\n,,,\n"
    listing = read_images(write(folder, text))
    assert [(entry.split, entry.group) for entry in listing.entries] == [("validation", "a"), ("test", "b")]
    assert listing.has_splits


def test_columns_for_the_attribution(folder: Path) -> None:
    text = (
        "path,label,author,author_page,Page,licence\n"
        "p/1.png,cat, Ann ,https://a.example/ann,http://a.example/1,CC BY 2.0\n"
        "p/2.png,cat,Ben,javascript:alert(1),17,\n"
        "p/3.png,cat,,,,\n"
    )
    listing = read_images(write(folder, text))
    assert [entry.attribution for entry in listing.entries] == [
        Attribution("Ann", "https://a.example/ann", "http://a.example/1", "CC BY 2.0"),
        Attribution("Ben"),
        None,
    ]
    advice = "isn't used: web addresses begin with http:// or https://"
    assert set(listing.notes) == {
        "columns read: licence as license",
        f"1 value of author_page {advice}",
        f"1 value of Page {advice}",
    }


def test_labels_are_trimmed_and_counted(folder: Path) -> None:
    text = f"path,label\np/1.png,cat\np/2.png, cat \np/3.png,{unicodedata.normalize('NFD', 'é')}\n"
    listing = read_images(write(folder, text))
    assert [label.id for label in listing.classes] == ["cat", "é"]
    assert listing.notes == ("2 spellings of labels were normalized (spaces or Unicode form)",)


def test_a_list_of_images_without_labels(folder: Path) -> None:
    assert rows(read_images(write(folder, "path\np/1.png\n"))) == [("p/1.png", None)]


def test_paths_are_found_in_other_spellings(folder: Path) -> None:
    decomposed, foreign = unicodedata.normalize("NFD", "é.png"), os.fsdecode("ü.png".encode("cp1252"))
    for name in (decomposed, foreign):
        (folder / "p" / name).write_bytes(b"x")
    (folder / "p" / "a b.png").write_bytes(b"x")
    text = "path,label\np\\1.png,a\n p/2.png ,a\np/é.png,a\n".encode() + b"p/\xfc.png,a\n"
    text += f"file://{folder}/p/3.png,a\np/a%20b.png,a\n".encode()
    (folder / "t.csv").write_bytes(text)
    listing = read_images(folder / "t.csv")
    expected = ["p/1.png", "p/2.png", f"p/{decomposed}", f"p/{foreign}", "p/3.png", "p/a b.png"]
    assert [name for name, _ in rows(listing)] == expected
    assert "1 path with \\ changed to /" in listing.notes


def test_what_is_excluded_is_looked_for_below_the_folder_of_all(folder: Path) -> None:
    """Absolute paths, as a run writes them, also contain folders above the data, which patterns must not match."""
    absolute = write(folder, "path,label\n" + "".join(f"{folder}/p/{n}.png,cat\n" for n in (1, 2, 3)))
    for pattern, count in ((folder.name, 3), ("p", 3), ("*.png", 0), ("3.png", 2)):
        if count:
            assert len(read_images(absolute, exclude=[pattern]).entries) == count, pattern
        else:
            with pytest.raises(DatasetError, match="no images in"):
                read_images(absolute, exclude=[pattern])


def test_rows_that_cannot_be_used_are_skipped_and_named(folder: Path) -> None:
    os.mkfifo(folder / "p" / "pipe.png")
    text = "path,label\np/1.png,cat\np/gone.png,cat\np/1.png,cat\np,cat\np/pipe.png,cat\np/3.png,dog\n"
    listing = read_images(write(folder, text), exclude=["3.png"])
    assert rows(listing) == [("p/1.png", "cat")]
    assert [(Path(entry.path).name, entry.reason) for entry in listing.skipped] == [
        ("gone.png", "missing files"),
        ("1.png", "listed twice"),
        ("p", "missing files"),
        ("pipe.png", "pipes, sockets and devices"),
        ("3.png", "excluded"),
    ]
    assert "missing files, such as p/gone.png" in listing.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns path and label .* got: nothing"),
        ("p/1.png,cat\n", "got: p/1.png,cat"),
        ("path|label\np/1.png|cat\n", "got: path|label"),
        ("path,species\np/1.png,cat\n", "got: path,species$"),
        ("path,lable\np/1.png,cat\n", r"got: path,lable; did you mean label for lable\?$"),
        ("Pfad,Flie_name,lable\np/1.png,cat\n", r"did you mean path for Flie_name and label for lable\?$"),
        (
            "file,image,label\np/1.png,p/2.png,cat\n",
            "several columns of .* may be the path: file, image; rename one to path",
        ),
        ("path,label\np/1.png,\n", "line 2 .* needs a label"),
        ("path,label\n\n,cat\n", "line 3 .* needs a path"),
        ("path,label\np/1.png,cat,dog\n", "line 2 .* 3 values for 2 columns"),
        (
            "path,label,split\np/1.png,cat,train\np/2.png,cat,tset\n",
            r"line 3 .* its split is 'tset' \(did you mean test\?\); it",
        ),
        ("path,label,split\np/1.png,cat,trian\n", r"its split is 'trian' \(did you mean train\?\); it must be"),
        ("path,label,split\np/1.png,cat,mine\n", "its split is 'mine'; it must be train, validation or test"),
        ("path,label,split\np/1.png,cat,\n", "line 2 .* its split is ''"),
        ("path,label\np/1.png,cat\np/\0.png,cat\n", "line 3 .* NUL character"),
        ('path,label\np/1.png,"cat\np/2.png,dog\n', "line 2 .*a quotation mark isn't closed"),
        ("path,label\np/1.png,cat\np/1.png,dog\n", "lines 2 and 3 of .* give .* different labels"),
        ("path,label\np/1.png,cat\n./p//1.png,dog\n", "lines 2 and 3 of .* give .* different labels"),
        ("path,label\nhttps://example.com/1.png,cat\n", "lists URLs, such as https://example.com/1.png: down"),
        ("PK\3\4", "is a spreadsheet or another zip file"),
        ("path,label\nq/1.png,cat\n", r"none of the files in .* exist \(first: .*q/1.png"),
        ("path,label\n", "no images in"),
    ],
)
def test_tables_that_are_not_understood_are_refused(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_images(write(folder, text))


def test_an_encoding_that_is_not_what_it_begins_as(folder: Path) -> None:
    (folder / "t.csv").write_bytes(b"\xff\xfep")
    with pytest.raises(DatasetError, match="looks like utf-16, but can't be decoded as such"):
        read_images(folder / "t.csv")


def test_a_column_that_is_nearly_one_is_named(folder: Path) -> None:
    listing = read_images(write(folder, "path,label,spilt,weight\np/1.png,cat,train,3\n"))
    assert listing.notes == ("columns that weren't used: spilt (did you mean split?), weight",)


def test_messages_name_the_first_of_many_columns(folder: Path) -> None:
    """Those that may be misspelled come first."""
    many, table = [f"c{number}" for number in range(2000)], folder / "many.csv"
    table.write_text(f"path,label,{','.join(many)},spilt\np/1.png,x{',' * 2001}\n")
    (note,) = read_images(table).notes
    assert note == f"columns that weren't used: spilt (did you mean split?), {', '.join(many[:19])} and 1,981 more"
    table.write_text(f"path,label,{'n' * 5000}\np/1.png,x,\n")
    assert read_images(table).notes == (f"columns that weren't used: {'n' * 200}",)
    refused = ("label," + ",".join(["file"] * 2000), "label," + ",".join(f"path{number}" for number in range(2000)))
    for header in refused:
        table.write_text(f"{header}\n")
        with pytest.raises(DatasetError) as raised:
            read_images(table)
        assert len(str(raised.value)) < 600 + len(str(table))


def test_relative_and_absolute_paths_of_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    absolute = folder / "p" / "1.png"
    listing = read_images(write(Path(), f"path,label\np/1.png,cat\np/2.png,dog\n{absolute},cat\n"))
    assert len(listing.entries) == 2
    assert [entry.reason for entry in listing.skipped] == ["listed twice"]
    with pytest.raises(DatasetError, match="different labels or splits"):
        read_images(write(Path(), f"path,label\np/1.png,cat\n{absolute},dog\n"))


def test_a_path_above_a_linked_folder_is_in_the_folder_that_the_link_names(tmp_path: Path) -> None:
    """`link/..` isn't the folder that holds the link."""
    for place in ("project/images/a.png", "disk/images/a.png", "disk/images/b.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(place.encode())
    (tmp_path / "disk" / "labels").mkdir()
    write(tmp_path / "disk" / "labels", "path,label\n../images/a.png,x\n../images/b.png,y\n")
    (tmp_path / "project" / "labels").symlink_to(tmp_path / "disk" / "labels")
    listing = read_images(tmp_path / "project" / "labels" / "t.csv")
    assert [Path(entry.path).read_text() for entry in listing.entries] == ["disk/images/a.png", "disk/images/b.png"]
