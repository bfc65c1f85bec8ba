"""Find the images that a command names (files, folders, patterns, standard input) and read them in order in batches."""

from __future__ import annotations

import codecs
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from model.datasets.image_files import (
    has_image_suffix,
    is_url,
    looks_like_image_file,
    read_image_file,
    skipped_file,
)
from model.datasets.listing import Skipped
from model.datasets.walk import walk
from model.exceptions import ImageTooLargeError, InvalidImageError, InvalidRequestError
from model.images.contract import ImageContract
from model.images.info import DecodedImage, WarningKind, count_warnings
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.images.preprocess import decode_image
from model.thread_pool import ordered_map

STDIN = "-"
BATCH_SIZE = 16
"""Images per run of the network. Larger batches are hardly faster, and take more memory."""


@dataclass(frozen=True)
class ImageInputs:
    """`names`: paths in the order of the arguments, and `-` for standard input.

    `skipped`: what was left out of folders, and why.
    """

    names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()


class InputImage(NamedTuple):
    """The name of an image, and the decoded image or why it can't be read."""

    name: str
    image: DecodedImage | Skipped


def find_inputs(arguments: Sequence[str], files_from: str | None = None) -> ImageInputs:
    """The images that arguments name: a folder stands for the images in and below it, a pattern for what it matches.

    `files_from`: a file, or `-` for standard input, that lists more images (`read_list`); its lines aren't patterns.
    Files that are named directly aren't opened here. Raises InvalidRequestError for a pattern, folder or list without
    images, DatasetError for a folder that can't be read, OSError for a list that can't be read.
    """
    names: list[str] = []
    skipped: list[Skipped] = []
    listed = [] if files_from is None else read_list(files_from)
    for path in (*chain.from_iterable(map(_expand_pattern, arguments)), *listed):
        if os.path.isdir(path):  # noqa: PTH112 - a Path would drop the "./" that was typed
            below = _list_folder(path)
            names += below.names
            skipped += below.skipped
        else:
            names.append(path)
    if [*names, files_from].count(STDIN) > 1:
        raise InvalidRequestError("standard input (-) can be read only once: name it once")
    return ImageInputs(tuple(names), tuple(skipped))


def read_list(file: str) -> list[str]:
    """The paths in a file, or on standard input for `-`: one per line, or each ended by NUL. Raises OSError, and
    InvalidRequestError if there are none."""
    content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    content = content.removeprefix(codecs.BOM_UTF8)
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    if not (paths := [os.fsdecode(line) for line in lines if line]):
        raise InvalidRequestError(f"no path in the list {file}: write one path per line")
    return paths


def read_batches(
    names: Sequence[str],
    contract: ImageContract,
    warnings: Counter[WarningKind],
    limits: ImageLimits = DEFAULT_LIMITS,
    title: str = "",
) -> Iterator[list[InputImage]]:
    """Read and decode images ahead in threads; yield them in batches of `BATCH_SIZE`, in the order of `names`.

    `warnings`: the number of images with each kind of warning is added to it. A progress bar called `title` is shown on
    standard error if that is a terminal and there are several images.
    """
    read = ordered_map(lambda name: InputImage(name, _read(name, contract, limits)), names, ahead=BATCH_SIZE)
    disable = None if len(names) > 1 else True
    with tqdm(total=len(names), desc=title, unit="image", disable=disable) as bar:
        while batch := list(islice(read, BATCH_SIZE)):
            images = [image for _, image in batch if isinstance(image, DecodedImage)]
            warnings.update(count_warnings(image.info.warnings for image in images))
            yield batch
            bar.update(len(batch))


def _expand_pattern(argument: str) -> list[str]:
    if is_url(argument):
        raise InvalidRequestError(
            f"URLs aren't supported: download {argument}, or pipe it with `curl -s URL |` and give - as the image"
        )
    if not has_magic(argument) or os.path.lexists(argument):
        return [argument]
    matches = sorted(glob(argument, recursive=True))  # noqa: PTH207 - the pattern may be absolute
    if "**" in argument:  # ** also matches folders
        matches = [path for path in matches if not os.path.isdir(path)]  # noqa: PTH112
    if not matches:
        raise InvalidRequestError(f"no file matches the pattern {argument}")
    return matches


def _list_folder(folder: str) -> ImageInputs:
    walked = walk(Path(folder))
    paths = {below: os.path.join(folder, below) for below in walked.files}  # noqa: PTH118 - as typed
    names = [path for path in paths.values() if has_image_suffix(path) or looks_like_image_file(path)]
    if not names:
        raise InvalidRequestError(f"no image in the folder {folder}")
    others = [Skipped(path, "not images") for path in sorted(set(paths.values()).difference(names))]
    return ImageInputs(tuple(names), (*walked.skipped, *others))


def _read(name: str, contract: ImageContract, limits: ImageLimits) -> DecodedImage | Skipped:
    try:
        if name == STDIN:
            return decode_image(_read_stdin(limits.max_file_bytes), limits, contract)
        return decode_image(read_image_file(name, limits.max_file_bytes), limits, contract)
    except (InvalidImageError, OSError) as error:
        return skipped_file(name, error)


def _read_stdin(max_bytes: int) -> bytes:
    data = sys.stdin.buffer.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ImageTooLargeError(f"file too large: at most {max_bytes:,} bytes are read")
    return data
