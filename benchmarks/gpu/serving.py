"""Measure the server on a GPU over HTTP: its answers against the CPU's, and its latency under an open loop.

Requests ask for ten-crop classification of photographs; load generator and server share the processor.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from benchmarks.gallery import read_gallery_files
from benchmarks.gpu.rows import PartOptions, RowWriter
from benchmarks.load_generator import enlarge_some
from benchmarks.servers import Server, start_server
from benchmarks.serving import LOAD_FRACTIONS, measure_under_load
from model.artifacts.artifact import Artifact
from model.artifacts.packed import unpack_bundled
from model.images.crops import TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel

NUM_IMAGES = 100
NUM_COMPARED_IMAGES, QUICK_COMPARED_IMAGES = 20, 2
SECONDS, QUICK_SECONDS = 20.0, 5.0
"""Duration of an open loop; before each, the peak is measured for half as long."""
MAX_DIFFERENCE = 1e-4


def difference_from_cpu(server: Server, artifact: Artifact, images: Sequence[bytes]) -> float:
    """Largest difference in the probability of any class from the network on the CPU."""
    model, largest = OnnxModel(artifact.network_path, "cpu"), 0.0
    for image in images:
        response = httpx2.post(f"{server.url}?top={model.num_classes}", files={"image": image}, timeout=60)
        answers = response.raise_for_status().json()["predictions"]
        pixels = decode_image(image, contract=artifact.image_contract).pixels
        expected = model.run(pixels[None], TEN_CROP)[0][0]
        differences = [answer["probability"] - expected[answer["index"]] for answer in answers]
        largest = max(largest, float(np.abs(differences).max()))
    return largest


def measure_load(server: Server, images: Sequence[bytes], fraction: float, seconds: float) -> dict[str, Any]:
    """Run one open loop at a fraction of the peak. Returns rates, latencies, and statuses (`ok`: 200, `others`)."""
    (row,) = measure_under_load(server, images, seconds, (fraction,))
    rates = ("peak_per_second", "offered_per_second", "goodput_per_second")
    latencies = {f"{name}_ms": value for name, value in row["latency_ms"].items() if name != "count"}
    statuses = dict(row["statuses"])
    return (
        {name: row[name] for name in rates}
        | latencies
        | {
            "ok": statuses.pop("200", 0),
            "others": ", ".join(f"{count} x {status}" for status, count in statuses.items()),
            "generator_delay_p99_ms": row["generator_delay_ms"].get("p99"),
        }
    )


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Compare probabilities, then run open loops below, at and above the peak."""
    seconds, fractions = (QUICK_SECONDS, (0.5,)) if options.is_quick else (SECONDS, LOAD_FRACTIONS)
    num_compared = QUICK_COMPARED_IMAGES if options.is_quick else NUM_COMPARED_IMAGES
    images = enlarge_some(read_gallery_files(10 if options.is_quick else NUM_IMAGES))
    with tempfile.TemporaryDirectory() as folder:
        artifact = unpack_bundled("photos", Path(folder))
        command = ["-m", "alexnet", "serve", "--artifact", str(artifact.path), "--port", "{port}"]
        with start_server([*command, "--device", options.device], images[0]) as server:
            with server.running():
                difference = difference_from_cpu(server, artifact, images[:num_compared])
            rows.require_at_most("probabilities, against the CPU", difference, MAX_DIFFERENCE)
            for fraction in fractions:
                measure_row = partial(measure_load, server, images, fraction, seconds)
                rows.measure(f"{100 * fraction:.0f} % of the peak", measure_row)
