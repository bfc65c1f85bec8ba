"""Resumable, atomic download of files with known checksums."""

from __future__ import annotations

import shutil
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from ssl import SSLError
from typing import NamedTuple

from tqdm import tqdm

from model.exceptions import DownloadError
from model.files import exclusive_lock, move_durably, sha256_of

MAX_ATTEMPTS = 5
"""Maximum number of consecutive attempts that receive nothing."""
RETRY_SECONDS = 1.0
"""Delay before the next attempt; doubled after each further consecutive attempt that receives nothing."""
TIMEOUT_SECONDS = 60
CHUNK_BYTES = 1 << 20
RETRIED_STATUSES = (408, 429)
"""HTTP statuses below 500 that may be temporary."""


class RemoteFile(NamedTuple):
    """A file to download. `bytes` is 0 if its publisher doesn't state the size."""

    name: str
    url: str
    bytes: int
    sha256: str


def fetch(file: RemoteFile, folder: Path, mirror: str = "") -> Path:
    """The file in `folder`, downloaded unless it is there already. Its checksum is verified before it gets its name.

    `mirror`: a URL to which the file's name is appended. An interrupted download is kept in NAME.part, and the next
    call resumes it. Raises DownloadError.
    """
    target = folder / file.name
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder / f".{file.name}.lock", f"downloading {file.name}"):
        if target.is_file():
            verify(target, file)
            return target
        url = f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url
        part = folder / f"{file.name}.part"
        _check_free_space(part, file)
        try:
            download(url, part, file)
            _verify_or_remove(part, file)
        except DownloadError as error:
            raise DownloadError(
                f"{error}. Download {file.url} elsewhere and put it at {target}, or pass it with --from FILE"
            ) from error
        move_durably(part, target)
    return target


def verify(path: Path, file: RemoteFile) -> None:
    """Raise DownloadError unless `path` has the file's size and checksum."""
    with path.open("rb") as opened:
        start = opened.read(512).lstrip().lower()
    size = path.stat().st_size
    if start.startswith((b"<!doctype", b"<html")):
        problem = "it is a web page"
    elif file.bytes and size != file.bytes:
        problem = f"expected {file.bytes:,} bytes, got {size:,}"
    elif (checksum := sha256_of(path)) != file.sha256:
        problem = f"expected sha256 {file.sha256}, got {checksum}"
    else:
        return
    raise DownloadError(f"{path} isn't the published {file.name}: {problem}")


def _verify_or_remove(part: Path, file: RemoteFile) -> None:
    """Like `verify`, but delete a download that doesn't match, since it can't be resumed."""
    try:
        verify(part, file)
    except DownloadError:
        part.unlink()
        raise


def _check_free_space(part: Path, file: RemoteFile) -> None:
    missing = file.bytes - _size(part)
    free = shutil.disk_usage(part.parent).free
    if free < missing:
        raise DownloadError(f"not enough free space in {part.parent} for {missing:,} bytes: {free:,} are free")


def download(url: str, part: Path, file: RemoteFile) -> None:
    """Append to `part` until it is complete; after an interruption, resume where it stopped. Raises DownloadError."""
    failures, reason = 0, ""
    with tqdm(desc=f"downloading {file.name}", unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar:
        while failures < MAX_ATTEMPTS:
            before = _size(part)
            try:
                if _resume(url, part, file, bar):
                    return
                reason = "the connection was closed early"
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 416:  # range not satisfiable: we have all bytes already
                    return
                if error.code < 500 and error.code not in RETRIED_STATUSES:
                    raise DownloadError(f"can't download {url}: {error.code} {error.reason}") from error
                reason = f"{error.code} {error.reason}"
            except (HTTPException, TimeoutError, ConnectionError, SSLError, urllib.error.URLError) as error:
                cause = getattr(error, "reason", error)
                reason = str(getattr(cause, "strerror", None) or cause) or type(error).__name__
            except ValueError as error:
                raise DownloadError(f"invalid URL {url!r}") from error
            except OSError as error:
                raise DownloadError(f"can't write {part}: {error.strerror or error}") from error
            failures = 0 if _size(part) > before else failures + 1
            if failures < MAX_ATTEMPTS:
                time.sleep(RETRY_SECONDS * 2 ** max(failures - 1, 0))
    raise DownloadError(f"can't download {url}: {reason}")


def _resume(url: str, part: Path, file: RemoteFile, bar: tqdm[None]) -> bool:
    """Request the missing bytes and append them; return whether `part` is complete now."""
    size = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        if response.status != 206:  # the server sends the whole file
            size = 0
        total = _total_size(response, size)
        if total is not None and file.bytes and total != file.bytes:
            kind = response.headers.get_content_type()
            raise DownloadError(
                f"{url} isn't the published file: expected {file.bytes:,} bytes, got {total:,} of {kind}"
            )
        bar.total, bar.n = total, size
        with part.open("ab" if size else "wb") as output:
            while chunk := response.read(CHUNK_BYTES):
                output.write(chunk)
                size += len(chunk)
                bar.update(len(chunk))
    return size >= (total or file.bytes)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _total_size(response: HTTPResponse, offset: int) -> int | None:
    """Size of the whole file in bytes, if the server states it."""
    length = response.headers.get("Content-Length")
    return None if length is None else offset + int(length)
