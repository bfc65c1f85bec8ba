"""`alexnet index`: remove images, restore them, or delete them for good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet.cli.options import HOME, ArtifactOption, HomeOption, IndexOption, PrecisionOption, open_index
from model.datasets.names import compose, is_utf8, show_text
from model.exceptions import InvalidRequestError, UnknownImageError
from model.plurals import count_of

if TYPE_CHECKING:
    from index.bulk_change import Selection
    from model.artifacts.artifact import Precision

IdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="ID", help="Ids of images, as `alexnet index list` shows them.", show_default=False),
]
LabelOption = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="All images with this label, instead of ids.", show_default=False),
]
KeysOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key", metavar="KEY", help="The image with this key, instead of ids; repeatable.", show_default=False
    ),
]


def remove(
    ids: IdsArgument = None,
    label: LabelOption = None,
    keys: KeysOption = None,
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    home: HomeOption = HOME,
) -> None:
    """Remove images from an index.

    `alexnet index restore` undoes the removal until the index is compacted.
    """
    _change_many(_select(ids, label, keys), index, artifact, home, precision, removed=True)


def restore(
    ids: IdsArgument = None,
    label: LabelOption = None,
    keys: KeysOption = None,
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    home: HomeOption = HOME,
) -> None:
    """Restore removed images.

    Name them by the ids that they had, or by their label or key. This works until the index is compacted.
    """
    _change_many(_select(ids, label, keys), index, artifact, home, precision, removed=False)


def _select(ids: list[int] | None, label: str | None, keys: list[str] | None) -> Selection:
    """The images that a command names. Raises InvalidRequestError."""
    from index.bulk_change import Selection
    from index.entries import MAX_ID

    if [bool(ids), bool(keys), label is not None].count(True) != 1:
        raise InvalidRequestError("give either image ids, --key or --label")
    if ids and max(map(abs, ids)) > MAX_ID:
        raise InvalidRequestError(f"no image has an id above {MAX_ID}: `alexnet index list` shows the existing ids")
    if label is not None:
        check_utf8("label", label)
    for key in keys or ():
        check_utf8("key", key)
    return Selection(ids or None, compose(label), keys or None)


def _change_many(
    selection: Selection, index: str | None, artifact: Path | None, home: Path, precision: Precision, removed: bool
) -> None:
    """Remove or restore images in one commit. Raises InvalidRequestError or UnknownImageError."""
    from index.bulk_change import BulkChange

    with open_index(index, artifact, home, precision, writable=True) as store:
        result = store.change_many(selection, BulkChange(removed))
    if selection.label is not None and not result.changed:
        kind = "image" if removed else "removed image"
        raise InvalidRequestError(f"no {kind} in the index has the label {selection.label[:80]!r}")
    typer.echo(f"{count_of(len(result.changed), 'image')} {'removed' if removed else 'restored'}")
    for kind, unknown, form in (("ids", result.unknown_ids, ""), ("keys", result.unknown_keys, " --csv")):
        if unknown:
            shown = ", ".join(show_text(str(name)) for name in unknown[:10])
            raise UnknownImageError(
                f"no indexed image has these {kind}: {shown}; `alexnet index list{form}` shows the existing {kind}"
            )


def compact(
    index: IndexOption = None,
    artifact: ArtifactOption = None,
    precision: PrecisionOption = "float32",
    home: HomeOption = HOME,
) -> None:
    """Delete removed and damaged images for good and free their disk space."""
    from index.protocol import require_compaction

    with open_index(index, artifact, home, precision, writable=True) as store:
        typer.echo(f"{count_of(require_compaction(store).compact(), 'image')} deleted, {len(store):,} kept")


def check_utf8(kind: str, text: str) -> None:
    """Raise InvalidRequestError for a label or key that isn't UTF-8; an index has only UTF-8."""
    if not is_utf8(text):
        raise InvalidRequestError(f"invalid {kind} {text[:80]!r}: it isn't UTF-8")
