"""/index/compact: delete removed images of the index for good."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from index.protocol import require_compaction
from server.dependencies import ContextDep, require_admin
from server.jobs.index_job import JobStatus, State, require_writable
from server.responses.openapi import ADMITTED_RESPONSES, WRITE_RESPONSES
from server.responses.schemas import Schema

router = APIRouter(tags=["index"])
ADMIN = [Depends(require_admin)]


class CompactResponse(Schema):
    """State of the most recent compaction."""

    state: Annotated[State, Field(examples=["done"])]
    deleted: Annotated[int | None, Field(description="Number of images deleted; null until it is done.", examples=[12])]

    @classmethod
    def of(cls, status: JobStatus[int]) -> CompactResponse:
        return cls(state=status.state, deleted=status.result)


@router.post(
    "/index/compact",
    status_code=202,
    responses=WRITE_RESPONSES,
    dependencies=ADMIN,
    summary="Delete removed images for good",
)
async def start_compaction(context: ContextDep) -> CompactResponse:
    """Delete removed and damaged images and free their space; they can't be restored afterwards. The compaction runs in
    the background, and `GET /index/compact` has its result. Meanwhile, searches work as usual; changes wait until it is
    done, or get 503 `overloaded`. A request during a compaction doesn't start another.

    Needs an API key with the scope admin. If the server has no keys, use `alexnet index compact` while it is stopped.
    """
    index = require_compaction(require_writable(context.loaded_model))
    return CompactResponse.of(context.service.compaction.start(context.loaded_model, index.compact))


@router.get(
    "/index/compact", responses=ADMITTED_RESPONSES, dependencies=ADMIN, summary="Progress of POST /index/compact"
)
async def get_compaction(context: ContextDep) -> CompactResponse:
    """The state: `running`, `done` with the number of deleted images, `failed` (the server's log has the reason), or
    `idle` (not requested yet)."""
    return CompactResponse.of(context.service.compaction.status)
