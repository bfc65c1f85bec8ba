"""/v2: the Open Inference Protocol, for the clients of Triton and KServe: health, metadata, inference.

There is one model, the served one, under its name and version. Its input is `image` (BYTES, encoded images) or
`pixels` (UINT8, [N, 256, 256, 3], as `model.images.preprocess` makes them); its outputs are `probabilities` and
`features`. The other operations of the protocol are in `server.routes.v2_management`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from model.requirements import DISTRIBUTION
from model.runtime import top_k
from server.dependencies import BodyDep, ContextDep, LoadedModelDep, ServiceDep, require_read
from server.exceptions import UnknownModelError
from server.limits.deadlines import gather_all
from server.loaded_model import LoadedModel
from server.open_inference.infer_request import LENGTH_HEADER, InferRequest, RequestedOutput, parse_infer_request
from server.open_inference.infer_response import EncodedResponse, encode_infer_response
from server.open_inference.model_description import EXTENSIONS, model_metadata, requested_model
from server.open_inference.tensors import Tensor
from server.request_context import RequestContext
from server.responses.openapi import UPLOAD_ERRORS, Responses, responses_for
from server.responses.schemas import ProtocolError
from server.workers.inference import InferenceResult, Pixels

TAG = "Open Inference Protocol v2"
router = APIRouter(prefix="/v2", tags=[TAG])
authenticated_router = APIRouter(prefix="/v2", tags=[TAG], dependencies=[Depends(require_read)])
MODEL_RESPONSES = responses_for(UnknownModelError, schema=ProtocolError)
INFER_RESPONSES = responses_for(UnknownModelError, *UPLOAD_ERRORS, schema=ProtocolError)
INFER_BODY: Responses = {
    200: {"description": "The outputs.", "content": {"application/json": {}, "application/octet-stream": {}}}
}
OPENAPI_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "required": ["inputs"]}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
MODEL, VERSIONED = "/models/{name}", "/models/{name}/versions/{version}"


async def check_model(request: Request, loaded_model: LoadedModelDep, name: str) -> str:
    """The name in the path. Raises UnknownModelError unless name and version, if given, are the served model's."""
    manifest, requested = loaded_model.artifact.manifest, request.path_params.get("version")
    if name != manifest.name or requested not in (None, str(manifest.version)):
        requested_name = f"{name[:80]!r}" + (f" version {requested[:20]!r}" if requested else "")
        raise UnknownModelError(
            f"unknown model {requested_name}: this server serves {manifest.name} version {manifest.version}"
        )
    return name


ModelName = Annotated[str, Depends(check_model)]


@authenticated_router.get("", summary="Server metadata")
@authenticated_router.get("/", include_in_schema=False)
async def server_metadata() -> dict[str, Any]:
    return {"name": DISTRIBUTION, "version": version(DISTRIBUTION), "extensions": EXTENSIONS}


@router.get("/health/live", responses={503: {}}, summary="Liveness")
async def live(service: ServiceDep) -> JSONResponse:
    alive = service.worker_failure is None
    return JSONResponse({"live": alive}, 200 if alive else 503)


@router.get("/health/ready", responses={503: {}}, summary="Readiness")
async def ready(service: ServiceDep) -> JSONResponse:
    is_ready = service.ready  # read once: it may change at any time
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@authenticated_router.get(MODEL, responses=MODEL_RESPONSES, summary="Model metadata")
@authenticated_router.get(VERSIONED, include_in_schema=False)
async def get_model_metadata(loaded_model: LoadedModelDep, name: ModelName) -> dict[str, Any]:
    return model_metadata(loaded_model)


@authenticated_router.get(MODEL + "/ready", responses=MODEL_RESPONSES | {503: {}}, summary="Model readiness")
@authenticated_router.get(VERSIONED + "/ready", include_in_schema=False)
async def model_ready(service: ServiceDep, name: ModelName) -> JSONResponse:
    is_ready = service.ready
    return JSONResponse({"name": name, "ready": is_ready}, 200 if is_ready else 503)


@authenticated_router.post(
    MODEL + "/infer",
    summary="Probabilities and features of images",
    response_class=Response,
    responses=INFER_BODY | INFER_RESPONSES,
    openapi_extra=OPENAPI_BODY,
)
@authenticated_router.post(VERSIONED + "/infer", include_in_schema=False)
async def infer(request: Request, context: ContextDep, body: BodyDep, name: ModelName) -> Response:
    """`parameters`: `crops` (10, or 1 for the center crop) and `timeout` (in microseconds). One damaged image fails the
    whole request. With `Inference-Header-Content-Length: 0`, the body is one image file, and the outputs are binary."""
    loaded_model = context.loaded_model
    try:
        response = await _infer(request, context, body)
    except Exception:
        loaded_model.statistics.record_failure(context.timings.total)
        raise
    return Response(response.body, media_type=response.media_type, headers=dict(response.headers))


async def _infer(request: Request, context: RequestContext, body: bytes) -> EncodedResponse:
    loaded_model = context.loaded_model
    max_images = context.service.settings.max_images_per_request
    length = request.headers.get(LENGTH_HEADER)
    parse = partial(parse_infer_request, body, length, requested_model(loaded_model), max_images)
    infer_request = await context.run(context.run_in_pool(parse))
    if infer_request.parameters.timeout is not None:
        deadline = time.monotonic() + infer_request.parameters.timeout
        context = replace(context, deadline=min(context.deadline, deadline))
    crops = infer_request.parameters.crop_ids
    work = [_infer_image(context, image, crops) for image in infer_request.images]
    results = await context.run(gather_all(work))
    encode = partial(_encode, infer_request, results, loaded_model, request.headers.get("Accept-Encoding", ""))
    with context.timings.measure("encode"):
        response = await context.run(context.run_in_pool(encode))
    loaded_model.statistics.record_success(context.timings.total, context.timings.seconds, results)
    return response


async def _infer_image(context: RequestContext, image: bytes | Pixels, crops: tuple[int, ...]) -> InferenceResult:
    pixels = (await context.decode(image)).pixels if isinstance(image, bytes) else image
    return await context.infer(pixels[None], crops)


def _encode(
    infer_request: InferRequest, results: list[InferenceResult], loaded_model: LoadedModel, accept_encoding: str
) -> EncodedResponse:
    """The encoded response; JSON with many numbers is slow to write, so this runs in a thread."""
    model = requested_model(loaded_model)
    head = {"model_name": model.name, "model_version": model.version}
    if infer_request.id:
        head["id"] = infer_request.id
    tensors = {
        "probabilities": np.concatenate([r.probabilities for r in results if r.probabilities is not None]),
        "features": np.concatenate([r.features for r in results]),
    }
    outputs = [(output, _output_tensor(output, tensors[output.name], loaded_model)) for output in infer_request.outputs]
    return encode_infer_response(head, outputs, accept_encoding)


def _output_tensor(output: RequestedOutput, values: Tensor, loaded_model: LoadedModel) -> Tensor:
    """The values, or with `classification` the most probable classes as "value:index:name", as Triton writes them."""
    if not output.classification:
        return values
    labels, rows = loaded_model.artifact.labels, []
    for row in values:
        order = top_k(row, output.classification)
        rows.append([f"{row[i]:.6f}:{i}:{labels[i].name}" for i in order])
    return np.array(rows, dtype=object)
