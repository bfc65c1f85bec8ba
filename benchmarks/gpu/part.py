"""Run one part in this process: `python -m benchmarks.gpu.part MODULE FILE --device cuda`. Started by `parts.py`."""

from __future__ import annotations

import traceback
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.gpu.rows import PartOptions, RowWriter


def main(
    module: Annotated[str, typer.Argument(help="Module with a function `measure(options, rows)`.")],
    file: Annotated[Path, typer.Argument(help="Where the rows are written.")],
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="The device.")] = "cuda",
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes.")] = False,
) -> None:
    """Measure the part's rows; status 1 if one of them failed."""
    rows = RowWriter(file)
    try:
        import_module(module).measure(PartOptions(device, quick), rows)
    except (Exception, SystemExit):
        rows.fail("the rest of the part", traceback.format_exc())
    raise typer.Exit(1 if rows.num_errors else 0)


if __name__ == "__main__":
    typer.run(main)
