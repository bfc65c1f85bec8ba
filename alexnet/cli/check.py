"""`alexnet check`: what is wrong with a data set, before training."""

from __future__ import annotations

from typing import Annotated

import typer

from alexnet.cli.options import DATA_HELP, ArchiveOption, ExcludeOption, JsonOption, ListSkippedOption, SeedOption
from alexnet.cli.output import log_to_stderr, print_json


def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP, show_default=False)],
    archive: ArchiveOption = None,
    exclude: ExcludeOption = None,
    seed: SeedOption = 0,
    list_skipped: ListSkippedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check labeled images before training.

    Finds copies and near-duplicates across the split, images under several labels, classes that are too small to be
    measured, unequal classes, and classes that the file (its size, format or camera) gives away. The split is that of
    the data, or the one that `alexnet train` draws with the same --seed.
    """
    with log_to_stderr(as_json):
        from model.datasets.listing import write_skipped
        from training.data.data_check import check_data
        from training.data.loading import load_dataset

        result = check_data(load_dataset(data, seed, archive, exclude or ()))
    if list_skipped is not None:
        write_skipped(list_skipped, result.skipped)
    if as_json:
        print_json(result.to_json())
    else:
        typer.echo(str(result))
