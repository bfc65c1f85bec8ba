"""Write benchmark results as dated JSON files with commit and machine, and format tables for the terminal."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from model.cpus import available_cpus
from model.files import atomic_write
from training.publish.provenance import commit

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
COMPARED = ("onnxruntime", "openvino", "faiss-cpu", "faiss-gpu", "usearch", "fastapi", "uvicorn", "litserve")
"""Packages whose version is part of a result, if they are installed."""


def _make_folder(folder: Path) -> Path:
    """Make the result's folder before anything is measured."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


OutputOption = Annotated[
    Path,
    typer.Option(help="Folder for the result file.", file_okay=False, writable=True, callback=_make_folder),
]


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Name of the device, number of usable cores, and versions of Python, torch and the `COMPARED` packages."""
    versions = {}
    for package in COMPARED:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "cores": available_cpus(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": name,
        "versions": versions,
    }


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def write_result(
    output: Path, name: str, values: Mapping[str, Any], device: str = "cpu", replaced: Path | None = None
) -> Path:
    """Write `values` with date, commit and machine to NAME-DATE.json in the folder `output`, and print its path.

    A result from the same day is kept: the next one is NAME-DATE-2.json. `replaced`: an earlier result file of the same
    process, to overwrite.
    """
    head = {"date": f"{date.today()}", "commit": commit(), "machine": describe_machine(torch.device(device))}
    output.mkdir(parents=True, exist_ok=True)
    target = replaced or _free_path(output, f"{name}-{head['date']}")
    with atomic_write(target) as file:
        file.write(json.dumps(head | dict(values), indent=1) + "\n")
    typer.echo(f"written: {target}")
    return target


def _free_path(folder: Path, stem: str) -> Path:
    """STEM.json, or the first of STEM-2.json, STEM-3.json, ... that doesn't exist yet."""
    stems = chain([stem], (f"{stem}-{number}" for number in count(2)))
    return next(path for path in (folder / f"{name}.json" for name in stems) if not path.exists())


def format_table(rows: Mapping[str, Mapping[str, Any]], title: str = "") -> str:
    """Aligned text with a line per row and a column for each key of any row; missing values leave a cell empty."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    cells = [[title, *columns]]
    cells += [[name, *(_format_cell(row.get(column, "")) for column in columns)] for name, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]).rstrip())
    return "\n".join(lines)


def _format_cell(value: object) -> str:
    """Integers and floats from 100 up as integers with separators; other floats with three significant digits."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
