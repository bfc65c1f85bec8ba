"""`alexnet classify` with one image and many: text, CSV, JSON and JSON lines."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from alexnet import Classifier
from alexnet.cli.app import app
from model.artifacts.artifact import Artifact
from model.images.crops import TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from tests.helpers.commands import invoke


@pytest.fixture
def inputs(few: Path, tmp_path: Path) -> list[Path]:
    """Two images, a broken one between them."""
    (tmp_path / "broken.jpg").write_text("no image")
    return [few / "stripes" / "00.jpg", tmp_path / "broken.jpg", few / "checks" / "03.jpg"]


def run(artifact: Artifact, *words: object) -> tuple[str, str, int]:
    """Output, errors and exit status of a classification."""
    result = CliRunner().invoke(app, ["classify", "--artifact", str(artifact.path), *map(str, words)])
    return result.stdout, result.stderr, result.exit_code


def test_one_image_as_text(artifact: Artifact, few: Path) -> None:
    lines = invoke("classify", "--artifact", artifact.path, few / "circles" / "00.jpg").splitlines()
    rows = [re.fullmatch(r" *([0-9.]+) %  (\w+)", line) for line in lines[:3]]
    assert {row[2] for row in rows if row} == {label.name for label in artifact.labels}
    shares = [float(row[1]) for row in rows if row]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.02)


def test_an_unfamiliar_image_is_compared_with_a_stated_number_of_images(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "black.png"
    Image.new("RGB", (256, 256)).save(path)
    assert "unlike" not in invoke("classify", "--artifact", artifact.path, path)  # 9 validation images are too few
    monkeypatch.setattr("model.artifacts.familiarity.MIN_HELD_OUT", 9)
    last = invoke("classify", "--artifact", artifact.path, path).splitlines()[-1]
    assert last == (
        "unlike the images that the network was trained on: none of its 9 validation images is less familiar"
    )


def test_many_images_as_text(artifact: Artifact, inputs: list[Path]) -> None:
    printed, errors, status = run(artifact, *inputs)
    first, second = printed.splitlines()
    for line, path in ((first, inputs[0]), (second, inputs[2])):
        (result,) = json.loads(invoke("classify", "--artifact", artifact.path, "--json", path))["results"]
        best, other, last = result["predictions"]
        assert re.match(rf"{path} +{100 * best['probability']:.1f} %  {best['name']}  \({other['name']} ", line)
        assert f", {last['name']} " in line
        assert line.endswith("unlike the images that the network was trained on)") == (result["familiar"] is False)
    assert errors.splitlines()[0].startswith(f"skipped {inputs[1]}: not an image in a supported format")
    assert errors.splitlines()[-1] == "2 of 3 images read, 1 skipped"
    assert status == 1


def test_results_are_those_of_the_network(artifact: Artifact, model: OnnxModel, few: Path) -> None:
    """Images are computed in batches; results keep the order of the inputs."""
    paths = sorted(few.rglob("*.jpg"))
    document = json.loads(invoke("classify", "--artifact", artifact.path, "--top", 3, "--json", few))
    assert [result["image"] for result in document["results"]] == [str(path) for path in paths]
    assert document["results"][0]["model"] == {"name": artifact.manifest.name, "version": artifact.manifest.version}
    assert (document["num_images"], document["num_skipped"]) == (len(paths), 0)
    for path, result in zip(paths, document["results"], strict=True):
        probabilities, _ = model.run(decode_image(path.read_bytes()).pixels[None], TEN_CROP)
        shown = {prediction["index"]: prediction["probability"] for prediction in result["predictions"]}
        np.testing.assert_allclose([shown[number] for number in range(3)], probabilities[0], atol=1e-6)


def test_json_lines_and_csv_have_the_same(artifact: Artifact, inputs: list[Path]) -> None:
    printed, _, status = run(artifact, *inputs, "--top", 2, "--jsonl")
    results = [json.loads(line) for line in printed.splitlines()]
    assert [result["image"] for result in results] == [str(path) for path in inputs]
    assert "predictions" not in results[1]
    table, _, _ = run(artifact, *inputs, "--top", 2, "--csv")
    rows = list(csv.DictReader(table.splitlines()))
    assert [(row["image"], row["rank"]) for row in rows] == [
        (str(inputs[0]), "1"), (str(inputs[0]), "2"), (str(inputs[1]), ""), (str(inputs[2]), "1"), (str(inputs[2]), "2")
    ]  # fmt: skip
    assert rows[2]["error"] == results[1]["error"]
    assert float(rows[3]["probability"]) == results[2]["predictions"][0]["probability"]
    assert status == 1


def test_nothing_but_the_document_is_on_standard_output(artifact: Artifact, inputs: list[Path]) -> None:
    printed, errors, _ = run(artifact, *inputs, "--json")
    assert json.loads(printed)["num_skipped"] == 1
    assert "skipped" in errors
    printed, _, status = run(artifact, inputs[1], "--json")
    assert [list(result) for result in json.loads(printed)["results"]] == [["image", "error"]]
    assert status == 1


def test_what_was_left_out_of_images_is_said(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    said = "images read with a warning: 1 with several frames (the first was used)"
    printed, errors, status = run(artifact, tmp_path / "moving.gif", "--jsonl")
    (warning,) = json.loads(printed)["warnings"]
    assert (warning["kind"], errors.splitlines(), status) == ("frames", [said], 0)
    printed, errors, _ = run(artifact, tmp_path / "moving.gif", few / "stripes" / "00.jpg", "--jsonl")
    assert [len(json.loads(line)["warnings"]) for line in printed.splitlines()] == [1, 0]
    assert errors.splitlines() == [said, "2 of 2 images read, 0 skipped"]
    assert Classifier(artifact).classify(tmp_path / "moving.gif").warnings[0].kind == "frames"


def test_the_artifact_of_a_folder_is_named(artifact: Artifact, few: Path, tmp_path: Path) -> None:
    version = tmp_path / "artifacts" / artifact.manifest.name / str(artifact.manifest.version)
    shutil.copytree(artifact.path, version)
    result = CliRunner().invoke(app, ["classify", "--home", str(tmp_path), str(few / "circles" / "00.jpg")])
    assert result.stderr == f"using {artifact.manifest.name} version {artifact.manifest.version} in {version}\n"


def test_larger_images_are_skipped_on_request(artifact: Artifact, inputs: list[Path]) -> None:
    printed, errors, status = run(artifact, "--max-pixels", 100, inputs[0])
    assert (printed, status) == ("", 1)
    assert "image too large" in errors
    assert "are allowed: downscale it, or save it as JPEG; commands allow more with --max-pixels" in errors
