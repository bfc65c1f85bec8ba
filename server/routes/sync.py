"""/sync: sync the index with its folder."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from index.sync import SyncReport
from server.dependencies import WRITE, ContextDep
from server.jobs.index_job import JobStatus, State
from server.responses.openapi import ADMITTED_RESPONSES, WRITE_RESPONSES
from server.responses.schemas import Schema

router = APIRouter(tags=["index"])
MAX_CHANGES = 1000
"""Changes in one response."""


class SyncChange(Schema):
    """What happened to one image. `path`: below the folder."""

    kind: str
    path: str
    detail: str


class SyncResponse(Schema):
    """The last comparison of the folder with the index; until it is done, there is only `state`.

    `counts`: changes by kind. `changes`: the first 1000. `mislabeled`: paths of copies under another label, the first
    1000.
    """

    state: State
    dry_run: bool = False
    pruned: bool = False
    unchanged: int = 0
    copies: int = 0
    mislabeled_copies: int = 0
    mislabeled: list[str] = Field(default_factory=list)
    counts: dict[str, int] = Field(default_factory=dict)
    changes: list[SyncChange] = Field(default_factory=list)

    @classmethod
    def of(cls, status: JobStatus[SyncReport]) -> SyncResponse:
        if status.result is None:
            return cls(state=status.state)
        fields = status.result.to_json()
        shown = {name: fields[name][:MAX_CHANGES] for name in ("changes", "mislabeled")}
        return cls(state=status.state, **(fields | shown))


@router.post(
    "/sync",
    status_code=202,
    response_model_exclude_unset=True,
    responses=WRITE_RESPONSES,
    dependencies=WRITE,
    summary="Sync the index with its folder",
)
async def start_sync(
    context: ContextDep,
    prune: Annotated[bool, Query(description="Remove images whose file is gone.")] = False,
    dry_run: Annotated[bool, Query(description="Only report what would change.")] = False,
) -> SyncResponse:
    """Compare the folder of `--sync-folder` with the index and update the index: images that were added, moved,
    relabeled, edited in place, or are gone (removed only with `prune`). An image that was removed from the index, but
    whose file is still in the folder, is restored. The comparison runs in the background; `GET /sync` has its result. A
    request during it doesn't start another."""
    return SyncResponse.of(context.service.folder_sync.start(context.loaded_model, prune, dry_run))


@router.get(
    "/sync",
    response_model_exclude_unset=True,
    responses=ADMITTED_RESPONSES,
    dependencies=WRITE,
    summary="Progress and result of POST /sync",
)
async def get_sync(context: ContextDep) -> SyncResponse:
    """The state: `running`, `done` with the changes, `failed` (the server's log has the reason), or `idle` (not
    requested yet)."""
    return SyncResponse.of(context.service.folder_sync.status)
