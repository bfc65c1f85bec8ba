"""Health, metrics, information about the loaded model, and reload."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from model.exceptions import IndexUnavailableError
from model.network.registry import build_spec
from server.dependencies import ApiKeyDep, LoadedModelDep, ServiceDep, require_admin, require_read
from server.exceptions import DeadlineExceededError, InvalidHeaderError, ReloadError
from server.limits.deadlines import TIMEOUT_HEADER, parse_deadline, run_until_deadline
from server.responses.openapi import Responses, file_response, responses_for
from server.responses.schemas import HealthResponse, IndexRef, InfoResponse, ModelRef

router = APIRouter(tags=["operation"])
"""Health checks, open to anybody."""
authenticated_router = APIRouter(tags=["operation"])

UNAVAILABLE: Responses = {503: {"model": HealthResponse, "description": "Not live or not ready."}}


@router.get("/live", responses=UNAVAILABLE, summary="Liveness")
async def live(service: ServiceDep, response: Response) -> HealthResponse:
    """503 when the process should be restarted: the inference worker has stopped or is stuck, or the search worker has
    stopped."""
    if (stopped := service.worker_failure) is None:
        return HealthResponse(status="live")
    response.status_code = 503
    return HealthResponse(status=stopped)


@router.get("/ready", responses=UNAVAILABLE, summary="Readiness")
async def ready(service: ServiceDep, response: Response) -> HealthResponse:
    """200 once the model and index are loaded and the network has run; 503 when the server is about to stop, or a
    worker has stopped or is stuck.

    The status also gives the number of damaged images in the index, which searches leave out.
    """
    if (reason := service.unready_reason) is None:
        damaged = service.current.num_damaged_images
        return HealthResponse(status="ready" + (f"; {damaged:,} damaged images in the index" if damaged else ""))
    response.status_code = 503
    return HealthResponse(status=reason)


@authenticated_router.get(
    "/metrics", responses=file_response("text/plain"), response_class=Response, summary="Metrics for Prometheus"
)
async def metrics(service: ServiceDep, api_key: ApiKeyDep) -> Response:
    """Requests by route, status and error code, seconds by phase, batches, the queue, and the model."""
    if not service.settings.public_metrics:
        service.keys.require("read", api_key)
    content = await asyncio.to_thread(service.metrics.render)  # an index in a database is asked for its size
    return Response(content, media_type=CONTENT_TYPE_LATEST)


@authenticated_router.get(
    "/info",
    dependencies=[Depends(require_read)],
    responses=responses_for(InvalidHeaderError, IndexUnavailableError, DeadlineExceededError),
    summary="The loaded model and index",
)
async def info(request: Request, service: ServiceDep, loaded_model: LoadedModelDep) -> InfoResponse:
    """The network, its device, its measured errors, and the index."""
    artifact, index = loaded_model.artifact, loaded_model.index
    manifest = artifact.manifest
    deadline = parse_deadline(request.headers.get(TIMEOUT_HEADER), service.settings.request_timeout)
    ref: IndexRef | None = None
    if index is not None:
        ref = await run_until_deadline(request, deadline, service.readers.run(lambda: IndexRef.of(index)))
    return InfoResponse(
        model=ModelRef.of(artifact),
        num_classes=manifest.num_classes,
        device=loaded_model.model.device,
        precision=artifact.precision,
        index=ref,
        measurements=[measurement.model_dump() for measurement in manifest.measurements],
        license=manifest.license,
        created=manifest.created,
        parameters=manifest.parameters,
        towers=2 if manifest.network is None else build_spec(manifest.network).towers,
        training=manifest.training,
    )


@authenticated_router.post(
    "/reload",
    dependencies=[Depends(require_admin)],
    responses=responses_for(ReloadError),
    summary="Load the newest artifact and its index",
)
async def reload(service: ServiceDep) -> ModelRef:
    """Load the newest artifact and its index, warm up, and switch to them. Requests in flight finish with the version
    that they began with. If the new artifact is damaged or doesn't fit its index, the current one keeps serving.

    Needs an API key with the scope admin. If the server has no keys, send the process SIGHUP instead.
    """
    return ModelRef.of((await service.reload()).artifact)
