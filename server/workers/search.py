"""Searches in one thread: those that wait are answered together, in the time of a few (see `index.nearest`)."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from index.protocol import Index
from index.search import Neighbor, Query

MOST = 32


@dataclass(frozen=True)
class _Search:
    index: Index
    query: Query
    answer: Future[list[Neighbor]] = field(default_factory=Future)


class Searches:
    """A thread with a queue before it."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Search | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="search", daemon=True)
        self._thread.start()

    def submit(self, index: Index, query: Query) -> Future[list[Neighbor]]:
        """The answer when its turn has come; a future that is cancelled before is left out."""
        search = _Search(index, query)
        self._queue.put(search)
        return search.answer

    def close(self) -> None:
        """Answer what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            waiting, over = [first], False
            while len(waiting) < MOST and not over:
                try:
                    search = self._queue.get_nowait()
                except Empty:
                    break
                over = search is None
                waiting += [search] if search is not None else []
            asked = [search for search in waiting if search.answer.set_running_or_notify_cancel()]
            for index in {id(search.index): search.index for search in asked}.values():
                _answer(index, [search for search in asked if search.index is index])
            if over:
                return


def _answer(index: Index, searches: list[_Search]) -> None:
    """All at once; one by one where one of them is refused, so that it is refused alone."""
    try:
        answers = index.search_many([search.query for search in searches])
    except Exception as error:
        if len(searches) == 1:
            searches[0].answer.set_exception(error)
            return
        for search in searches:
            _answer(index, [search])
        return
    for search, answer in zip(searches, answers, strict=True):
        search.answer.set_result(answer)
