"""`python training/run.py`: images in, a measured artifact out. The steps are those of sections 2, 4, 5 and 6.

With several processes: `torchrun --nproc-per-node N training/run.py ...`, see docs/training.md.
"""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from model.artifacts.artifact import Artifact
from model.artifacts.writer import now
from model.exceptions import AlexNetError, StoppedError, TrainingError
from model.shell_command import alexnet
from training import config
from training.data import datasets
from training.loop.malloc import keep_freed

if TYPE_CHECKING:
    from training.loop.distributed import Processes
    from training.loop.trainer import Trainer

OTHERS_SECONDS = 1
"""How long the others keep an error to themselves: the first has it, too, most often, and torchrun ends them."""
DATA_HELP = (
    "elpv, grocery, cifar10; a folder with a subfolder a class; or a .csv with columns path, label and perhaps part."
)
RECIPE, NETWORK, TUNING, MACHINE, PLACES = "Recipe", "Network", "Fine-tuning", "Machine", "Places"


def train(
    data: Annotated[str | None, typer.Option(help=f"{DATA_HELP} By default elpv.")] = None,
    archive: Annotated[
        Path | None, typer.Option(help="The zip file of grocery or cifar10; without it, it is downloaded.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The artifact's name; the data set's by default.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, order, crops and dropout; 0.")] = None,
    split_seed: Annotated[int | None, typer.Option(min=0, help="Of the split, where the data has none; 0.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder; only machine and places may change.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="small (default): a few thousand images; paper; source.", rich_help_panel=RECIPE),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes.", rich_help_panel=RECIPE)] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images a step, in all; the rate scales with it.", rich_help_panel=RECIPE),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="At the start.", rich_help_panel=RECIPE)] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0, help="Of weights.", rich_help_panel=RECIPE)] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without a better error before a drop.", rich_help_panel=RECIPE)
    ] = None,
    color_deviation: Annotated[
        float | None, typer.Option(min=0, help="Of the PCA color shift; 0: none.", rich_help_panel=RECIPE)
    ] = None,
    mirror: Annotated[
        bool | None, typer.Option("--mirror/--no-mirror", help="Mirror half of the crops.", rich_help_panel=RECIPE)
    ] = None,
    crop: Annotated[
        bool | None, typer.Option("--crop/--no-crop", help="Random crops, or the center.", rich_help_panel=RECIPE)
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(min=2, help="Width of fc6 and fc7; 4096.", rich_help_panel=NETWORK)
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="In fc6 and fc7; 0: none.", rich_help_panel=NETWORK)
    ] = None,
    activation: Annotated[
        Literal["relu", "tanh"] | None, typer.Option(help="After every layer.", rich_help_panel=NETWORK)
    ] = None,
    pool: Annotated[
        int | None, typer.Option(min=2, max=3, help="Window; 3 overlaps, 2 doesn't.", rich_help_panel=NETWORK)
    ] = None,
    normalization: Annotated[
        Literal["paper", "source", "none"] | None,
        typer.Option(help="Response normalization after conv1 and conv2.", rich_help_panel=NETWORK),
    ] = None,
    one_tower: Annotated[
        bool, typer.Option("--one-tower", help="The half-size network of footnote 2.", rich_help_panel=NETWORK)
    ] = False,
    apart: Annotated[
        bool, typer.Option("--apart", help="Towers that don't meet at conv3.", rich_help_panel=NETWORK)
    ] = False,
    sixth: Annotated[
        bool, typer.Option("--sixth", help="A sixth convolution after the last pooling.", rich_help_panel=NETWORK)
    ] = False,
    without: Annotated[
        str | None, typer.Option(help="A layer left out: conv2 to conv5, fc7.", rich_help_panel=NETWORK)
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="An artifact whose layers are copied where they fit.", rich_help_panel=TUNING)
    ] = None,
    rates: Annotated[
        str | None, typer.Option(help="Factors of the rate: conv1=0.01,fc8=1.", rich_help_panel=TUNING)
    ] = None,
    frozen: Annotated[
        str | None, typer.Option(help="Layers that stay as they are: conv1,conv2.", rich_help_panel=TUNING)
    ] = None,
    towers: Annotated[
        int | None, typer.Option(min=1, max=2, help="Processes a network, by torchrun.", rich_help_panel=MACHINE)
    ] = None,
    micro_batch: Annotated[
        int | None, typer.Option(min=0, help="At most so many images at once.", rich_help_panel=MACHINE)
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", rich_help_panel=MACHINE)] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16 or float64.", rich_help_panel=MACHINE)
    ] = None,
    compiled: Annotated[
        bool | None,
        typer.Option("--compiled/--no-compiled", help="torch.compile: a slow first step.", rich_help_panel=MACHINE),
    ] = None,
    save_steps: Annotated[
        int | None, typer.Option(min=0, help="Save every so many steps, too.", rich_help_panel=MACHINE)
    ] = None,
    cache_format: Annotated[
        Literal["raw", "jpeg"] | None,
        typer.Option(help="raw: 196,608 bytes an image; jpeg: about 17,000.", rich_help_panel=MACHINE),
    ] = None,
    measure: Annotated[
        Literal["ten", "center"] | None,
        typer.Option(help="Errors of one crop and ten, or of one: an eleventh of the time.", rich_help_panel=MACHINE),
    ] = None,
    artifacts: Annotated[Path | None, typer.Option(help="Published; artifacts.", rich_help_panel=PLACES)] = None,
    cache: Annotated[Path | None, typer.Option(help="Decoded images; cache.", rich_help_panel=PLACES)] = None,
    runs: Annotated[Path | None, typer.Option(help="Logs and checkpoints; runs.", rich_help_panel=PLACES)] = None,
) -> None:
    """Train the network on labeled images, export it, measure it and publish an artifact to serve."""
    given = {option: value for option, value in locals().items() if value is not None and value is not False}
    given.pop("resume", None)
    given |= {
        option: False
        for option, value in (("mirror", mirror), ("crop", crop), ("compiled", compiled))
        if value is False
    }
    given |= {"rates": config.factors(rates)} if rates else {}
    given |= {"frozen": tuple(frozen.split(","))} if frozen else {}
    chosen = config.configure(given) if resume is None else config.go_on(resume, given)
    artifact = main(chosen, resume)
    if artifact is None:  # another process says it
        return
    from training.evaluation.evaluate import table

    typer.echo(table(artifact.manifest.measurements))
    typer.echo(f"artifact: {artifact.path}")
    index = [alexnet(), "index", "--artifact", str(artifact.path), "--data", chosen.data]
    typer.echo(f"next: {shlex.join(index)}; {shlex.join([alexnet(), 'serve'])}")


def main(chosen: config.RunConfig, resume: Path | None = None) -> Artifact | None:
    """Train as configured, or go on with the run in `resume`; the artifact, in the first process."""
    processes = _processes(chosen)
    try:
        try:
            trainer = prepare(chosen, processes, resume)
        except KeyboardInterrupt:
            raise StoppedError("stopped before the first step: start again") from None
        return _train(trainer)
    finally:
        from training.loop.distributed import end

        end()


def _train(trainer: Trainer) -> Artifact | None:
    from training.publish.export_run import finish

    processes = trainer.processes
    try:
        trainer.fit()
        if not processes.saves:
            return None
        weights = trainer.whole(trainer.learner.network.state_dict())
        if not processes.first:
            return None
        try:
            artifact = finish(trainer, weights)
            config.replace_file(trainer.run / config.ARTIFACT, f"{artifact.path.absolute()}\n")
            return artifact
        except KeyboardInterrupt:
            raise StoppedError("stopped while the network was measured") from None
    except StoppedError as stopped:
        raise StoppedError(f"{stopped}; go on with: {processes.going_on(trainer.run)}") from None
    finally:
        if trainer.lock is not None:
            trainer.lock.close()


def _processes(chosen: config.RunConfig) -> Processes:
    keep_freed()
    try:
        from training.loop.distributed import start
        from training.loop.precision import pick_device
    except ModuleNotFoundError as error:
        raise TrainingError(f"expected {error.name} for training, found none: pip install -e '.[cpu,train]'") from error
    device = pick_device(chosen.device)
    if chosen.compiled and device == "cpu":
        raise TrainingError("expected a GPU for --compiled, found the CPU, whose loops are compiled already")
    return start(device, chosen.towers)


def prepare(chosen: config.RunConfig, processes: Processes, resume: Path | None = None) -> Trainer:
    """Read the images and set up a run in a folder of its own."""
    from training.data import cache as image_cache
    from training.loop import checkpoint, diagnostics
    from training.loop.precision import pick_precision
    from training.loop.run_directory import write_down
    from training.loop.trainer import Trainer
    from training.optim.initial_weights import again, begin

    def say(text: str) -> None:
        if processes.first:
            typer.echo(text)

    pick_precision(chosen.precision, processes.device)  # what is wrong is said before the images are read
    dataset = datasets.load(chosen.data, chosen.split_seed, chosen.archive)
    sizes = ", ".join(f"{len(examples):,} {part}" for part, examples in dataset.parts().items())
    say(f"{dataset.name}: {len(dataset.labels)} classes; {sizes}; split: {dataset.split}")
    run = processes.share(resume or chosen.runs / f"{chosen.name}-{now():%Y%m%d-%H%M%S}")
    if resume is None:
        # also from the first: all replicas must have the same weights, whatever artifact another machine holds
        state, start = None, processes.share(begin(chosen, dataset.labels) if processes.first else None)
    else:  # from the first process: other machines needn't see its file
        state = processes.share(checkpoint.load(resume) if processes.first else None)
        start = again(state)
    cache = image_cache.build(dataset, chosen.cache, chosen.cache_format)
    trainer = Trainer(chosen, dataset, cache, run, processes, start)
    if processes.first:
        write_down(trainer, resume is not None)
    if state is not None:
        trainer.restore(state)
    if start.origin:
        say(f"started from {start.origin}")
    if chosen.compiled:
        say("the first step compiles the network: a minute or so without a sign")
    if warning := diagnostics.large_batch(chosen.recipe.batch):
        say(warning)
    where = f"{trainer.learner.device}, {processes.size} process{'es' if processes.size > 1 else ''}"
    say(f"recipe {chosen.recipe.name} in {trainer.learner.precision} on {where}; the run's folder: {run}")
    return trainer


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    try:
        app()
    except AlexNetError as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(OTHERS_SECONDS)
        if not isinstance(error, StoppedError) or os.environ.get("RANK", "0") == "0":  # all have stopped together
            typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
