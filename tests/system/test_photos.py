"""One command from a list of images with sources to a packed, sparse network."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from experiments.photos.make_network import make_network
from model.artifacts.packed import PACKED
from model.artifacts.weights import read_weights
from model.network.compression import unpack
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig


@pytest.mark.slow
def test_a_list_of_images_becomes_a_packed_network(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(few.glob("*/*.jpg"))
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "source"))
        writer.writerows((path, path.parent.name, "web" if number % 2 else "shop") for number, path in enumerate(files))
    config = TrainConfig.create(
        RecipeOptions("photos", epochs=3, batch_size=8),
        NetworkOptions(hidden=16, channels=(4, 8, 8, 8, 8)),
        RunOptions(name="photos"),
        Environment(data=str(tmp_path / "list.csv"), device="cpu", precision="float32", home=tmp_path),
    )
    artifact = make_network(config, tmp_path / "packed")
    assert unpack((tmp_path / "packed" / PACKED).read_bytes()) == artifact.network.read_bytes()
    for name, density in (("fc6", 0.10), ("fc7", 0.12), ("fc8", 0.5)):
        weights = read_weights(artifact)[1][f"{name}.weight"]
        assert float((weights != 0).mean()) == pytest.approx(density, abs=0.03), name
    training = artifact.manifest.training
    assert training["recipe"]["name"] == "photos"
    assert artifact.image_contract.detail == 48
    assert training["packing"]["epochs"] == 0
    printed = capsys.readouterr().out
    assert "compete within their source" not in printed
    assert "packed: " in printed
    assert not list(tmp_path.glob("runs/**/*.pt"))  # a finished run keeps no checkpoint
