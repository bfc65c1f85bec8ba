"""One command from a list of images with sources to a packed, sparse network."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from experiments.photos.make_network import make_network
from experiments.photos.source_bias import add_biases, cross_validate, fit_biases, score
from model.artifacts.packed import PACKED
from model.artifacts.weights import read_weights
from model.network.compression import unpack
from tests.helpers.narrow_network import NARROW
from training.config import Environment, RecipeOptions, RunOptions, TrainConfig


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
        NARROW,
        RunOptions(name="photos"),
        Environment(data=str(tmp_path / "list.csv"), device="cpu", precision="float32", home=tmp_path),
    )
    artifact = make_network(config, tmp_path / "packed")
    assert unpack((tmp_path / "packed" / PACKED).read_bytes()) == artifact.network_path.read_bytes()
    for name, density in (("fc6", 0.10), ("fc7", 0.12), ("fc8", 0.5)):
        weights = read_weights(artifact)[1][f"{name}.weight"]
        assert float((weights != 0).mean()) == pytest.approx(density, abs=0.03), name
    training = artifact.manifest.training
    assert training["recipe"]["name"] == "photos"
    assert artifact.image_contract.detail == 48
    assert training["packing"]["epochs"] == 0
    printed = capsys.readouterr().out
    assert "limits competition to the classes of an image's source" not in printed
    assert "packed: " in printed
    assert not list(tmp_path.glob("runs/**/*.pt"))  # a finished run keeps no checkpoint


def test_a_bias_towards_a_source_is_found() -> None:
    """Two sources with three classes each; the network favors all classes of the first one by a factor of e^2."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 6
    sources = torch.tensor([0, 0, 0, 1, 1, 1])
    logits = 2 * torch.nn.functional.one_hot(labels, 6).double()[:, None] + 2.0 * (sources == 0)
    logits = logits + torch.randn(240, 10, 6, generator=generator).double()
    biases = fit_biases(logits, labels, sources, 1e-6)
    assert float(biases[1] - biases[0]) == pytest.approx(2, abs=0.4)
    before = score(add_biases(logits, 0 * biases, sources), labels)
    after = cross_validate(logits, labels, sources, 1e-6)
    assert after.top1_error < before.top1_error
    assert after.loss < before.loss
    assert torch.allclose(add_biases(logits, biases, sources).sum(1), torch.ones(240).double())
