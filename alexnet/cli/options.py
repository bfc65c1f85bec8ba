"""Options that several commands have: each is named and explained once, here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, Precision

if TYPE_CHECKING:
    from index.backends import IndexUri
    from index.protocol import Index

DATA_HELP = (
    "elpv, grocery or cifar10; a folder with one subfolder per class; or a .csv or .tsv file with the columns path, "
    "label and (optional) split."
)

ArchiveOption = Annotated[
    Path | None,
    typer.Option(help="Zip or tar archive of grocery or cifar10 (default: it is downloaded).", show_default=False),
]
ArtifactOption = Annotated[
    Path | None,
    typer.Option(
        envvar="ALEXNET_ARTIFACT",
        help="Artifact, or a folder of artifacts, whose newest is used (default: artifacts below --home).",
        show_default=False,
    ),
]
ArtifactsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--artifact",
        envvar="ALEXNET_ARTIFACT",
        help="Artifact, or a folder of artifacts, whose newest is used; repeat it to average several networks.",
        show_default=False,
    ),
]
CropsOption = Annotated[Literal["1", "10"], typer.Option(help="10: the paper's ten crops; 1: the center crop.")]
DataOption = Annotated[str, typer.Option(help=DATA_HELP, show_default=False)]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(envvar="ALEXNET_DEVICE", help="Device to compute on.")
]
MAX_PIXELS = 64_000_000
"""`model.images.limits.ImageLimits.max_pixels`, so that help needn't load what decodes images."""
MaxPixelsOption = Annotated[
    int,
    typer.Option(
        min=1, help="Maximum pixels of an image in memory, of at most 8 bytes each; larger images are skipped."
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        help="Leave out files and folders of this name, or, with a /, of this path below the data; * stands for "
        "anything. Repeat it for several.",
        show_default=False,
    ),
]
HomeOption = Annotated[
    Path, typer.Option(envvar="ALEXNET_HOME", help="Folder that holds artifacts, indexes, runs and cache.")
]
ImageArgument = Annotated[Path, typer.Argument(help="Image file.", exists=True, dir_okay=False)]
IndexOption = Annotated[
    str | None,
    typer.Option(
        envvar="ALEXNET_INDEX",
        help="Index: a folder or milvus://HOST:PORT/NAME (default: that of the artifact, indexes/NAME/VERSION).",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ListSkippedOption = Annotated[
    Path | None, typer.Option(help="File to write: all that is skipped, and why.", show_default=False)
]
MaxImagesOption = Annotated[int, typer.Option(min=1, help="Maximum number of images.")]
OutputOption = Annotated[Path, typer.Option(help="File or folder to write.", show_default=False)]
PrecisionOption = Annotated[
    Precision, typer.Option(envvar="ALEXNET_PRECISION", help="Numeric precision of the network.")
]
RunArgument = Annotated[Path, typer.Argument(help="Folder of a finished run, runs/NAME-DATE-TIME.", show_default=False)]
SeedOption = Annotated[int, typer.Option(min=0, help="Random seed.")]
SplitOption = Annotated[Literal["train", "validation", "test", "all"], typer.Option(help="Split of the data.")]

HOME = Path()


def load_artifact(artifact: Path | None, home: Path, precision: Precision = "float32") -> Artifact:
    """The artifact that --artifact names, else the newest below --home. Raises ArtifactError."""
    return artifacts.load(artifact or home / "artifacts", precision)


def index_uri(index: str | None, artifact: Path | Artifact | None, home: Path) -> IndexUri:
    """The index that --index names, else the artifact's own below --home. Raises ArtifactError, InvalidRequestError."""
    from index.backends import IndexUri

    if index is not None:
        return IndexUri.parse(index)
    loaded = artifact if isinstance(artifact, Artifact) else load_artifact(artifact, home)
    return IndexUri(loaded.default_index_path(home / "indexes"))


@contextmanager
def open_index(index: str | None, home: Path, writable: bool = False) -> Iterator[Index]:
    """The existing index that --index names, else that of the newest artifact below --home.

    Raises IndexStoreError, ArtifactError.
    """
    from index.backends import open_existing, open_readonly

    uri = index_uri(index, None, home)
    store = open_existing(uri) if writable else open_readonly(uri)
    try:
        yield store
    finally:
        store.close()
