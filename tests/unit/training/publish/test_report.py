"""What a run writes for people: metrics, TensorBoard's file, and a self-contained report."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.artifacts.artifact import Artifact
from model.artifacts.history import HISTORY, Epoch, read_history
from model.artifacts.intervals import format_interval
from model.exceptions import DatasetError, TrainingError
from training.data.loading import load_dataset
from training.evaluation.baselines import HOG
from training.loop.metrics import METRICS, MetricsLog, read_metrics
from training.optim.range_test import find_rate
from training.publish import figures
from training.publish.report import rewrite_report
from training.publish.summary import MAJORITY_CLASS


@pytest.fixture(scope="module")
def run(artifact: Artifact) -> Path:
    (run,) = (artifact.path.parents[2] / "runs").iterdir()
    return run


def copy_run(run: Path, images: Path, home: Path, **changes: str | int) -> Path:
    """A copy of a run in `home`, with `changes` to its options; its report can be rewritten."""
    copy = Path(shutil.copytree(run, home / "run"))
    config = json.loads((copy / "config.json").read_text())
    config["run"] |= changes
    config["environment"] |= {"home": str(home), "data": str(images)}  # perhaps trained by an earlier process
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_the_report_stands_alone(run: Path, artifact: Artifact) -> None:
    page = (run / "report.html").read_text()
    HTMLParser().feed(page)
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings[:3] == ["Next", "Errors", "Was training worth it?"]
    assert {"12 held-out images", "Classes", "Confusions", "Training", "Images"} <= set(headings)
    shown = page.replace("&nbsp;", " ")
    assert "as the network sees them: the center square.</p>" in page
    for measurement in artifact.manifest.measurements:
        assert f"{100 * measurement.top1_error:.1f} % ({format_interval(measurement.top1_interval)})" in shown
    assert "top-5 error" not in page  # there are three classes
    assert "accuracy by" not in page
    assert "Classes with fewer than 10 test images" in page
    images = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(images) >= 4
    for data in images:
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert np.asarray(image.convert("L")).std() > 5  # something is drawn


def test_a_report_is_rewritten_with_the_split_of_its_run(
    run: Path, artifact: Artifact, images: Path, tmp_path: Path
) -> None:
    copy = copy_run(run, images, tmp_path, split="half", detail=48)
    coarse = Path(shutil.copytree(artifact.path, tmp_path / "coarse"))
    manifest = json.loads((coarse / "manifest.json").read_text())
    manifest["image_contract"] += "-detail-48"
    manifest["training"]["split_sha256"] = load_dataset(str(images), split="half").split_sha256()
    (coarse / "manifest.json").write_text(json.dumps(manifest))
    rewrite_report(copy, coarse)
    with (copy / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 45  # of 90
    assert "the center square, reduced to 48 pixels and enlarged again." in (copy / "report.html").read_text()


def test_what_was_skipped_agrees_with_its_count(run: Path, artifact: Artifact, images: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(images, tmp_path / images.name))
    (data / "notes").mkdir()
    copy = copy_run(run, data, tmp_path)
    rewrite_report(copy, artifact.path)
    assert "1 folder without images" in (copy / "report.html").read_text().replace("&nbsp;", " ")
    assert "1 folders" not in (copy / "report.html").read_text()


def test_errors_of_another_precision_are_not_the_network_s(
    run: Path, artifact: Artifact, images: Path, tmp_path: Path
) -> None:
    """Such as the int8 errors that `alexnet quantize` adds at the end of a manifest."""
    copy = copy_run(run, images, tmp_path)
    quantized = Path(shutil.copytree(artifact.path, tmp_path / "quantized"))
    manifest = json.loads((quantized / "manifest.json").read_text())
    right = round((1 - manifest["measurements"][-1]["top1_error"]) * manifest["measurements"][-1]["num_images"])
    worse = {"precision": "int8", "top1_error": 0.987, "top1_interval": [0.9, 1.0]}
    manifest["measurements"].append(manifest["measurements"][-1] | worse)
    (quantized / "manifest.json").write_text(json.dumps(manifest))
    page = rewrite_report(copy, quantized).read_text()
    data = json.loads((copy / "report.json").read_text())
    assert data["num_right"] == right
    assert data["result"].startswith(f"{right} of ")
    assert f"<td>float32<td>{100 * artifact.manifest.measurements[-1].top1_error:.1f}&nbsp;% (" in page
    assert "<td>int8<td>98.7&nbsp;% (" in page


def test_a_run_without_an_artifact_has_no_report(run: Path, artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """Another run's network of the same name isn't its result; its own is, even if that wasn't recorded."""
    copy = copy_run(run, images, tmp_path)
    (copy / "artifact.txt").unlink()
    published = Path(shutil.copytree(artifact.path, tmp_path / "artifacts" / "patterns" / "1"))
    with pytest.raises(DatasetError, match=r"the run in .* has no artifact in .*: publish its checkpoint with `"):
        rewrite_report(copy)
    manifest = json.loads((published / "manifest.json").read_text())
    manifest["training"]["run"] = copy.name
    (published / "manifest.json").write_text(json.dumps(manifest))
    assert rewrite_report(copy).is_file()


def test_a_report_that_cannot_be_written_leaves_the_one_before(
    run: Path, artifact: Artifact, images: Path, tmp_path: Path
) -> None:
    copy = copy_run(run, images, tmp_path)
    (copy / "report.html").write_text("the report before")
    (copy / "report.html.partial").mkdir()  # fails, as on a full disk
    with pytest.raises(IsADirectoryError):
        rewrite_report(copy, artifact.path)
    assert (copy / "report.html").read_text() == "the report before"


def test_a_range_test_is_drawn() -> None:
    test = find_rate([1e-4, 1e-3, 1e-2, 1e-1], [2.0, 1.5, 1.0, 9.0])
    (axes,) = figures.draw_range_test(test).axes
    legend = axes.get_legend()
    assert legend is not None
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in legend.get_texts()] == [
        "steps", "moving average", f"found: {test.best_rate:g}",
    ]  # fmt: skip


def test_predictions_and_classes_as_tables(run: Path, artifact: Artifact) -> None:
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = artifact.manifest.measurements[-1]
    assert len(rows) == measured.num_images
    assert 1 - np.mean([int(row["correct"]) for row in rows]) == pytest.approx(measured.top1_error)
    assert all(Path(row["path"]).parent.name == row["label"] for row in rows)
    with (run / "per_class.csv").open(newline="") as file:
        recalls = [float(row["recall"]) for row in csv.DictReader(file)]
    assert measured.balanced_accuracy == pytest.approx(np.mean(recalls), abs=1e-4)


def test_figures_are_there_for_light_and_dark_pages(run: Path) -> None:
    page = (run / "report.html").read_text()
    pairs = re.findall(
        r'<picture><source media="\(prefers-color-scheme: dark\)" srcset="data:image/png;base64,([^"]+)">'
        r'<img alt="[^"]+" src="data:image/png;base64,([^"]+)">',
        page,
    )
    assert len(pairs) == page.count("<picture>") >= 3
    for pair in pairs:
        corners = [Image.open(io.BytesIO(base64.b64decode(data))).convert("L").getpixel((0, 0)) for data in pair]
        assert corners[0] < 40 < 250 < corners[1]  # type: ignore[operator]


def test_the_report_as_data(run: Path, artifact: Artifact) -> None:
    data = json.loads((run / "report.json").read_text())
    measured = artifact.manifest.measurements[-1]
    assert data["num_right"] == round((1 - measured.top1_error) * measured.num_images)
    assert data["result"].startswith(f"{data['num_right']} of {measured.num_images} test images right; 95 % interval ")
    assert [baseline["method"] for baseline in data["baselines"]] == [HOG, MAJORITY_CLASS]
    assert data["training"]["baselines"][0]["method"] == HOG
    assert data["seconds"] > 0


def test_one_line_per_epoch(run: Path) -> None:
    records = read_metrics(run)
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    for record in records:
        assert record["images_per_second"] > 0
        assert 0 <= record["data_stall"] <= 1
        assert 0 <= record["train_top1_error"] <= 1


def test_tensorboard_has_the_same(run: Path) -> None:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    scalars = events.Scalars("train/loss")
    assert [s.step for s in scalars] == [1, 2, 3, 4]
    assert [s.value for s in scalars] == pytest.approx([record["train_loss"] for record in read_metrics(run)], rel=1e-6)


def make_lines(*epochs: int) -> str:
    """Lines of metrics.jsonl."""
    others = dict.fromkeys((*Epoch.model_fields, "images_per_second", "data_stall"), 0.5)
    return "".join(json.dumps(others | {"epoch": epoch}) + "\n" for epoch in epochs)


def test_records_after_the_checkpoint_are_removed(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text(make_lines(1, 2, 3))
    MetricsLog(tmp_path, 2).close()
    assert [record["epoch"] for record in read_metrics(tmp_path)] == [1, 2]


def test_logs_that_cannot_be_written_are_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(TrainingError, match=r"cannot write the logs in .*: File exists; fix that"):
        MetricsLog(tmp_path)


def test_tower_one_stands_above_tower_two() -> None:
    kernels = np.zeros((96, 11, 11, 3), np.float32)
    kernels[:48] = 1.0
    figure = figures.draw_kernels(kernels, 2)
    first, second = figure.axes
    assert first.get_position().y0 > second.get_position().y0
    assert first.get_title(loc="left") == "tower 1"
    assert np.asarray(first.images[0].get_array()).mean() > np.asarray(second.images[0].get_array()).mean()


def test_the_true_class_is_pink() -> None:
    probabilities = np.array([[0.1, 0.6, 0.3]], np.float32)
    figure = figures.draw_predictions([np.zeros((8, 8, 3), np.uint8)], [2], probabilities, ["a", "b", "c$"])
    bars = figure.axes[4].patches
    widths = [bar.get_width() for bar in bars]  # type: ignore[attr-defined]
    assert widths == pytest.approx([0.1, 0.3, 0.6])
    pink = [bar.get_facecolor()[:3] == pytest.approx((0.839, 0.251, 0.624), abs=0.01) for bar in bars]
    assert pink == [False, True, False]


def test_a_line_that_a_full_disk_cut_harms_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricsLog(tmp_path, 9)
    (tmp_path / METRICS).write_text(make_lines(1) + '{"epoch": 2, "tra')
    log.write(json.loads(make_lines(3)))
    log.close()
    capsys.readouterr()
    assert [record["epoch"] for record in read_metrics(tmp_path)] == [1, 3]
    assert "1 of 3 lines of" in capsys.readouterr().out


def test_a_bit_of_the_metrics_blocks_nothing(tmp_path: Path) -> None:
    """Whatever a flipped bit makes of a line, the others are read; this one is a valid record or left out."""
    lines = make_lines(1, 2, 3).encode()
    first, second = len(make_lines(1)), len(make_lines(1, 2))
    for place in range(first, second):
        for bit in range(8):
            damaged = bytearray(lines)
            damaged[place] ^= 1 << bit
            (tmp_path / METRICS).write_bytes(damaged)
            records = read_metrics(tmp_path)
            assert len([Epoch.model_validate(record) for record in records]) in (1, 2, 3)
            assert records[0]["epoch"] == 1
    (tmp_path / METRICS).write_bytes(b"[]\n7\nnull\n\xff\n" + lines)
    assert [record["epoch"] for record in read_metrics(tmp_path)] == [1, 2, 3]


def test_the_artifact_carries_its_history(run: Path, artifact: Artifact) -> None:
    history = read_history(artifact)
    assert history is not None
    assert [epoch.model_dump() for epoch in history.epochs] == [
        {name: record[name] for name in Epoch.model_fields} for record in read_metrics(run)
    ]
    confusion, measured = np.array(history.confusion), artifact.manifest.measurements[-1]
    assert confusion.shape == (3, 3)
    assert confusion.sum() == measured.num_images
    assert 1 - confusion.trace() / confusion.sum() == pytest.approx(measured.top1_error)
    with (run / "predictions.csv").open(newline="") as file:
        pairs = [(row["label"], row["predicted"]) for row in csv.DictReader(file)]
    classes = [label.id for label in artifact.labels]
    assert confusion.tolist() == [[pairs.count((true, said)) for said in classes] for true in classes]
    assert history.split == measured.split


def test_an_artifact_without_a_history(artifact: Artifact) -> None:
    files = {name: file for name, file in artifact.manifest.files.items() if name != HISTORY}
    assert read_history(replace(artifact, manifest=artifact.manifest.model_copy(update={"files": files}))) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"seed": 1}, "is split differently than in the training"), ({"detail": 48}, "reads images differently from")],
)
def test_images_that_the_network_may_have_seen_or_sees_otherwise_are_not_measured(
    run: Path, artifact: Artifact, images: Path, tmp_path: Path, changes: dict[str, int], reason: str
) -> None:
    with pytest.raises(DatasetError, match=reason):
        rewrite_report(copy_run(run, images, tmp_path, **changes), artifact.path)
