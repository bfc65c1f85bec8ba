"""Collect the wheels that a machine without a network lacks: pip resolves them for its Python and platform.

For each package already on that machine, pip gets an empty wheel of the same version, without requirements: so pip
neither downloads the package nor chooses another version, and names what is incompatible with it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

STAND_IN = "target"
"""Local version of the empty wheels; no package index has it."""
OLDEST_GLIBC = 17
"""Oldest glibc among the manylinux tags that name a version, 2.17."""


class BundleError(Exception):
    """Something can't be collected; the message says what to do."""


@dataclass(frozen=True)
class Target:
    """The machine that the wheels are for.

    `packages`: what it has, name -> version. `python`: a Python on this machine with the target's minor version and
    pip; it decides conditions on the version. `glibc`: the minor version of its C library, 2.`glibc`. `upgraded`:
    packages whose version the bundle may change. `kept`: packages that stay, whatever version the requirements ask for.
    `replaced`: required packages that other required packages replace.
    """

    packages: Mapping[str, str]
    python: str
    glibc: int = 28
    upgraded: frozenset[str] = field(default_factory=frozenset)
    kept: frozenset[str] = field(default_factory=frozenset)
    replaced: frozenset[str] = field(default_factory=frozenset)


def parse_packages(text: str) -> dict[str, str]:
    """Name -> version from the output of `pip list --format=freeze`. Raises BundleError."""
    packages = dict[str, str]()
    for line in text.splitlines():
        name, equals, version = line.partition("==")
        if equals:
            packages[canonicalize_name(name.strip())] = version.strip()
        elif line.strip() and not line.startswith("#"):
            raise BundleError(f"expected NAME==VERSION, got {line!r}: write the file with pip list --format=freeze")
    return packages


def collect_wheels(requirements: Sequence[str], target: Target, folder: Path) -> list[Path]:
    """Download the wheels of `requirements` that the target lacks to an empty folder. Raises BundleError.

    A requirement with a file (`NAME @ file://...`) is taken from that file.
    """
    stand_ins = dict(choose_stand_ins(requirements, target))
    with tempfile.TemporaryDirectory() as name:
        empty, constraints = Path(name) / "wheels", Path(name) / "constraints.txt"
        empty.mkdir()
        for package, version in stand_ins.items():
            write_wheel(empty, package, version, {})
        constraints.write_text("".join(f"{package}=={version}\n" for package, version in stand_ins.items()))
        command = [
            *(target.python, "-m", "pip", "download", "--only-binary=:all:", "--implementation", "cp"),
            *("--python-version", python_version(target.python), *platform_options(target.glibc)),
            *("--find-links", str(empty), "--dest", str(folder), *requirements),
        ]
        environment = os.environ | {"PIP_CONSTRAINT": str(constraints)}  # overrides any configured one
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BundleError(
            f"pip can't collect the wheels:\n{done.stderr.strip()[-4000:]}\n"
            "on a version conflict, --upgrade NAME brings the required version; --keep NAME keeps the target's"
        )
    sys.stderr.write(done.stderr)
    wheels = []
    for path in sorted(folder.glob("*.whl")):
        if _is_stand_in(parse_wheel_filename(path.name)[1]):
            path.unlink()
        else:
            wheels.append(path)
    return wheels


def choose_stand_ins(requirements: Sequence[str], target: Target) -> Iterator[tuple[str, str]]:
    """Name and version of each empty wheel. Raises BundleError."""
    for name in sorted({*target.packages, *target.replaced, *target.kept} - target.upgraded):
        if name in target.replaced or name in target.kept:
            version = required_version(name, requirements)
        else:
            version = target.packages[name]
        yield name, f"{version}.{STAND_IN}" if "+" in version else f"{version}+{STAND_IN}"


def required_version(name: str, requirements: Iterable[str]) -> str:
    """The version of the first `==`, `>=` or `~=` on this name in the requirements, or in those of wheels with a file.

    Raises BundleError if there is none.
    """
    for requirement in iter_requirements(requirements):
        if canonicalize_name(requirement.name) == name:
            for specifier in requirement.specifier:
                if specifier.operator in ("==", ">=", "~="):
                    return specifier.version
    raise BundleError(f"no requirement sets a minimum version of {name}: leave it out of --keep")


def iter_requirements(requirements: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements and, for each wheel with a file, its own requirements for the requested extras."""
    for requirement in map(Requirement, requirements):
        yield requirement
        if requirement.url is None:
            continue
        with zipfile.ZipFile(requirement.url.removeprefix("file://")) as wheel:
            (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            lines = wheel.read(metadata).decode().splitlines()
        for line in lines:
            if line.startswith("Requires-Dist: "):
                needed = Requirement(line.removeprefix("Requires-Dist: "))
                extras = requirement.extras or {""}
                if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                    yield needed


def python_version(python: str) -> str:
    """The minor version of a Python, such as 3.12. Raises BundleError."""
    try:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise BundleError(f"{python} isn't a Python that runs here: {error}") from error


def platform_options(glibc: int) -> list[str]:
    """pip's options for every Linux x86-64 tag that glibc 2.`glibc` supports; pip doesn't infer older tags."""
    tags = [f"manylinux_2_{minor}_x86_64" for minor in range(glibc, OLDEST_GLIBC - 1, -1)]
    tags += [f"{name}_x86_64" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    return [word for tag in tags for word in ("--platform", tag)]


def write_wheel(folder: Path, name: str, version: str, modules: Mapping[str, str]) -> Path:
    """Write a pure Python wheel without requirements. `modules`: file name -> text."""
    escaped = canonicalize_name(name).replace("-", "_")
    info, target = f"{escaped}-{version}.dist-info", folder / f"{escaped}-{version}-py3-none-any.whl"
    files = dict(modules) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: alexnet-server\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},sha256={_record_hash(text)},{len(text.encode())}\n" for path, text in files.items()]
    with zipfile.ZipFile(target, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]))
    return target


def _record_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _is_stand_in(version: Version) -> bool:
    return (version.local or "").rpartition(".")[2] == STAND_IN


@contextmanager
def build_wheel(source: Path, python: str) -> Iterator[Path]:
    """Build the wheel of a source tree, in a folder that exists in this context. Raises BundleError."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(source)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise BundleError(f"pip can't build the wheel of {source}:\n{done.stderr.strip()[-4000:]}")
        (wheel,) = Path(folder).glob("*.whl")
        yield wheel
