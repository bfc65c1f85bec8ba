"""One JSON document, lines of JSON, CSV or text, printed as the results come."""

from __future__ import annotations

import json
import os

import pytest
import typer

from alexnet.cli.output import Format, ResultPrinter, choose_format, log_to_stderr, print_json
from model.exceptions import InvalidRequestError


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_document_of_any_number_of_results(capsys: pytest.CaptureFixture[str], count: int) -> None:
    printer = ResultPrinter("json")
    for number in range(count):
        printer.print({"number": number, "name": "é"}, "")
    printer.close(num_images=count)
    expected = [{"number": number, "name": "é"} for number in range(count)]
    assert json.loads(capsys.readouterr().out) == {"results": expected, "num_images": count}


@pytest.mark.parametrize(
    ("form", "printed"),
    [("text", "one\n"), ("jsonl", '{"number": 1}\n'), ("csv", 'number,text\n1,"a, b"\n'), ("json", '{"results": [\n')],
)
def test_a_result_is_printed_at_once(capsys: pytest.CaptureFixture[str], form: Format, printed: str) -> None:
    printer = ResultPrinter(form, ("number", "text"))
    printer.print({"number": 1}, "one", [[1, "a, b"]])
    assert capsys.readouterr().out.startswith(printed)


def test_formats_exclude_each_other() -> None:
    assert choose_format(False, False, False) == "text"
    assert choose_format(False, True, False) == "jsonl"
    with pytest.raises(InvalidRequestError, match="--json and --csv can't be combined"):
        choose_format(True, False, True)


@pytest.mark.parametrize("when", [True, False])
def test_a_log_beside_a_document(capsys: pytest.CaptureFixture[str], when: bool) -> None:
    with log_to_stderr(when):
        typer.echo("progress")
    print_json({"a": [1]})
    printed = capsys.readouterr()
    assert printed.err == ("progress\n" if when else "")
    assert json.loads(printed.out.removeprefix("progress\n")) == {"a": [1]}


def test_numbers_that_json_does_not_have_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"recall": float("nan")})
    assert capsys.readouterr().out == ""


def test_json_of_a_name_that_is_not_utf8(capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    ResultPrinter("jsonl").print({"file": name}, "")
    printed = capsys.readouterr().out
    printed.encode()  # is UTF-8
    assert json.loads(printed) == {"file": name}
