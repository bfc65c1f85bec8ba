"""`python -m experiments.same_crystal`: compare errors on solar cells whose crystal was and wasn't trained on.

Neighboring wafers of a silicon brick show the same grains, so polycrystalline cells of the data set elpv come in twins.
Two cells are twins if their brightness, without the busbars and the patterns that all cells share, has a correlation
over 0.7 in one of eight orientations. Writes same_crystal.json: the share of test cells with a twin in training or
validation, how far apart twins are in the data set's numbering, and the errors on test cells with and without a twin.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from experiments import command
from experiments.results import write_report
from model.artifacts import artifact as artifacts
from model.artifacts.default import networks_folder
from model.artifacts.intervals import wilson_interval
from model.artifacts.packed import unpack_bundled
from model.runtime import OnnxModel
from training.data.archives import load_elpv
from training.evaluation.evaluate import decode_batches, predict
from training.evaluation.predictions import Predictions

SIZE, MARGIN, SHIFTS = 64, 6, (-1, 0, 1)
"""Pixels per side of a compared cell, the border to cut off, and the shifts to try."""
NUM_SHARED = 6
"""Number of principal components that all cells share, such as shadows of the frame; they don't show a crystal."""
THRESHOLD = 0.7


def read_grains(files: list[str]) -> NDArray[np.float32]:
    """(N, 52, 52) brightness of the cells' crystals alone, with mean 0 and standard deviation 1."""
    rows = []
    for file in files:
        with Image.open(file) as image:
            small = image.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX)
        detail = np.asarray(small, np.float32) - np.asarray(small.filter(ImageFilter.GaussianBlur(6)), np.float32)
        inner = detail[MARGIN:-MARGIN, MARGIN:-MARGIN]
        rows.append(inner.clip(-3 * inner.std(), 3 * inner.std()))
    cells = np.stack(rows)
    cells -= cells.mean(1, keepdims=True)
    cells -= cells.mean(2, keepdims=True)  # busbars
    flat = cells.reshape(len(cells), -1)
    flat -= flat.mean(0)
    shared = np.linalg.svd(flat, full_matrices=False)[2][:NUM_SHARED]
    flat = flat - (flat @ shared.T) @ shared
    return np.asarray((flat / flat.std(1, keepdims=True)).reshape(cells.shape), np.float32)


def correlate(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, N): the highest correlation of two cells over eight orientations and small shifts; -1 with itself."""
    count, pixels = len(cells), cells[0].size
    flat, best = cells.reshape(count, -1), np.full((count, count), -1, np.float32)
    for turns in range(4):
        for mirrored in (False, True):
            turned = np.rot90(cells, turns, (1, 2))
            turned = turned[:, :, ::-1] if mirrored else turned
            for shift in ((dy, dx) for dy in SHIFTS for dx in SHIFTS):
                moved = np.roll(turned, shift, (1, 2)).reshape(count, -1)
                np.maximum(best, flat @ moved.T / pixels, out=best)
    np.fill_diagonal(best, -1)
    return best


def compare_errors(predictions: Predictions, has_twin: NDArray[np.bool_]) -> dict[str, list[float]]:
    """Number of cells, top-1 error and its 95 % interval: for all cells, those with a twin and those without."""
    errors = {}
    for name, mask in (("all", np.ones_like(has_twin)), ("with a twin", has_twin), ("without a twin", ~has_twin)):
        for crops, scores in (("center crop", predictions.center), ("ten crops", predictions.probabilities)):
            error = float((scores.argmax(1) != predictions.labels)[mask].mean())
            errors[f"{name}, {crops}"] = [int(mask.sum()), error, *wilson_interval(error, int(mask.sum()))]
    return errors


def main(
    artifact: Annotated[Path | None, typer.Option(help="Artifact (default: the bundled network elpv).")] = None,
    output: command.OutputOption = command.RESULTS,
) -> None:
    """Find twins, measure a network on the test cells, and write the result."""
    dataset = load_elpv()
    is_poly = [label.id.startswith("poly") for label in dataset.labels]
    splits = {name: [e for e in part if is_poly[e.label]] for name, part in dataset.splits().items()}
    cells = [example for part in splits.values() for example in part]
    is_twin = correlate(read_grains([cell.file for cell in cells])) > THRESHOLD
    num_seen = len(splits["train"]) + len(splits["validation"])
    has_twin: NDArray[np.bool_] = np.asarray(is_twin[num_seen:, :num_seen].any(1))
    numbers = np.array([int(cell.path.stem.removeprefix("cell")) for cell in cells])
    apart = np.abs(np.subtract(*numbers[np.argwhere(np.triu(is_twin)).T]))
    network = artifacts.load(artifact) if artifact else unpack_bundled("elpv", networks_folder(Path()))
    batches = decode_batches(splits["test"], network.image_contract)
    predictions = predict(OnnxModel(network.network_path, "cpu"), batches, len(has_twin))
    result = {
        "network": f"{network.manifest.name} version {network.manifest.version}",
        "poly_test_cells": len(has_twin),
        "with_twin": float(has_twin.mean()),
        "distance_of_twins": {str(share): float(np.quantile(apart, share)) for share in (0.5, 0.9)},
        "top1_error": compare_errors(predictions, has_twin),
    }
    write_report(output / "same_crystal.json", result)
    typer.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    command.run(main)
