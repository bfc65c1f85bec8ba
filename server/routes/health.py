"""Whether the server lives, is ready, and what it has loaded."""

from __future__ import annotations

from fastapi import APIRouter

from server.routes.classify import model_ref
from server.schemas import Health, IndexRef, ServiceInfo
from server.upload import ServiceDep

router = APIRouter(tags=["operation"])


@router.get("/live", summary="Is the process alive?")
async def live() -> Health:
    """200 as long as the event loop turns."""
    return Health(status="live")


@router.get("/ready", summary="Can it answer?")
async def ready(service: ServiceDep) -> Health:
    """200 once network and index are loaded and the network has run once; until then nothing listens."""
    return Health(status="ready")


@router.get("/info", summary="What is loaded")
async def info(service: ServiceDep) -> ServiceInfo:
    """The network, the device that it runs on, its measured errors, and the index."""
    manifest = service.artifact.manifest
    return ServiceInfo(
        model=model_ref(service.artifact),
        classes=manifest.classes,
        device=service.model.device,
        index=IndexRef(size=len(service.index)) if service.index is not None else None,
        measurements=[measurement.model_dump() for measurement in manifest.measurements],
        licence=manifest.licence,
    )
