"""The demo: the bundled solar-cell network, and an index of the 2,624 ELPV images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alexnet.indexing import index_dataset
from index.backends import IndexUri
from model.artifacts.packed import unpack_bundled
from server.listening import check_address
from server.run import load_settings, serve
from training.data.archives import load_elpv
from training.evaluation.evaluate import format_measurements


def run_demo(host: str, port: int, home: Path, log: Callable[[str], None]) -> None:
    """Unpack the bundled network below `home`, index the ELPV images and serve both. Raises AlexNetError."""
    check_address(host, port)
    artifact = unpack_bundled("elpv", home / "artifacts")
    log("errors of the bundled network on held-out images:")
    log(format_measurements(artifact.manifest.measurements))
    index = artifact.default_index_path(home / "indexes")
    indexed = index_dataset("elpv", artifact, IndexUri(index))
    report = indexed.report
    log(f"index {index}: {indexed.size:,} images ({report.added:,} added, {report.existing:,} already indexed)")
    examples = [example.path for example in load_elpv().test[:2]]
    url = f"http://{host}:{port}"
    log(f"\nweb page: {url}/   API: {url}/docs\ntry:")
    log(f"  curl -F image=@{examples[0]} {url}/classify")
    log(f"  curl -F image=@{examples[1]} {url}/similar")
    log(f"  curl {url}/images/1/thumbnail -o neighbor.jpg\n")
    serve(load_settings(None, {"artifact": artifact.path, "index": index, "host": host, "port": port}), log)
