"""/v2: what Triton's tools use besides inference: configuration, statistics, repository, trace and log settings.

All of it can be read. Requests to change something are refused with 400: the server has one model, which `/reload`
changes, and its settings don't change while it runs.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from server.dependencies import LoadedModelDep, ServiceDep, require_read
from server.exceptions import UnknownModelError, UnsupportedOperationError
from server.open_inference.infer_request import NO_SHARED_MEMORY
from server.open_inference.model_description import LOG_SETTINGS, TRACE_SETTINGS, model_config
from server.responses.openapi import responses_for
from server.responses.schemas import ProtocolError
from server.routes.v2 import MODEL, MODEL_RESPONSES, TAG, VERSIONED, ModelName

router = APIRouter(prefix="/v2", tags=[TAG], dependencies=[Depends(require_read)])
REFUSED = responses_for(UnsupportedOperationError, schema=ProtocolError)
REFUSED_FOR_MODEL = responses_for(UnknownModelError, UnsupportedOperationError, schema=ProtocolError)


@router.get(MODEL + "/config", responses=MODEL_RESPONSES, summary="Model configuration")
@router.get(VERSIONED + "/config", include_in_schema=False)
async def get_model_config(loaded_model: LoadedModelDep, name: ModelName) -> dict[str, Any]:
    """Triton's model configuration of the served network."""
    return model_config(loaded_model)


@router.get("/models/stats", summary="Statistics of all models")
async def get_statistics(loaded_model: LoadedModelDep) -> dict[str, Any]:
    """Requests under `/v2` since the model was loaded: counts, and nanoseconds by phase."""
    manifest = loaded_model.artifact.manifest
    return {"model_stats": [loaded_model.statistics.to_json(manifest.name, str(manifest.version))]}


@router.get(MODEL + "/stats", responses=MODEL_RESPONSES, summary="Statistics of a model")
@router.get(VERSIONED + "/stats", include_in_schema=False)
async def get_model_statistics(loaded_model: LoadedModelDep, name: ModelName) -> dict[str, Any]:
    """The same as `/v2/models/stats`, for the model of this name."""
    return await get_statistics(loaded_model)


@router.post("/repository/index", summary="Repository index")
async def get_repository_index(service: ServiceDep, loaded_model: LoadedModelDep) -> list[dict[str, str]]:
    """The served model. The request needs no body."""
    manifest = loaded_model.artifact.manifest
    state = "READY" if service.ready else "UNAVAILABLE"
    return [{"name": manifest.name, "version": str(manifest.version), "state": state, "reason": ""}]


@router.post("/repository/models/{name}/load", responses=REFUSED_FOR_MODEL, summary="Load a model: refused")
@router.post("/repository/models/{name}/unload", responses=REFUSED_FOR_MODEL, summary="Unload a model: refused")
async def load_model(name: ModelName) -> None:
    """The server has one model. `POST /reload` or SIGHUP loads its newest version."""
    raise UnsupportedOperationError(
        "models can't be loaded or unloaded here: publish a version, then send POST /reload, or SIGHUP to the process"
    )


@router.get("/trace/setting", summary="Trace settings")
async def get_trace_settings() -> dict[str, str | list[str]]:
    """Off: traces go to OpenTelemetry, which is configured by its own environment variables."""
    return TRACE_SETTINGS


@router.get(MODEL + "/trace/setting", responses=MODEL_RESPONSES, summary="Trace settings of a model")
async def get_model_trace_settings(name: ModelName) -> dict[str, str | list[str]]:
    """The same as the trace settings of the server."""
    return TRACE_SETTINGS


@router.post("/trace/setting", responses=REFUSED, summary="Change trace settings: refused")
async def update_trace_settings() -> None:
    """Trace settings don't change while the server runs."""
    raise UnsupportedOperationError(
        "trace settings can't be changed here: set OpenTelemetry's variables and restart the server"
    )


@router.post(MODEL + "/trace/setting", responses=REFUSED_FOR_MODEL, summary="Change a model's trace settings: refused")
async def update_model_trace_settings(name: ModelName) -> None:
    """Trace settings don't change while the server runs."""
    await update_trace_settings()


@router.get("/logging", summary="Log settings")
async def get_log_settings() -> dict[str, str | bool | int]:
    """The access log goes to the console; `ALEXNET_LOG_FORMAT` sets its format."""
    return LOG_SETTINGS


@router.post("/logging", responses=REFUSED, summary="Change log settings: refused")
async def update_log_settings() -> None:
    """Log settings don't change while the server runs."""
    raise UnsupportedOperationError("log settings can't be changed here: set ALEXNET_LOG_FORMAT and restart the server")


@router.get("/systemsharedmemory/status", summary="System shared memory: none")
@router.get("/cudasharedmemory/status", summary="CUDA shared memory: none")
async def get_shared_memory() -> list[dict[str, Any]]:
    """No region is ever registered."""
    return []


@router.post("/systemsharedmemory/unregister", summary="Unregister system shared memory")
@router.post("/cudasharedmemory/unregister", summary="Unregister CUDA shared memory")
async def unregister_shared_memory() -> dict[str, Any]:
    """Nothing to do: no region is ever registered."""
    return {}


@router.post(
    "/systemsharedmemory/region/{region}/register",
    responses=REFUSED,
    summary="Register system shared memory: refused",
)
@router.post(
    "/cudasharedmemory/region/{region}/register", responses=REFUSED, summary="Register CUDA shared memory: refused"
)
async def register_shared_memory(region: str) -> None:
    """This server reads tensors only from the request."""
    raise UnsupportedOperationError(NO_SHARED_MEMORY)
