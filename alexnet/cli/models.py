"""`alexnet models`: list the networks that there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from alexnet.cli.errors import FAILED
from alexnet.cli.options import HOME, HomeOption, JsonOption
from alexnet.cli.output import print_json

if TYPE_CHECKING:
    from model.artifacts.artifact import Manifest
    from model.exceptions import ArtifactError


def models(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the available networks.

    Lists those in artifacts below --home, starting with the newest, which is the default, and then the bundled ones.
    The error is top-1, measured on held-out images. Exits with status 1 if an artifact is invalid.
    """
    rows, errors = _list_networks(home)
    if as_json:
        print_json({"models": rows})
    else:
        width = max(len(_place(row)) for row in rows)
        for row in rows:
            typer.echo(_format(row, width))
    for error in errors:
        typer.echo(f"skipped: {error}", err=True)
    if errors:
        raise typer.Exit(FAILED)


def _list_networks(home: Path) -> tuple[list[dict[str, Any]], list[ArtifactError]]:
    """A row for each network, and the errors of invalid artifacts."""
    from model.artifacts.artifact import list_artifacts, read_manifest
    from model.artifacts.bundled import BUNDLED, DEFAULT_NETWORK

    own, errors = list_artifacts(home / "artifacts")
    bundled = [read_manifest(folder) for folder in sorted(BUNDLED.iterdir()) if folder.is_dir()]
    rows = [_describe(path, manifest) for path, manifest in own] + [_describe(None, manifest) for manifest in bundled]
    bundled_default = [row["name"] for row in rows].index(DEFAULT_NETWORK)
    default = 0 if own else None if errors else bundled_default  # commands refuse an artifact that can't be read
    return [row | {"used_by_default": number == default} for number, row in enumerate(rows)], errors


def _describe(path: Path | None, manifest: Manifest) -> dict[str, Any]:
    """The row for a network. `path`: None for a bundled one."""
    from model.artifacts.held_out import may_know_held_out

    measured = manifest.main_measurement
    return {
        "name": manifest.name,
        "version": manifest.version,
        "artifact": None if path is None else str(path),
        "created": manifest.created.isoformat(timespec="seconds"),
        "classes": manifest.num_classes,
        "top1_error": measured and measured.top1_error,
        "num_images": measured and measured.num_images,
        "split": measured and measured.split,
        "may_know_held_out": may_know_held_out(manifest.training),
    }


def _place(row: dict[str, Any]) -> str:
    return row["artifact"] or f"{row['name']} (bundled)"


def _format(row: dict[str, Any], width: int) -> str:
    from model.plurals import count_of

    error = "not measured here"
    if row["top1_error"] is not None:
        doubt = ", perhaps too low: some may be training images" if row["may_know_held_out"] else ""
        images = f"{count_of(row['num_images'], 'image')} ({row['split']}{doubt})"
        error = f"top-1 error {100 * row['top1_error']:4.1f} % on {images}"
    used = "  (default)" if row["used_by_default"] else ""
    return f"{_place(row):{width}}  {row['created'][:10]}  {row['classes']:5,} classes  {error}{used}"
