"""What users see while something takes time: a line, and on a terminal a running clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

INTERVAL = 1.0
"""Seconds between two updates of a bar that nothing else updates."""
LOG_SECONDS = 60
"""Seconds between two lines where there is no terminal for a bar."""


@contextmanager
def stage(text: str, show: bool = True) -> Iterator[None]:
    """Show what is being done; on a terminal, with the elapsed time. `show`: whether this process shows it."""
    with (
        tqdm(desc=text, bar_format="{desc} ({elapsed})", leave=False, disable=None if show else True) as bar,
        refreshed(bar),
        repeated(text, bar.disable and show),
    ):
        yield


@contextmanager
def refreshed(bar: tqdm[Any]) -> Iterator[None]:
    """Redraw a bar every second, even while one step takes longer: its clock shows that nothing hangs."""
    if bar.disable:
        yield
        return
    with _every(INTERVAL, bar.refresh):
        yield


@contextmanager
def repeated(text: str, show: bool = True) -> Iterator[None]:
    """Where there is no terminal for a bar: write a line, and again every minute with the elapsed time."""
    if not show:
        yield
        return
    started = time.monotonic()
    tqdm.write(text)
    with _every(LOG_SECONDS, lambda: tqdm.write(f"{text} ({tqdm.format_interval(time.monotonic() - started)})")):
        yield


@contextmanager
def _every(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Call `action` in a thread every `seconds` seconds."""
    ended = threading.Event()

    def act() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=act, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
