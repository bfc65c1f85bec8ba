"""Whether the server lives, is ready, and what it has loaded."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from server.routes.classify import model_ref
from server.routes.similar import index_ref
from server.schemas import ErrorAnswer, Health, ModelRef, ServiceInfo
from server.uploads import ServiceDep, ServingDep, require_admin, require_read

router = APIRouter(tags=["operation"])

GONE: dict[int | str, dict[str, object]] = {503: {"model": Health, "description": "No."}}


@router.get("/live", responses=GONE, summary="Is the process alive?")
async def live(service: ServiceDep, response: Response) -> Health:
    """200 as long as the event loop turns and the network's thread works; 503 when the process should be restarted."""
    if service.now.inference.alive:
        return Health(status="live")
    response.status_code = 503
    return Health(status="the network's thread is gone or stuck")


@router.get("/ready", responses=GONE, summary="Can it answer?")
async def ready(service: ServiceDep, response: Response) -> Health:
    """200 once network and index are loaded and the network has run once; 503 when the server is about to stop."""
    if service.ready:
        return Health(status="ready")
    response.status_code = 503
    return Health(status="draining" if service.draining else "the network's thread is gone or stuck")


@router.get("/metrics", summary="For Prometheus", response_class=Response)
async def metrics(request: Request, service: ServiceDep) -> Response:
    """Requests by route, status and reason, time by phase, batches, the queue, and what is served."""
    if not service.settings.open_metrics:
        await require_read(request, service)
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/info", dependencies=[Depends(require_read)], summary="What is loaded")
async def info(serving: ServingDep) -> ServiceInfo:
    """The network, the device that it runs on, its measured errors, and the index."""
    manifest = serving.artifact.manifest
    return ServiceInfo(
        model=model_ref(serving.artifact),
        classes=manifest.classes,
        device=serving.model.device,
        precision=serving.artifact.precision,
        index=index_ref(serving.index) if serving.index is not None else None,
        measurements=[measurement.model_dump() for measurement in manifest.measurements],
        license=manifest.license,
        created=manifest.created,
        parameters=manifest.parameters,
        towers=manifest.architecture.get("towers", 2),
        training=manifest.training,
    )


@router.post(
    "/reload",
    dependencies=[Depends(require_admin)],
    responses={409: {"model": ErrorAnswer, "description": "There is nothing whole to serve; the old one stays."}},
    summary="Serve the newest artifact and its index",
)
async def reload(service: ServiceDep) -> ModelRef:
    """Load anew what the server was told to serve, warm up, and swap. Requests under way are answered by the version
    that they began with. A broken or mismatched artifact is refused, and the old one stays.

    Asks for a key with the scope admin; without keys, send the process SIGHUP instead.
    """
    return model_ref((await service.reload()).artifact)
