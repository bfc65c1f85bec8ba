"""`python training/run.py`: pictures in, a measured artifact out. The steps are those of sections 2, 4, 5 and 6."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.artifact import NETWORK, Artifact, Manifest, now, publish
from model.errors import AlexNetError, TrainingError
from training import cache as picture_cache
from training import config, datasets

if TYPE_CHECKING:
    from training.engine import Trainer

CONFIG, SPLIT = "config.json", "split.csv"
DATA_HELP = (
    "elpv, grocery, cifar10; a folder with a subfolder a class; or a .csv with columns path, label and perhaps part."
)


def train(
    data: Annotated[str, typer.Option(help=DATA_HELP)] = "elpv",
    archive: Annotated[
        Path | None, typer.Option(help="The zip file of grocery or cifar10; without it, it is downloaded.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="small: a few thousand pictures. paper: a million.")] = "small",
    name: Annotated[str, typer.Option(help="The artifact's name; the data set's by default.")] = "",
    epochs: Annotated[int, typer.Option(help="At most so many passes; 0: as the recipe says.")] = 0,
    learning_rate: Annotated[float, typer.Option(help="At the start; 0: as the recipe says.")] = 0.0,
    batch: Annotated[int, typer.Option(help="Pictures a step; 0: as the recipe says.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of split, weights, order, crops and dropout.")] = 0,
    hidden: Annotated[int, typer.Option(help="Width of fc6 and fc7; the paper's is 4096.")] = 4096,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    artifacts: Annotated[Path, typer.Option(help="Where artifacts are published.")] = Path("artifacts"),
    cache: Annotated[Path, typer.Option(help="Where decoded pictures are kept (196,608 bytes each).")] = Path("cache"),
    runs: Annotated[Path, typer.Option(help="Where runs keep their log and checkpoint.")] = Path("runs"),
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with the run in this folder, as it was configured; other options don't count."),
    ] = None,
) -> None:
    """Train the network on labelled pictures, export it, measure it and publish an artifact to serve."""
    if resume is not None:
        chosen = read_config(resume)
    else:
        changes: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "batch": batch}
        chosen = config.RunConfig(
            recipe=replace(config.recipe(recipe), **{field: value for field, value in changes.items() if value}),
            data=data,
            archive=archive,
            name=name or Path(data).resolve().stem,
            seed=seed,
            hidden=hidden,
            precision=precision,
            device=device,
            artifacts=artifacts,
            cache=cache,
            runs=runs,
        )
    artifact = main(chosen, resume)
    from training.evaluate import table

    typer.echo(table(artifact.manifest.measurements))
    typer.echo(f"artifact: {artifact.path}")
    typer.echo(f"next: alexnet index --artifact {artifact.path} --data {chosen.data}; alexnet serve")


def main(chosen: config.RunConfig, resume: Path | None = None) -> Artifact:
    """Train as configured, or go on with the run in `resume`. Raises AlexNetError."""
    trainer = prepare(chosen, resume)
    try:
        trainer.fit()
    except KeyboardInterrupt:
        if not trainer.epoch:
            raise TrainingError("stopped before the first epoch was over: nothing to go on with") from None
        raise TrainingError(f"stopped; go on with: python training/run.py --resume {trainer.run}") from None
    return finish(trainer)


def prepare(chosen: config.RunConfig, resume: Path | None = None) -> Trainer:
    """Read the pictures and set up a run in a folder of its own."""
    # Large tensors in huge pages: a fifth faster on CPU, where else the pages of every step are faulted in one by one.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        from training import checkpoint
        from training.engine import Trainer
    except ModuleNotFoundError as error:
        raise TrainingError(f"expected {error.name} for training, found none: pip install -e '.[cpu,train]'") from error

    dataset = datasets.load(chosen.data, chosen.seed, chosen.archive)
    sizes = ", ".join(f"{len(examples):,} {part}" for part, examples in dataset.parts().items())
    typer.echo(f"{dataset.name}: {len(dataset.labels)} classes; {sizes}; split: {dataset.split}")
    cache = picture_cache.build(dataset, chosen.cache)
    run = resume or chosen.runs / f"{chosen.name}-{now():%Y%m%d-%H%M%S}"
    run.mkdir(parents=True, exist_ok=True)
    (run / CONFIG).write_text(json.dumps(asdict(chosen), indent=1, default=str) + "\n")
    split = dataset.split_csv()
    if resume is not None and (run / SPLIT).is_file() and (run / SPLIT).read_text() != split:
        raise TrainingError(f"expected the pictures of {run / SPLIT}, found other ones: a run can't change its split")
    (run / SPLIT).write_text(split)
    trainer = Trainer(chosen, dataset, cache, run)
    if resume is not None:
        trainer.restore(checkpoint.load(resume))
    typer.echo(f"recipe {chosen.recipe.name} in {trainer.precision} on {trainer.device}; the run's folder: {run}")
    return trainer


def finish(
    trainer: Trainer, extra: dict[str, Any] | None = None, round_weights: Callable[[Path], None] | None = None
) -> Artifact:
    """Export, prove the export equal to the network, measure it as served, and publish.

    `extra` joins the manifest's account of the training; `round_weights` may change the exported file before it is
    measured.
    """
    from model.export import export
    from model.runtime import OnnxModel
    from training.evaluate import BATCH, measure

    chosen, dataset, cache = trainer.config, trainer.dataset, trainer.cache
    part = "test" if dataset.test else "validation"
    rows = cache.rows(dataset, part)

    def write(folder: Path) -> Manifest:
        difference = export(trainer.network, cache.mean, folder / NETWORK)
        if round_weights is not None:
            round_weights(folder / NETWORK)
        measurements = measure(
            OnnxModel(folder / NETWORK),
            ((cache.pictures[some], trainer.labels[some]) for some in picture_cache.batches(rows, BATCH)),
            len(rows),
            f"{dataset.split}, {part}",
            dataset.groupings,
        )
        return Manifest(
            name=chosen.name,
            version=1,
            created=now(),
            classes=len(dataset.labels),
            feature_dim=chosen.hidden,
            parameters=sum(p.numel() for p in trainer.network.parameters()),
            licence=dataset.licence,
            training=provenance(trainer) | (extra or {}),
            measurements=measurements,
            export_difference=difference,
        )

    return publish(chosen.artifacts, chosen.name, dataset.labels, write)


def provenance(trainer: Trainer) -> dict[str, Any]:
    """How the network came about, for the manifest. No path of the machine is in it."""
    chosen = trainer.config
    return {
        "dataset": trainer.dataset.name,
        "split": trainer.dataset.split,
        "split_sha256": trainer.dataset.split_sha256(),
        "pictures": {part: len(trainer.cache.rows(trainer.dataset, part)) for part in trainer.dataset.parts()},
        "skipped": len(trainer.cache.skipped),
        "recipe": asdict(chosen.recipe),
        "seed": chosen.seed,
        "epochs": trainer.epoch,
        "precision": trainer.precision,
        "commit": _commit(),
        "packages": {package: version(package) for package in ("torch", "onnx", "onnxruntime", "numpy", "pillow")},
    }


def read_config(run: Path) -> config.RunConfig:
    """The configuration that a run was started with. Raises TrainingError."""
    try:
        saved = json.loads((run / CONFIG).read_text())
        recipe = config.Recipe(**saved.pop("recipe"))
        paths = ("artifacts", "cache", "runs", "archive")
        saved |= {field: Path(saved[field]) for field in paths if saved.get(field)}
        return config.RunConfig(recipe=recipe, **saved)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"expected the folder of a run with {CONFIG}, found none at {run}") from error


def _commit() -> str:
    """The commit of the source tree, with `+` where files were changed; `unknown` outside a repository."""
    here = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    try:
        app()
    except AlexNetError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
