"""Jobs hold the model whose index they change, until they have ended."""

from __future__ import annotations

import threading

from server.jobs.index_job import IndexJob
from tests.helpers.models import CountedModel


def test_a_job_holds_its_model_until_it_has_ended() -> None:
    job: IndexJob[int] = IndexJob("job", str)
    model, proceed, held = CountedModel(), threading.Event(), list[int]()

    def work() -> int:
        assert proceed.wait(20)
        held.append(model.holders)
        return 1

    job.start(model, work)  # type: ignore[arg-type]
    proceed.set()
    job.close()
    assert (held, model.holders, job.status.state) == ([1], 0, "done")
