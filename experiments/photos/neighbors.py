"""Measure nearest neighbors by label on the gallery: by a network's features, by pixels and by gradient histograms.

    python -m experiments.photos.neighbors --output docs/results/photos-neighbors-DATE.json

Nothing is trained. Each image that shares its label with another is a query among all others, by Euclidean distance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from alexnet.demo import GALLERY
from experiments import command
from experiments.photos.measure import GROCERY_LICENSE, choose_half, load_network, read_gallery
from experiments.results import write_report
from index.evaluation import average_precision
from model.artifacts.artifact import Artifact
from model.artifacts.intervals import format_interval, wilson_interval
from model.datasets.image_files import read_image_file
from model.images.contract import DEFAULT_CONTRACT, ImageContract
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from training.evaluation.hog import hog_features

BATCH_SIZE = 20
Features = NDArray[np.float32]


def measure_neighbors(features: Features, labels: Sequence[str]) -> dict[str, Any]:
    """Precision at 1 with its 95 % interval, and mean average precision; each query is compared with all others."""
    counts = Counter(labels)
    names = np.array(labels)
    squares = (features.astype(np.float64) ** 2).sum(1)
    hits, precisions = 0, []
    for query in (number for number, label in enumerate(labels) if counts[label] > 1):
        distances = squares - 2 * (features @ features[query]).astype(np.float64)
        distances[query] = np.inf
        relevant = names[np.argsort(distances, kind="stable")[:-1]] == labels[query]
        hits += int(relevant[0])
        precisions.append(average_precision(relevant, int(relevant.sum())))
    share = hits / len(precisions)
    return {
        "images": len(labels),
        "queries": len(precisions),
        "precision_at_1": share,
        "interval": wilson_interval(share, len(precisions)),
        "mean_average_precision": float(np.mean(precisions)),
    }


def compute_features(artifact: Artifact, files: Sequence[Path]) -> dict[str, Features]:
    """Features (N, dim) of all files, by method name."""
    model = OnnxModel(artifact.network_path)

    def compute(contract: ImageContract, function: Callable[[NDArray[np.uint8]], Features]) -> Features:
        def read(file: Path) -> NDArray[np.uint8]:
            return decode_image(read_image_file(file), contract=contract).pixels

        batches = [files[start : start + BATCH_SIZE] for start in range(0, len(files), BATCH_SIZE)]
        return np.concatenate([function(np.stack([*map(read, batch)])) for batch in batches])

    name = f"{artifact.manifest.name} version {artifact.manifest.version}"
    return {
        f"{name}, center crop": compute(artifact.image_contract, lambda pixels: model.features(pixels, CENTER_CROP)),
        f"{name}, ten crops": compute(artifact.image_contract, lambda pixels: model.features(pixels, TEN_CROP)),
        "gradient histograms (HOG)": compute(DEFAULT_CONTRACT, hog_features),
        "pixels, 256 x 256": compute(
            DEFAULT_CONTRACT, lambda pixels: pixels.reshape(len(pixels), -1).astype(np.float32)
        ),
    }


def main(
    artifact: Annotated[Path | None, typer.Option(help="Artifact (default: the bundled network photos).")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file of the results.")] = None,
) -> None:
    """Measure the precision of nearest neighbors by label on the gallery."""
    loaded = load_network(artifact)
    rows = read_gallery()
    features = compute_features(loaded, [GALLERY / row["path"] for row in rows])
    from_elsewhere = np.array([row["license"] != GROCERY_LICENSE for row in rows])
    validation = np.array([choose_half(row["path"]) == "validation" for row in rows])
    sets = {
        "800 photographs": from_elsewhere,
        "their validation half": from_elsewhere & validation,
        "all 1,000 images": np.ones(len(rows), bool),
    }
    results: dict[str, dict[str, Any]] = {}
    for title, subset in sets.items():
        labels = [row["label"] for row, used in zip(rows, subset, strict=True) if used]
        results[title] = {name: measure_neighbors(values[subset], labels) for name, values in features.items()}
        typer.echo(f"{title}: {next(iter(results[title].values()))['queries']:,} queries")
        for name, result in results[title].items():
            typer.echo(
                f"  {name:32} precision at 1 {100 * result['precision_at_1']:5.1f} % "
                f"({format_interval(result['interval'])}), mAP {100 * result['mean_average_precision']:5.1f} %"
            )
    if output is not None:
        write_report(output, {"network": loaded.network_sha256, "results": results})


if __name__ == "__main__":
    command.run(main)
