"""Print the results of many images one by one, in the order of the images, and count those that can't be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import typer

from alexnet.cli.errors import FAILED
from alexnet.cli.output import Format, ResultPrinter
from model.datasets.names import show_path
from model.plurals import count_of

if TYPE_CHECKING:
    from alexnet.image_files import ImageInputs
    from model.artifacts.artifact import Artifact
    from model.datasets.listing import Skipped
    from model.images.info import WarningKind


MAX_NAME_WIDTH = 48
"""Maximum width of the column of names; a longer name shifts the rest of its line."""


@dataclass(frozen=True)
class Result:
    """The result for an image. `error`: why it can't be read.

    `rows`: one for each class or neighbor. `extra`: fields of the image itself.
    """

    image: str
    rows: Sequence[Mapping[str, Any]] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    error: Skipped | None = None


def print_results(
    images: Sequence[str] | None,
    files_from: str | None,
    compute: Callable[[Sequence[str], Counter[WarningKind]], Iterable[Result]],
    name: str,
    form: Format,
    artifact: Artifact,
    columns: Sequence[str],
    format_text: Callable[[Result, int], str],
) -> None:
    """Print the results of `images` and of the images that the file `files_from` lists.

    `name`: key of the rows in JSON. `artifact`: the network, whose name and version JSON includes. `format_text`:
    formats a result as text; its second argument is the width of the column of names, or 0 for a single image. Text
    shows paths as `show_path` does, JSON and CSV show them as they are. Images that can't be read are named on standard
    error; raises typer.Exit with the status 1 if there are any.
    """
    from tqdm import tqdm

    from alexnet.image_files import find_inputs

    model = {"name": artifact.manifest.name, "version": artifact.manifest.version}
    inputs = find_inputs(images or (), files_from)
    printer, num_skipped = ResultPrinter(form, columns), 0
    warnings: Counter[WarningKind] = Counter()
    width = min(MAX_NAME_WIDTH, max(len(show_path(name)) for name in inputs.names)) if len(inputs.names) > 1 else 0
    for result in compute(inputs.names, warnings):
        with tqdm.external_write_mode():
            if result.error is None:
                rows = [{"rank": rank, **row} for rank, row in enumerate(result.rows, 1)] or [{}]  # name it anyway
                lines = [
                    [result.image, *((result.extra | row).get(column) for column in columns[1:-1]), ""] for row in rows
                ]
                text = format_text(replace(result, image=show_path(result.image)), width) if form == "text" else ""
                printer.print({"image": result.image, "model": model, name: result.rows, **result.extra}, text, lines)
            else:
                num_skipped += 1
                _report_skipped(printer, result.image, result.error, len(columns) - 2)
    num_images = len(inputs.names) - num_skipped
    printer.close(num_images=num_images, num_skipped=num_skipped, num_other_files=len(inputs.skipped))
    end_with_counts(inputs, num_skipped, warnings)


def end_with_counts(inputs: ImageInputs, num_skipped: int, warnings: Mapping[WarningKind, int]) -> None:
    """Print on standard error how many images had each warning, and, if there are several or one was skipped, how many
    were read; raise typer.Exit with the status 1 if any were skipped."""
    from model.images.info import summarize_warnings

    if warnings:
        typer.echo(summarize_warnings(warnings), err=True)
    num_images, num_others = len(inputs.names) - num_skipped, len(inputs.skipped)
    if num_skipped or len(inputs.names) > 1:
        others = count_of(num_others, "other file or folder", "other files or folders")
        others = f", {others} left out" if num_others else ""
        typer.echo(
            f"{num_images:,} of {count_of(len(inputs.names), 'image')} read, {num_skipped:,} skipped{others}", err=True
        )
    if num_skipped:
        raise typer.Exit(FAILED)


def format_list(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _report_skipped(printer: ResultPrinter, image: str, skipped: Skipped, num_empty: int) -> None:
    typer.echo(f"skipped {skipped}", err=True)
    if printer.form != "text":
        reason = skipped.detail or skipped.reason
        printer.print({"image": image, "error": reason}, "", [[image, *[""] * num_empty, reason]])
