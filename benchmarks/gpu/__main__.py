"""Benchmark a GPU: its peaks, training, two towers, inference, search and serving.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --only training --only search
    python -m benchmarks.gpu --device cpu --quick --output build/gpu

Each part runs in its own process with a time limit, so that one that crashes or hangs doesn't end the others. The
result file is written after each part and includes the rows that a part measured before it ended. Data and weights are
in the repository. Without a GPU, `--device cpu --quick` runs every part with tiny sizes; its figures say nothing about
speed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.command import run_main
from benchmarks.gpu.parts import PARTS, PartResult, run_parts
from benchmarks.gpu.rows import PartOptions
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from model.exceptions import TrainingError
from training.loop.runtime import pick_device


def check_parts(names: list[str] | None) -> list[str] | None:
    """The names of parts. Raises BadParameter for an unknown one."""
    for name in names or []:
        if name not in PARTS:
            raise typer.BadParameter(f"unknown part {name!r}: choose from {', '.join(PARTS)}")
    return names


def format_part(name: str, result: PartResult) -> str:
    """A part's table, and a line for each row that failed or was left out."""
    lines = [f"{name}: {result.status} after {result.seconds:.0f} of at most {result.limit_seconds:.0f} seconds"]
    if result.measured.rows:
        numbers = {
            row: {key: value for key, value in values.items() if not isinstance(value, list)}
            for row, values in result.measured.rows.items()
        }
        lines.append(format_table(numbers))
    lines += [f"failed: {row}: {error}" for row, error in result.measured.errors.items()]
    lines += [f"left out: {row}: {reason}" for row, reason in result.measured.left_out.items()]
    if result.output and not result.measured.errors:
        lines.append(result.output)
    return "\n".join(lines)


def main(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", callback=check_parts, help=f"{', '.join(PARTS)}; may be repeated."),
    ] = None,
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu only checks that the benchmark runs.")] = "cuda",
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes, which say nothing about speed.")] = False,
    part_seconds: Annotated[float, typer.Option(min=1, help="Time limit per part.")] = 300,
    total_seconds: Annotated[float, typer.Option(min=1, help="Time limit for all parts together.")] = 1200,
    output: OutputOption = RESULTS,
) -> None:
    """Measure the parts, print a table of each, and write a dated result after each; status 1 if one failed."""
    try:
        pick_device(device)
    except TrainingError as error:
        raise SystemExit(f"error: {error}") from None
    names = [name for name in PARTS if not only or name in only]
    file_name = "-".join(["gpu", device, *(["quick"] if quick else []), *(names if only else [])])

    target: Path | None = None

    def report(results: dict[str, PartResult]) -> None:
        nonlocal target
        name = list(results)[-1]
        typer.echo(format_part(name, results[name]))
        values = {"is_quick": quick, "parts": {part: result.to_json() for part, result in results.items()}}
        target = write_result(output, file_name, values, device, target)

    parts = {name: PARTS[name] for name in names}
    results = run_parts(parts, PartOptions(device, quick), part_seconds, total_seconds, report)
    failed = [name for name, result in results.items() if result.status != "finished"]
    if failed:
        raise SystemExit(f"not finished: {', '.join(failed)}; the result file says why, and has what they measured")


if __name__ == "__main__":
    run_main(main)
