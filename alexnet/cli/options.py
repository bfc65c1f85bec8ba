"""Define the options that several commands share, so that each is named and explained once.

Help texts say what an option does, in which unit, and what happens without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alexnet.cli.output import log_to_stderr
from model.images.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from index.backends import IndexUri
    from index.protocol import Index
    from model.artifacts.artifact import Artifact

Precision = Literal["float32", "int8"]
"""Same as `model.artifacts.artifact.Precision`; repeated so that help needn't import it."""

DATA_HELP = (
    "Labeled images: a folder with one subfolder per class (for an index, any folder); a .csv or .tsv file with the "
    "columns path, label and, optionally, split; or the data set elpv, grocery or cifar10."
)

ArchiveOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Zip or tar archive of the data set grocery or cifar10 (default: download it).",
        show_default=False,
    ),
]
ArtifactOption = Annotated[
    Path | None,
    typer.Option(
        envvar="ALEXNET_ARTIFACT",
        metavar="FOLDER",
        help="Artifact (folder of a trained network), a folder of artifacts (the newest is used), or a bundled "
        "network: photos or elpv (default: artifacts below --home, or else photos).",
        show_default=False,
    ),
]
ArtifactsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--artifact",
        envvar="ALEXNET_ARTIFACT",
        metavar="FOLDER",
        help="Artifact (folder of a trained network), a folder of artifacts (the newest is used), or a bundled "
        "network: photos or elpv (default: artifacts below --home, or else photos). Repeat it "
        "to average several networks.",
        show_default=False,
    ),
]
CropsOption = Annotated[
    Literal["1", "10"],
    typer.Option(help="Crops per image, whose results are averaged: the paper's 10, or 1 (center), which is faster."),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV: one line per result.")]
DataOption = Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP, show_default=False)]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(envvar="ALEXNET_DEVICE", help="Device to compute on; auto uses a GPU if one is usable."),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="Leave out files and folders with this name or, if it has a /, this path below the data; * matches "
        "anything. Repeat it for several.",
        show_default=False,
    ),
]
FilesFromOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Also read the images listed in this file, one path per line or NUL-terminated (as by find -print0); - "
        "for a list on standard input.",
        show_default=False,
    ),
]
HomeOption = Annotated[
    Path,
    typer.Option(
        envvar="ALEXNET_HOME",
        metavar="FOLDER",
        help="Folder that holds artifacts, indexes, runs and cache (default: the working directory).",
        show_default=False,
    ),
]
ImagesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE",
        help="Image files, folders (with their subfolders), patterns such as 'photos/**/*.jpg', or - for standard "
        "input.",
        show_default=False,
    ),
]
IndexOption = Annotated[
    str | None,
    typer.Option(
        envvar="ALEXNET_INDEX",
        metavar="INDEX",
        help="Index: a folder, postgresql://USER@HOST/DATABASE, or milvus://HOST:PORT/NAME (default: the artifact's, "
        "indexes/NAME/VERSION below --home).",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
JsonLinesOption = Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line.")]
ListSkippedOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write what is skipped to this file, tab-separated: path, reason, detail.",
        show_default=False,
    ),
]
MAX_PIXELS = DEFAULT_LIMITS.max_pixels
MaxImagesOption = Annotated[int, typer.Option(min=1, metavar="N", help="Maximum number of images.")]
MaxPixelsOption = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Maximum pixels of a decoded image, at up to 8 bytes each; larger images are skipped.",
    ),
]
OutputOption = Annotated[Path, typer.Option(metavar="FILE", help="File to write (.npz).", show_default=False)]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        envvar="ALEXNET_PRECISION",
        help="Numeric precision of the network; int8 uses what `alexnet quantize` added.",
    ),
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a finished run, runs/NAME-DATE-TIME.", show_default=False)
]
SeedOption = Annotated[int, typer.Option(min=0, metavar="N", help="Random seed.")]
SplitOption = Annotated[Literal["train", "validation", "test", "all"], typer.Option(help="Split of the data to use.")]

HOME = Path()


def require_images(images: list[str] | None, files_from: str | None) -> None:
    """Raise TyperException unless images, or a file that lists images, are given."""
    if not images and files_from is None:
        raise typer.TyperException("Missing argument 'IMAGE': name images, or give a list of them with --files-from")


def load_artifact(artifact: Path | None, home: Path, precision: Precision = "float32") -> Artifact:
    """The artifact that --artifact names, else the default one (`artifact_path`). Raises ArtifactError."""
    from model.artifacts import artifact as artifacts

    return artifacts.load(artifact_path(artifact, home), precision)


def load_artifact_while_importing(
    module: str, artifact: Path | None, home: Path, precision: Precision = "float32"
) -> Artifact:
    """Load the artifact as `load_artifact` does, in a thread, while importing `module`.

    Verifying checksums takes as long as importing onnxruntime. Standard error says which artifact of a folder is used.
    Raises ArtifactError.
    """
    # Imported here, with what loading needs, so that no two threads import it at once.
    from model.artifacts.default import is_unpacked_bundled

    with ThreadPoolExecutor(1) as executor:
        loading = executor.submit(load_artifact, artifact, home, precision)
        import_module(module)
    loaded = loading.result()
    if loaded.path != artifact and not is_unpacked_bundled(loaded.path, home):  # a bundled one is already named
        typer.echo(f"using {loaded.manifest.name} version {loaded.manifest.version} in {loaded.path}", err=True)
    return loaded


def artifact_path(artifact: Path | None, home: Path) -> Path:
    """The folder or bundled network that --artifact names; else the artifacts below --home, or, if there are none, the
    bundled network photos.

    Standard error says so in the last case. Raises ArtifactError.
    """
    from model.artifacts.default import choose_artifact

    with log_to_stderr(True):  # also for a message that another process is unpacking it
        return choose_artifact(artifact, home, typer.echo)


def artifact_paths(artifacts: list[Path] | None, home: Path) -> list[Path]:
    """`artifact_path` of each of several. Raises ArtifactError."""
    return [artifact_path(artifact, home) for artifact in artifacts] if artifacts else [artifact_path(None, home)]


def index_uri(
    index: str | None, artifact: Artifact | Path | None, home: Path, precision: Precision = "float32"
) -> IndexUri:
    """The index that --index names; else the default index, below --home, of the artifact.

    `artifact`: a loaded artifact, or the value of --artifact, to load with `precision`. Raises ArtifactError,
    InvalidRequestError.
    """
    from index.backends import IndexUri

    if index is not None:
        return IndexUri.parse(index)
    if artifact is None or isinstance(artifact, Path):
        artifact = load_artifact(artifact, home, precision)
    return IndexUri(artifact.default_index_path(home / "indexes"))


@contextmanager
def open_index(
    index: str | None,
    artifact: Artifact | Path | None,
    home: Path,
    precision: Precision = "float32",
    writable: bool = False,
) -> Iterator[Index]:
    """Open the existing index that `index_uri` finds. Raises IndexStoreError, ArtifactError, InvalidRequestError."""
    from index.backends import open_readonly, open_writable

    uri = index_uri(index, artifact, home, precision)
    store = open_writable(uri) if writable else open_readonly(uri)
    try:
        yield store
    finally:
        store.close()
