"""What a person sees while something takes time: a line, and on a terminal a clock that runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

INTERVAL = 1.0
"""Seconds between two looks of a bar that nothing else moves."""


@contextmanager
def stage(text: str, show: bool = True) -> Iterator[None]:
    """Say what is done in this context; on a terminal with the time that it has taken. `show`: in this process."""
    with tqdm(desc=text, bar_format="{desc} ({elapsed})", leave=False, disable=None if show else True) as bar:
        if bar.disable and show:
            tqdm.write(text)
        with refreshed(bar):
            yield


@contextmanager
def refreshed(bar: tqdm[Any]) -> Iterator[None]:
    """Redraw a bar every second, also while a step takes longer: its clock shows that nothing hangs."""
    if bar.disable:
        yield
        return
    ended = threading.Event()

    def redraw() -> None:
        while not ended.wait(INTERVAL):
            bar.refresh()

    thread = threading.Thread(target=redraw, name="progress bar", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
