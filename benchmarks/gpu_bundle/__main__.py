"""Bundle wheels and data for a machine without a network, which has Python, PyTorch with CUDA and little else.

    python -m benchmarks.gpu_bundle --packages packages.txt --keep torch --data ~/images --output bundle

packages.txt is what `python3 -m pip list --format=freeze` prints on that machine. The bundle has this program with its
extra `train`, the packages of requirements-gpu.txt, and what the benchmarks need, except what that machine already has.
It is split into pieces of at most 24 MB. Copy them all, and run `python3 install.py` there: it names what is missing or
damaged, and installs the wheels without a network. The CUDA packages take hundreds of MB; --leave-out omits a package
of requirements-gpu.txt.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.command import run_main
from benchmarks.gpu_bundle.pieces import write_bundle
from benchmarks.gpu_bundle.wheels import (
    BundleError,
    Target,
    build_wheel,
    collect_wheels,
    parse_packages,
    python_version,
    required_version,
)
from benchmarks.results import ROOT
from training.publish.provenance import commit

GPU_REQUIREMENTS = ROOT / "requirements-gpu.txt"
REPLACED = {"onnxruntime-gpu": "onnxruntime", "faiss-gpu": "faiss-cpu"}
"""A package of requirements-gpu.txt -> the CPU package whose files it overwrites."""
BENCHMARK_REQUIREMENTS = ("httpx2>=2.16,<3",)


def list_requirements(wheel: Path, extra: str, left_out: frozenset[str]) -> list[str]:
    """Requirements: the program with an extra, requirements-gpu.txt, and the benchmarks' own. Raises BundleError."""
    lines = [line for line in GPU_REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    if unknown := left_out - names:
        raise BundleError(f"{', '.join(sorted(unknown))} isn't in {GPU_REQUIREMENTS.name}: correct --leave-out")
    gpu = [line for line in lines if canonicalize_name(Requirement(line).name) not in left_out]
    return [f"alexnet-server[{extra}] @ file://{wheel}", *gpu, *BENCHMARK_REQUIREMENTS]


def collect(wheel: Path, target: Target, data: list[Path], output: Path, extra: str, left_out: frozenset[str]) -> None:
    """Collect the wheels, write the bundle and print its contents. Raises BundleError."""
    requirements = list_requirements(wheel, extra, left_out)
    kept = [
        f"{name} stays at {target.packages[name]}; {required_version(name, requirements)} is required, and was tested"
        for name in sorted(target.kept)
    ]
    with tempfile.TemporaryDirectory() as folder:
        wheels = collect_wheels(requirements, target, Path(folder))
        for path in wheels:
            typer.echo(f"{path.stat().st_size / 1e6:8.1f} MB  {path.name}")
        facts = {
            "commit": commit(),
            "python": python_version(target.python),
            "replaced": sorted(target.replaced),
            "kept": kept,
        }
        files = write_bundle(output, wheels, data, facts)
    for sentence in kept:
        typer.echo(sentence)
    size = sum(path.stat().st_size for path in files) / 1e6
    typer.echo(f"{output}: {len(files)} files, {size:,.1f} MB; copy them all to the machine, and run install.py there")


def main(
    packages: Annotated[Path, typer.Option(exists=True, help="The machine's packages: its pip list --format=freeze.")],
    output: Annotated[Path, typer.Option(help="New folder for the bundle.")],
    data: Annotated[list[Path] | None, typer.Option(help="File or folder to include; may be repeated.")] = None,
    python: Annotated[
        str, typer.Option(help="Local Python of the machine's minor version, with pip.")
    ] = sys.executable,
    glibc: Annotated[int, typer.Option(min=17, help="The machine's C library is 2.GLIBC or newer.")] = 28,
    keep: Annotated[list[str] | None, typer.Option(help="Package to keep at its installed version.")] = None,
    upgrade: Annotated[list[str] | None, typer.Option(help="Package that may be replaced by another version.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="Package of requirements-gpu.txt not to include.")] = None,
    extra: Annotated[str, typer.Option(help="Extra of alexnet-server to include.")] = "train",
) -> None:
    """Collect wheels and data, and write the bundle."""
    kept, upgraded, left_out = (frozenset(map(canonicalize_name, names or [])) for names in (keep, upgrade, leave_out))
    try:
        present = parse_packages(packages.read_text())
        if missing := (kept | upgraded) - present.keys():
            raise BundleError(f"{', '.join(sorted(missing))} isn't in {packages}: correct --keep and --upgrade")
        replaced = frozenset(cpu for gpu, cpu in REPLACED.items() if gpu not in left_out)
        target = Target(present, python, glibc, upgraded, kept, replaced)
        with build_wheel(ROOT, python) as wheel:
            collect(wheel, target, data or [], output, extra, left_out)
    except BundleError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    run_main(main)
