"""Serve the demo: a bundled network and an index of its images."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alexnet.indexing import index_dataset, list_image_files
from index.backends import IndexUri, open_readonly
from model.artifacts.artifact import Artifact
from model.artifacts.packed import unpack_bundled
from model.checksums import verify_checksums
from model.exceptions import IndexFormatError, IndexNotFoundError
from server.connections.listening import check_address
from server.run import load_settings, serve
from training.data.archives import load_elpv

DemoData = Literal["photos", "elpv"]
"""The bundled network and its images."""
GALLERY = Path(__file__).parent / "gallery"
TABLE = "attribution.csv"
EXAMPLES = ("images/0411ca972e637297.webp", "images/grocery-020.webp")
"""Gallery images in the requests to try: one to classify, one to search with."""


@dataclass(frozen=True)
class Demo:
    """What a demo serves. `examples`: images to classify and to search with."""

    artifact: Artifact
    index: Path
    examples: list[Path]


def run_demo(
    data: DemoData,
    host: str,
    port: int,
    home: Path,
    log: Callable[[str], None],
    show_page: Callable[[str], None] | None = None,
) -> None:
    """Prepare a demo below `home`, and serve it until a signal; print requests to try once it answers.

    `show_page`: see `server.run.serve`. Raises AlexNetError.
    """
    check_address(host, port)
    demo = prepare_demo(data, home, log)

    def show(url: str) -> None:
        for line in describe_requests(url, demo.examples):
            log(line)
        if show_page is not None:
            show_page(url)

    settings = {"artifact": demo.artifact.path, "index": demo.index, "host": host, "port": port}
    serve(load_settings(None, settings), log, show)


def prepare_demo(data: DemoData, home: Path, log: Callable[[str], None]) -> Demo:
    """Unpack a bundled network below `home` and index its images, unless an earlier call has done so.

    Raises AlexNetError, which for a damaged bundled file names its checksum.
    """
    images, examples = _elpv() if data == "elpv" else _photos()
    log(f"preparing the network {data} and its index in {home.resolve()}")
    artifact = unpack_bundled(data, home / "artifacts")
    index = artifact.default_index_path(home / "indexes")
    total = len(list_image_files(images, None, None, ()).entries)
    if _count_readable(index, log) < total:
        index_dataset(images, artifact, IndexUri(index))
    log(f"index {index}: {_count_indexed(index):,} images")
    return Demo(artifact, index, examples)


def _count_readable(index: Path, log: Callable[[str], None]) -> int:
    """Number of images in an index, 0 if there is none yet. Move an index in another version's format aside."""
    try:
        return _count_indexed(index)
    except IndexFormatError as error:
        aside = index.with_name(f"{index.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        index.rename(aside)
        log(f"{error}\nrebuilding it; the old index is in {aside}")
        return 0


def _count_indexed(index: Path) -> int:
    """Number of images in an index, 0 if there is none yet."""
    try:
        with closing(open_readonly(IndexUri(index))) as opened:
            return len(opened)
    except IndexNotFoundError:
        return 0


def describe_requests(url: str, examples: list[Path]) -> list[str]:
    """Requests to try, as shell commands. `url`: of the web page, with a trailing slash."""
    commands = [
        ["curl", "-F", f"image=@{example}", url + path]
        for example, path in zip(examples, ("classify", "similar"), strict=True)
    ]
    commands += [["curl", f"{url}images/1"], ["curl", f"{url}images/1/thumbnail", "-o", "neighbor.jpg"]]
    return [f"\nweb page: {url}   API: {url}docs\ntry:", *(f"  {shlex.join(command)}" for command in commands), ""]


def _photos() -> tuple[str, list[Path]]:
    """The table of the gallery, and two example images."""
    verify_checksums(GALLERY)
    return str(GALLERY / TABLE), [GALLERY / name for name in EXAMPLES]


def _elpv() -> tuple[str, list[Path]]:
    """The name of the solar cell data set, and two example images."""
    return "elpv", [example.path for example in load_elpv().test[:2]]
