"""A file fetched from the network: with progress, going on after a cut, whole or not at all."""

from __future__ import annotations

import shutil
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from ssl import SSLError

from tqdm import tqdm

from model.exceptions import DownloadError
from model.files import exclusive_lock, move_durably, sha256_of
from model.pretrained.specs import Release

ATTEMPTS = 5
"""In a row without a byte more."""
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 60
CHUNK = 1 << 20


def fetch(release: Release, folder: Path, mirror: str = "", pause: float = PAUSE_SECONDS) -> Path:
    """The file in `folder`, which is fetched unless it is there. Its checksum is compared before it gets its name.

    What came before a cut is kept in NAME.part, and the next call goes on from there. Raises DownloadError.
    """
    target = folder / release.file
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder / f".{release.file}.lock", f"fetching {release.file}"):
        if target.is_file():
            verify(target, release)
            return target
        address = f"{mirror.rstrip('/')}/{release.file}" if mirror else release.address
        part = folder / f"{release.file}.part"
        _room(part, release)
        try:
            _all_of_it(address, part, release, pause)
            verify(part, release)
        except DownloadError as error:
            raise DownloadError(
                f"{error}; fetch {release.address} elsewhere and put it at {target}, or name it with --from FILE"
            ) from error
        move_durably(part, target)
    return target


def verify(file: Path, release: Release) -> None:
    """Raise DownloadError, removing a part, unless a file is the release."""
    with file.open("rb") as opened:
        start = opened.read(512).lstrip().lower()
    size = file.stat().st_size
    if start.startswith((b"<!doctype", b"<html")):
        found = "a web page"
    elif release.bytes and size != release.bytes:
        found = f"{size:,} bytes instead of {release.bytes:,}"
    elif (checksum := sha256_of(file)) != release.sha256:
        found = f"other bytes: sha256 {checksum}"
    else:
        return
    if file.suffix == ".part":
        file.unlink()
    raise DownloadError(f"expected {release.file} (sha256 {release.sha256[:12]}...) in {file}, found {found}")


def _room(part: Path, release: Release) -> None:
    have = part.stat().st_size if part.is_file() else 0
    free = shutil.disk_usage(part.parent).free
    if free < release.bytes - have:
        raise DownloadError(f"expected {release.bytes - have:,} bytes free in {part.parent}, found {free:,}")


def _all_of_it(address: str, part: Path, release: Release, pause: float) -> None:
    """Append to `part` until the server has no more; a cut connection is tried again from where it was cut."""
    failed, reason = 0, ""
    with tqdm(desc=f"downloading {release.file}", unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar:
        while failed < ATTEMPTS:
            before = part.stat().st_size if part.is_file() else 0
            try:
                if _go_on(address, part, release, bar):
                    return
                reason = "a connection that was cut"
            except urllib.error.HTTPError as error:
                if error.code == 416:  # nothing after what is there
                    return
                if error.code < 500 and error.code not in (408, 429):
                    raise DownloadError(
                        f"expected {release.file} at {address}, found {error.code} {error.reason}"
                    ) from error
                reason = f"{error.code} {error.reason}"
            except (HTTPException, TimeoutError, ConnectionError, SSLError, urllib.error.URLError) as error:
                cause = getattr(error, "reason", error)
                reason = str(getattr(cause, "strerror", None) or cause) or type(error).__name__
            except ValueError as error:
                raise DownloadError(f"expected an address, found {address!r}") from error
            except OSError as error:
                raise DownloadError(f"expected to write {part}, found: {error.strerror or error}") from error
            more = (part.stat().st_size if part.is_file() else 0) > before
            failed = 0 if more else failed + 1
            if failed < ATTEMPTS:
                time.sleep(pause * 2 ** max(failed - 1, 0))
    raise DownloadError(f"expected {release.file} from {address}, found: {reason}")


def _go_on(address: str, part: Path, release: Release, bar: tqdm[None]) -> bool:
    """Ask for what is missing and append it. Whether that was all of it."""
    have = part.stat().st_size if part.is_file() else 0
    asked = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(asked, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status != 206:  # the whole again
            have = 0
        total = _total(answer, have)
        if total is not None and release.bytes and total != release.bytes:
            raise DownloadError(
                f"expected {release.bytes:,} bytes at {address}, found {total:,} of {answer.headers.get_content_type()}"
            )
        bar.total, bar.n = total, have
        with part.open("ab" if have else "wb") as output:
            while chunk := answer.read(CHUNK):
                output.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    return total is None or have >= total


def _total(answer: HTTPResponse, have: int) -> int | None:
    """Bytes of the whole file, where the server says them."""
    length = answer.headers.get("Content-Length")
    return None if length is None else have + int(length)
