"""`alexnet train`, also as a script: `python training/run.py`, `torchrun --nproc-per-node N training/run.py`."""

from __future__ import annotations

import inspect
import io
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.main import get_command

from alexnet.cli.browser import OpenReportOption, open_in_browser
from alexnet.cli.command_groups import add_command, new_app
from alexnet.cli.errors import Failure, run
from alexnet.cli.options import JsonOption
from alexnet.cli.output import log_to_stderr, print_json
from alexnet.cli.recipe_options import NETWORK, RECIPE, network_options, recipe_options
from alexnet.cli.run_options import FOLDERS, IMAGES, MACHINE, TUNING, environment_options, run_options
from alexnet.cli.signatures import keyword, with_parameters
from model.exceptions import StoppedError, TrainingError

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.train import FinishedRun

OTHER_RANKS_DELAY = 5
"""Seconds before processes other than the first report an error: by then the first has usually reported it."""
NO_DATA = (
    "no --data given: training on the example elpv, 2,624 images of solar cells (non-commercial use only); --data "
    "FOLDER trains on your own images, in one subfolder per class"
)
CONFIG: dict[str, Callable[..., Any]] = {
    "environment": environment_options,
    "run": run_options,
    "recipe_options": recipe_options,
    "network_options": network_options,
}
"""The parts of the configuration, each with the function that makes it from its options."""
SECTIONS = (None, IMAGES, RECIPE, NETWORK, TUNING, MACHINE, FOLDERS)
"""Sections of the help; None: its beginning."""

ResumeOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Resume the run in this folder, with its options; --epochs or --minutes extends it.",
        show_default=False,
    ),
]
FinishOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Publish the run in this folder as it is, without more training.",
        show_default=False,
    ),
]


def run_train(
    context: typer.Context, resume: Path | None, finish: Path | None, open_report: bool, as_json: bool, **options: Any
) -> None:
    """Train a network on your own labeled images.

    Then exports the network, measures it on held-out images, publishes an artifact that the other commands use, and
    writes a report. Ctrl-C saves a checkpoint and prints the command that resumes the run. Needs the extra `train`.
    """
    config, given = create_config(options), given_options(context)
    with log_to_stderr(as_json):
        if "data" not in given and resume is None and finish is None:
            typer.echo(NO_DATA)
        length = options["epochs"], options["minutes"]
        finished = run_training(config, resume or finish, given, finish is not None, length)
    if finished is not None:
        _print_address(finished, as_json, open_report)


def create_config(options: Mapping[str, Any]) -> TrainConfig:
    """The configuration from all options. Raises TrainingError, NetworkConfigError."""
    from training.config import TrainConfig

    parts = {
        part: make(**{name: options[name] for name in inspect.signature(make).parameters})
        for part, make in CONFIG.items()
    }
    return TrainConfig.create(**parts)


def _parameters() -> list[inspect.Parameter]:
    """All options, in the order of the help."""
    own = [
        keyword("resume", ResumeOption),
        keyword("finish", FinishOption),
        keyword("open_report", OpenReportOption, False),
        keyword("as_json", JsonOption, False),
    ]
    parts = [option for make in CONFIG.values() for option in inspect.signature(make).parameters.values()]
    options = [keyword(option.name, option.annotation, option.default) for option in parts]
    return [keyword("context", typer.Context, inspect.Parameter.empty), *sorted(options + own, key=_section)]


def _section(option: inspect.Parameter) -> int:
    return SECTIONS.index(get_args(option.annotation)[1].rich_help_panel)


def given_options(context: typer.Context) -> set[str]:
    """The options given on the command line or in the environment, except those that a run doesn't keep.

    Raises TrainingError for options that can't be combined.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name.rstrip("_") for name, source in sources.items() if source and source.name != "DEFAULT"}
    if {"resume", "finish"} <= given:
        raise TrainingError("--resume and --finish can't be combined: --finish publishes the run without training")
    if "finish" in given and (length := {"epochs", "minutes"} & given):
        raise TrainingError(
            f"--{min(length)} has no effect with --finish, which publishes the run as it is: leave it out, or extend "
            "the run with --resume"
        )
    if {"find_rate", "learning_rate"} <= given:
        raise TrainingError("--find-rate chooses the learning rate: leave out --learning-rate")
    return given - {"resume", "finish", "as_json", "open_report"}


def run_training(
    config: TrainConfig,
    resume: Path | None,
    given: set[str],
    finish: bool = False,
    length: tuple[int | None, float | None] = (None, None),
) -> FinishedRun | None:
    """Train, or resume the run in the folder `resume`; None in processes other than the main one.

    `given`: names of the options to change in the environment of a resumed run. `finish`: publish the run as it is.
    `length`: new epochs and minutes of a resumed run.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a reader of a pipe or file sees each line at once
    if resume is not None:  # first: there may be nothing to do
        from training.loop.run_directory import resume_config

        config = resume_config(resume, config.environment, given, *length)
    typer.echo("loading PyTorch")  # seconds
    from training.train import train_run

    finished = train_run(config, resume, finish)
    if finished is not None:
        _print_result(finished)
    return finished


def _print_result(finished: FinishedRun) -> None:
    """Print the errors, the artifact and the next commands."""
    from model.artifacts.measurements import format_measurements
    from training.publish.summary import next_commands

    artifact = finished.artifact
    typer.echo(format_measurements(artifact.manifest.measurements))
    typer.echo(f"artifact: {artifact.path}")
    for what, command in next_commands(artifact.path, finished.config):
        typer.echo(f"to {what}:\n  {command}")


def _print_address(finished: FinishedRun, as_json: bool, open_report: bool) -> None:
    """Print where the report is, or the whole result as JSON, and open the report if asked."""
    from training.publish.report import REPORT

    report, artifact = (finished.path / REPORT).resolve(), finished.artifact
    if as_json:
        measurements = [measurement.model_dump(mode="json") for measurement in artifact.manifest.measurements]
        print_json({"artifact": str(artifact.path), "report": str(report), "measurements": measurements})
    else:
        typer.echo(f"report: {report.as_uri()}")
    if open_report:
        open_in_browser(report.as_uri())


train = with_parameters(run_train, _parameters())


def main() -> None:
    """Run `alexnet train` as the script `training/run.py`; with several processes, an error is printed once."""
    app = new_app(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
    add_command(app, train)
    run(get_command(app), show=_show_once)


def _show_once(error: Exception, failure: Failure) -> None:
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(OTHER_RANKS_DELAY)  # torchrun ends this process before it repeats the first one's error
    if not isinstance(error, StoppedError) or os.environ.get("RANK", "0") == "0":  # all ranks stop together
        typer.echo(str(failure), err=True)
