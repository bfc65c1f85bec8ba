"""Print results on standard output as one JSON document, JSON lines, CSV or text, and all else on standard error."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, Literal

import typer

from model.exceptions import InvalidRequestError

Format = Literal["text", "csv", "jsonl", "json"]


def print_json(document: object) -> None:
    """Print one JSON document. Raises ValueError for numbers that JSON doesn't have: NaN and infinity."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


@contextmanager
def log_to_stderr(when: bool) -> Iterator[None]:
    """Send what is printed inside to standard error, if `when`, so that standard output has only the result."""
    if when:
        with redirect_stdout(sys.stderr):
            yield
    else:
        yield


def choose_format(as_json: bool, as_jsonl: bool, as_csv: bool) -> Format:
    """The format that --json, --jsonl or --csv selects. Raises InvalidRequestError if several are given."""
    options: dict[Format, bool] = {"json": as_json, "jsonl": as_jsonl, "csv": as_csv}
    forms = [form for form, given in options.items() if given]
    if len(forms) > 1:
        raise InvalidRequestError(f"--{forms[0]} and --{forms[1]} can't be combined: give one of them")
    return forms[0] if forms else "text"


class ResultPrinter:
    """Prints results one by one, so that memory use doesn't grow with their number.

    In JSON, they are the list `results` of one object, which ends with the counts passed to `close`. `columns`: column
    names of the CSV, printed with the first result, so that an error before it leaves no table.
    """

    def __init__(self, form: Format, columns: Sequence[str] = ()) -> None:
        self.form, self.columns = form, columns
        self._num_printed = 0

    def print(self, row: Mapping[str, Any], text: str, lines: Iterable[Sequence[object]] = ()) -> None:
        """Print one result: as JSON, as text, or as lines of CSV."""
        if self.form == "csv":
            self._print_csv(lines if self._num_printed else [self.columns, *lines])
        elif self.form == "text":
            typer.echo(text)
        elif self.form == "jsonl":
            typer.echo(_to_json(row))
        else:
            before = ",\n" if self._num_printed else '{"results": [\n'
            typer.echo(before + _to_json(row), nl=False)
        self._num_printed += 1

    def close(self, **counts: int) -> None:
        """End the output. `counts`: added to the JSON object."""
        if self.form == "json":
            tail = "".join(f', "{name}": {count}' for name, count in counts.items())
            typer.echo(("\n" if self._num_printed else '{"results": [') + f"]{tail}}}")
        elif self.form == "csv" and not self._num_printed:
            self._print_csv([self.columns])

    def _print_csv(self, lines: Iterable[Sequence[object]]) -> None:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(lines)
        typer.echo(buffer.getvalue(), nl=False, color=True)  # keeps color codes in file names


def _to_json(row: Mapping[str, Any]) -> str:
    """JSON text. Bytes of a file name that aren't UTF-8, which Python keeps as surrogates (PEP 383), are escaped."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return re.sub("[\ud800-\udfff]", lambda surrogate: f"\\u{ord(surrogate[0]):04x}", text)
