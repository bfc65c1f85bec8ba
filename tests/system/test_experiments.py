"""The commands of docs/experiments.md on a few drawn images: they run, can be resumed, and measure correctly."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from experiments import ablation, activation, command, normalization, pretraining, solar_cells, sources, specialization
from experiments.cifar import Images, cut_random_crops
from experiments.command import QUICK
from experiments.results import Results
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, Label
from model.artifacts.weights import read_weights
from model.exceptions import StoppedError, TrainingError
from training.data.datasets import Dataset, Example

ROOT = Path(activation.__file__).parents[1]
RUNS = (("the network", 0), ("the network", 1), ("no cross-tower connection", 0))
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in CIFAR-10's layout: ten classes of one color each, with noise."""
    home = tmp_path_factory.mktemp("experiments")
    generator = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 20)):
        for number, name in enumerate(CLASSES):
            folder = home / "cifar10" / split / name
            folder.mkdir(parents=True)
            for image_number in range(count):
                pixels = generator.normal(25 * number, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{image_number:04d}.jpg")
    return home


def run(name: str, data: Path, output: Path, *options: object) -> str:
    process = start(name, data, output, *options)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return printed


def start(name: str, data: Path, output: Path, *options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"experiments.{name}", "--output", output, "--cache", data / "cache", "--quick"]
    return subprocess.Popen(
        [str(part) for part in (*command, *options)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"ALEXNET_DATA": str(data), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.fixture
def run_main(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs an experiment's `main` in this process, and returns what it printed."""
    monkeypatch.setenv("ALEXNET_DATA", str(data))
    monkeypatch.chdir(tmp_path)

    def run(main: Callable[..., None], **options: object) -> str:
        main(**({"quick": True, "output": tmp_path, "cache": data / "cache"} | options))
        return capsys.readouterr().out

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "printed"), [(activation, ": 6"), (normalization, ": 13 %")], ids=["activation", "normalization"]
)
def test_quick_runs_and_is_not_run_again(
    experiment: ModuleType, printed: str, run_main: Callable[..., str], tmp_path: Path
) -> None:
    first = run_main(experiment.main)
    assert f"the paper{printed}" in first
    name = experiment.__name__.rpartition(".")[2]
    assert (tmp_path / QUICK / f"{name}.png").stat().st_size > 1000
    before = (tmp_path / QUICK / f"{name}.json").read_text()
    assert run_main(experiment.main) == first
    assert (tmp_path / QUICK / f"{name}.json").read_text() == before
    runs = json.loads(before)["runs"]
    assert all(run["commit"] and "seconds" in run for run in runs.values())


@pytest.mark.slow
def test_an_ablation_is_resumed(run_main: Callable[..., str], few: Path, tmp_path: Path) -> None:
    printed = run_main(ablation.main, data=str(few))
    assert "| no cross-tower connection | 1 | " in printed
    assert "| one crop instead of ten | 2 | " in printed
    assert "| ensemble | 2 | " in printed
    file = tmp_path / QUICK / "ablation.json"
    result = json.loads(file.read_text())
    assert result["runs"].keys() == {ablation.ENSEMBLE, *(f"{row}, seed {seed}" for row, seed in RUNS)}
    lost = result["runs"].pop("no cross-tower connection, seed 0")
    file.write_text(json.dumps(result))
    assert "| no cross-tower connection | 0 | not run |" in run_main(ablation.main, data=str(few), finished=True)
    again = run_main(ablation.main, data=str(few))
    assert [line for line in again.splitlines() if "|" in line] == [
        line for line in printed.splitlines() if "|" in line
    ]
    repeated = json.loads(file.read_text())["runs"]["no cross-tower connection, seed 0"]
    assert repeated["10"] == lost["10"]  # the same seed gives the same network


@pytest.mark.slow
def test_table_2_is_measured_once(
    run_main: Callable[..., str], few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one set of images for the few and the many classes. Measuring twice would train deleted artifacts again."""
    monkeypatch.setattr(pretraining, "SCRATCH_SEEDS", (0, 1))
    monkeypatch.setattr(
        pretraining, "ENSEMBLES", {"1 CNN": ("scratch-0",), "7 CNNs*": ("scratch-0", "scratch-1", "fine-tuned-6")}
    )
    options = {"data": str(few), "wider_data": str(few), "source": ""}
    printed = run_main(pretraining.main, **options)
    assert re.search(r"\| 1 CNN \| [\d.]+ / 0.00 % \| 40.7 / 18.2 % \|", printed)  # five guesses at three classes
    assert re.search(r"\| halves \| [\d.]+ / 0.00 % \| 67.4 / 40.9 % \|", printed)
    assert "| 5 CNNs | not run | 38.1 / 16.4 % |" in printed
    folder = tmp_path / QUICK / "pretraining-networks"
    runs = json.loads((tmp_path / QUICK / "pretraining.json").read_text())["runs"]
    assert runs.keys() == {
        *pretraining.ENSEMBLES, "scratch-0", "scratch-1", "pretrained-5", "pretrained-6", "fine-tuned-5",
        "fine-tuned-6", "halves",
    }  # fmt: skip
    fine_tuned = artifacts.load(folder / "fine-tuned-5")
    assert read_weights(fine_tuned)[0].config.name == "alexnet-six-conv"
    assert fine_tuned.manifest.training["initialized_from"].startswith("pretrained-5 version 1, network ")
    halves = artifacts.load(folder / "halves").manifest
    assert halves.training["split_method"] == "half"
    assert halves.measurements[0].split == "few half/half, seed 0, test"
    assert runs["1 CNN"]["10"] == runs["scratch-0"]["10"]
    shutil.rmtree(folder)
    assert run_main(pretraining.main, **options).splitlines()[-7:] == printed.splitlines()[-7:]


def test_networks_are_not_pretrained_on_test_images() -> None:
    labels = tuple(Label(id=name, name=name) for name in ("ant", "bee"))
    images = tuple(Example(f"{number}.jpg", number % 2) for number in range(6))
    few = Dataset("few", "", "", labels, images[:2], images[2:4], images[4:])
    pretraining.check_held_out(few, replace(few, test=()))
    with pytest.raises(TrainingError, match=r"2 test images, such as 4.jpg, are training images of the many classes"):
        pretraining.check_held_out(few, replace(few, validation=images[4:]))


def test_settings_with_an_unknown_name_are_refused(tmp_path: Path) -> None:
    settings = pretraining.read_settings(pretraining.SETTINGS)
    assert settings.network.channels == (24, 64, 96, 96, 64)
    (tmp_path / "s.toml").write_text('data = "a"\nwider_data = "b"\nepoch = 3\n')
    with pytest.raises(TrainingError, match=r"can't read the settings in .*: epoch: unexpected keyword argument$"):
        pretraining.read_settings(tmp_path / "s.toml")


@pytest.mark.slow
def test_a_stopped_ablation_names_the_way_to_resume_it(data: Path, tmp_path: Path) -> None:
    """It is the experiment's command, not the run's, which would resume only that run; finished runs are kept."""
    process = start("ablation", data, tmp_path, "--data", "cifar10")
    assert process.stdout is not None
    runs = 0
    for line in process.stdout:
        runs += "run directory" in line
        if runs == 2:
            break
    time.sleep(0.5)  # let it take some steps
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: stopped; ")
    assert errors.endswith("resume with the same command\n")
    assert "Traceback" not in errors
    assert list(json.loads((tmp_path / QUICK / "ablation.json").read_text())["runs"]) == ["the network, seed 0"]


def test_the_folder_of_a_run_stays_until_it_is_done(tmp_path: Path) -> None:
    def run(*, stop: bool) -> None:
        with command.run_home(tmp_path, "tanh, seed 0") as home:
            home.mkdir(exist_ok=True)
            if stop:
                raise StoppedError("stopped")

    with pytest.raises(StoppedError):
        run(stop=True)
    assert [folder.name for folder in tmp_path.iterdir()] == ["tanh-seed-0"]
    run(stop=False)
    assert not list(tmp_path.iterdir())


def test_results_of_other_settings_are_refused(tmp_path: Path) -> None:
    Results(tmp_path / "r.json", {"epochs": 2, "seeds": 1}).add("one", {"error": 0.5})
    more = Results(tmp_path / "r.json", {"epochs": 2, "seeds": 3})
    assert list(more.runs) == ["one"]  # more seeds are more runs
    with pytest.raises(TrainingError, match=r"was made with epochs 2, not 3"):
        Results(tmp_path / "r.json", {"epochs": 3, "seeds": 1})
    Results(tmp_path / "stopped.json", {"epochs": 2}).start()  # its first run isn't finished
    with pytest.raises(TrainingError, match=r"was made with epochs 2, not 3"):
        Results(tmp_path / "stopped.json", {"epochs": 3})
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(TrainingError, match="doesn't contain the results of an experiment"):
        Results(tmp_path / "r.json", {"epochs": 2})


@pytest.mark.slow
def test_solar_cells_beside_the_published(data: Path, tmp_path: Path) -> None:
    printed = run("solar_cells", data, tmp_path)
    assert "from scratch: accuracy " in printed
    assert "Deitsch et al. 2019: SVM 82.44 %, CNN 88.42 %" in printed
    (result,) = json.loads((tmp_path / QUICK / "solar_cells.json").read_text())["runs"].values()
    assert (count := sum(map(sum, result["confusion"]))) == 17
    assert result["accuracy"] == pytest.approx(
        100 * (result["confusion"][0][0] + result["confusion"][1][1]) / count, abs=0.01
    )


def test_both_readings_of_a_doubt() -> None:
    labels = tuple(Label(id=f"mono-{percent}", name=f"{percent} %") for percent in (0, 33, 67, 100))
    dataset = SimpleNamespace(labels=labels)
    half = solar_cells.create_truth(dataset, any_doubt=False)  # type: ignore[arg-type]
    assert half.defective.tolist() == [False, False, True, True]
    np.testing.assert_allclose(half.weights, [1, 2 / 3, 2 / 3, 1])
    doubted = solar_cells.create_truth(dataset, any_doubt=True)  # type: ignore[arg-type]
    assert doubted.defective.tolist() == [False, True, True, True]
    np.testing.assert_allclose(doubted.weights, [1, 1 / 3, 2 / 3, 1])


def test_the_roc_curve() -> None:
    truth = solar_cells.Truth(np.array([True, False, True, False]), np.array([1.0, 1.0, 1.0, 1.0]))
    false_rates, result, area = solar_cells.compute_roc_curve(np.array([0.9, 0.8, 0.7, 0.1]), truth)
    assert area == pytest.approx(0.75)
    assert (result[false_rates < 0.49] == 0.5).all()
    assert (result[false_rates > 0.51] == 1.0).all()
    assert solar_cells.compute_roc_curve(np.full(4, 0.5), truth)[2] == pytest.approx(0.5)  # all share one threshold
    sure = truth._replace(weights=np.array([1.0, 0.5, 1.0, 1.0]))
    assert solar_cells.compute_roc_curve(np.array([0.9, 0.8, 0.7, 0.1]), sure)[2] == pytest.approx(1 - 0.5 * 0.5 / 1.5)


def test_changes_are_those_of_the_same_seed(tmp_path: Path) -> None:
    results = Results(tmp_path / "r.json", {})
    for seed in range(5):
        results.add(f"the network, seed {seed}", {"10": [0.5 + 0.01 * seed, 0.2], "1": [0.53 + 0.01 * seed, 0.21]})
        results.add(f"tanh, seed {seed}", {"10": [0.6, 0.3], "1": [0.7, 0.4]})
    results.add(ablation.ENSEMBLE, {"10": [0.45, 0.15], "1": [0.5, 0.2], "members": 5})
    np.testing.assert_allclose(ablation.compare_errors(results, "tanh")[:2], [[10, 10], [9, 10]])
    np.testing.assert_allclose(ablation.compare_errors(results, ablation.CENTER_CROP), [[3, 1]] * 5)
    np.testing.assert_allclose(ablation.compare_errors(results, ablation.ENSEMBLE), [[-7, -5]])


def test_rows_that_were_not_run_are_named(tmp_path: Path) -> None:
    results = Results(tmp_path / "r.json", {})
    results.add("the network, seed 0", {"10": [0.5, 0.2], "1": [0.53, 0.21]})
    results.add("tanh, seed 0", {"10": [0.6, 0.3], "1": [0.7, 0.4], "losses": [0.45, 5.517]})
    table = ablation.format_table({"rows": {ablation.WHOLE: {}, "tanh": {}, "no color shift": {}}}, results)
    assert "| tanh | 1 | +10.00 | +10.00 | 0.45 / 5.52 |  |  |" in table
    assert "| no color shift | 0 | not run | not run |  | over +1 |  |" in table
    assert f"| {ablation.ENSEMBLE} | 0 | not run | not run |  | -2.6 / -1.8 |  |" in table


def test_images_of_one_source_are_selected() -> None:
    """A class belongs to the source of most of its training images; its other images are left out."""
    labels = tuple(Label(id=name, name=name) for name in ("ant", "bee", "cow"))
    train = [(0, "a")] * 3 + [(0, "b")] * 2 + [(1, "b")] * 2 + [(1, "a")] + [(2, "a")]
    examples = tuple(Example(f"{number}.jpg", *row) for number, row in enumerate(train))
    dataset = Dataset("x", "", "", labels, examples, examples[:1], examples[-1:])
    selected = sources.select_source(dataset, "a")
    assert [label.id for label in selected.labels] == ["ant", "cow"]
    assert [example.file for example in selected.train] == ["0.jpg", "1.jpg", "2.jpg", "8.jpg"]
    assert [example.label for example in selected.examples] == [0, 0, 0, 1, 0, 1]
    with pytest.raises(TrainingError, match="fewer than two classes of the source 'b'"):
        sources.select_source(dataset, "b")


def test_where_a_curve_meets_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halfway between two measurements, if their errors are as far above the target as below it."""
    errors = iter([0.9, 0.5, 0.3, 0.2])
    monkeypatch.setattr(activation, "measure_error", lambda *_: next(errors))
    images = Images(torch.randn(256, 3, 32, 32), torch.zeros(256, dtype=torch.int64))
    settings = activation.Settings(images=256, interval=1)
    assert activation.train_to_error("relu", 0.01, 0, images, settings, 9)["epochs"] == pytest.approx(2.5)


def test_the_search_ends_at_a_rate_that_is_better_than_both_neighbors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    epochs = {1e-3: None, 3e-3: None, 1e-2: 20.0, 3e-2: 7.0, 1e-1: 9.0}
    limits = dict[float, float]()

    def train(_: str, rate: float, __: int, ___: Images, ____: activation.Settings, limit: float) -> dict[str, Any]:
        limits[rate] = limit
        return {"epochs": epochs[rate], "curve": [(0.0, 0.9), (1.0, 0.5 if rate == 3e-3 else 0.6)]}

    monkeypatch.setattr(activation, "train_to_error", train)
    images = Images(torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.int64))
    results = Results(tmp_path / "r.json", {})
    assert activation._search_rate("tanh", activation.Settings(), images, results) == 3e-2
    assert limits == {3e-3: 60, 1e-2: 60, 1e-3: 20, 3e-2: 20, 1e-1: 7}  # none runs longer than the best so far


def test_a_run_that_diverged_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before its epochs are over, which would take an hour in a real experiment."""
    monkeypatch.setattr(activation, "GIVE_UP_AFTER_STEPS", 4)
    images = Images(100 * torch.randn(256, 3, 32, 32), torch.arange(256) % 10)
    result = activation.train_to_error("relu", 1e4, 0, images, activation.Settings(images=256, interval=1), 9)
    assert result["epochs"] is None
    assert result["curve"][-1][0] <= 2


def test_layers_compute_what_their_names_say() -> None:
    """A local layer with equal kernels is a convolution; the response norm equals torch's."""
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    convolution, local = torch.nn.Conv2d(4, 5, 3, padding=1), normalization.LocallyConnected(4, 5)
    with torch.no_grad():
        kernel = convolution.weight.permute(2, 3, 1, 0).reshape(36, 5)  # rows, columns and inputs; outputs
        local.weight.copy_(kernel.expand(36, 36, 5))
        local.bias.copy_(convolution.bias.expand(36, 1, 5))  # type: ignore[union-attr]
    torch.testing.assert_close(local(x.permute(2, 3, 0, 1)), convolution(x).permute(2, 3, 0, 1))
    x = 30 * torch.randn(2, 64, 3, 3)
    expected = torch.nn.functional.local_response_norm(x, 9, 1e-3, 0.75, 1.0)
    torch.testing.assert_close(normalization.ResponseNorm(64)(x), expected)


def test_crops_are_each_image_s_own() -> None:
    row = torch.arange(32.0).expand(3, 32, 32)  # a pixel's value is its column
    pixels = torch.stack([row, row + 100] * 20)
    result = cut_random_crops(pixels, 24, torch.Generator().manual_seed(0))
    assert result.shape == (40, 3, 24, 24)
    firsts = result[:, 0, 0, 0] % 100
    steps = result[:, 0, 0, 1] - result[:, 0, 0, 0]
    assert set(steps.tolist()) == {1.0, -1.0}
    assert len(set(firsts.tolist())) > 8
    assert (result[1::2] >= 100).all()
    assert (result[::2] < 100).all()


def test_the_color_of_a_kernel() -> None:
    generator = np.random.default_rng(0)
    gray = np.repeat(generator.normal(size=(4, 11, 11, 1)), 3, 3)
    opponent = generator.normal(size=(4, 11, 11, 1)) * [1.0, -1.0, 0.0]
    planes = generator.normal(size=(400, 11, 11, 3))
    np.testing.assert_allclose(specialization.measure_color(gray.astype(np.float32)), 0, atol=1e-12)
    np.testing.assert_allclose(specialization.measure_color(opponent.astype(np.float32)), 1, atol=1e-6)
    assert specialization.measure_color(planes.astype(np.float32)).mean() == pytest.approx(2 / 3, abs=0.01)


def test_towers_that_are_apart_and_towers_that_are_not() -> None:
    generator = np.random.default_rng(0)
    apart = specialization.measure_specialization(np.r_[generator.uniform(0, 0.4, 48), generator.uniform(0.5, 1, 48)])
    assert apart.separation == 1.0
    assert apart.p_value == pytest.approx(1e-4, rel=0.01)  # never 0
    alike = specialization.measure_specialization(np.tile(generator.uniform(0, 1, 48), 2))
    assert alike.separation < 0.03
    assert alike.p_value > 0.8


@pytest.mark.slow
def test_the_measure_of_an_artifact(artifact: Artifact, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.specialization", "--artifact", str(artifact.path)]
    printed = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert printed.stdout.startswith("patterns 1: color 0.")
    assert (tmp_path / "specialization.json").is_file()
    assert (tmp_path / "specialization.png").stat().st_size > 2000
