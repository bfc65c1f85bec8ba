"""The Open Inference Protocol v2: what Triton's, KServe's and other clients speak.

One model, the one that is served, under its name and version. Its input is `image` (BYTES, encoded images) or
`pixels` (UINT8, [N, 256, 256, 3] as `model.images.preprocess` makes them); its outputs are `probabilities` and
`features`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from model.exceptions import InvalidRequestError, UnknownModelError
from model.images.crops import CENTER_CROP, TEN_CROP
from server.loaded_model import Serving
from server.open_inference import LENGTH_HEADER, InferRequest, OutputWish, Tensor, answer, parse
from server.schemas import ProtocolError
from server.service import Service
from server.uploads import ServiceDep, ServingDep, UploadDep, require_read
from server.workers.inference import Answer

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"])
locked = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"], dependencies=[Depends(require_read)])
OUTPUTS = ("probabilities", "features")
EXTENSIONS = ["binary_tensor_data", "classification"]
NO_MODEL: dict[int | str, dict[str, Any]] = {404: {"model": ProtocolError, "description": "No such model."}}
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


def _served(request: Request, serving: ServingDep, name: str) -> str:
    """The name in the path, which must be that of the model that is served; so must the version, where there is one."""
    manifest, wanted = serving.artifact.manifest, request.path_params.get("version")
    if name != manifest.name or wanted not in (None, str(manifest.version)):
        raise UnknownModelError(
            f"expected the model {manifest.name} version {manifest.version}, found {name[:80]!r} {(wanted or '')[:20]}"
        )
    return name


ServedName = Annotated[str, Depends(_served)]


@locked.get("", summary="The server")
@locked.get("/", include_in_schema=False)
async def server() -> dict[str, Any]:
    return {"name": "alexnet-server", "version": version("alexnet-server"), "extensions": EXTENSIONS}


@router.get("/health/live", responses={503: {}}, summary="Is the process alive?")
async def live(service: ServiceDep) -> JSONResponse:
    return JSONResponse({"live": service.now.inference.alive}, 200 if service.now.inference.alive else 503)


@router.get("/health/ready", responses={503: {}}, summary="Can it answer?")
async def ready(service: ServiceDep) -> JSONResponse:
    return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)


@locked.get(MODEL, responses=NO_MODEL, summary="The model's inputs and outputs")
@locked.get(VERSIONED, include_in_schema=False)
async def metadata(serving: ServingDep, name: ServedName) -> dict[str, Any]:
    return {
        "name": name,
        "versions": [str(serving.artifact.manifest.version)],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, serving.model.classes]},
            {"name": "features", "datatype": "FP32", "shape": [-1, serving.model.feature_dim]},
        ],
        "parameters": {"device": serving.model.device, "also": "pixels UINT8 [-1,256,256,3] instead of image"},
    }


@locked.get(MODEL + "/ready", responses=NO_MODEL, summary="Can the model answer?")
@locked.get(VERSIONED + "/ready", include_in_schema=False)
async def model_ready(name: ServedName) -> dict[str, Any]:
    return {"name": name, "ready": True}


@locked.post(
    MODEL + "/infer",
    summary="Probabilities and features of images",
    response_class=Response,
    responses=NO_MODEL | {status: {"model": ProtocolError} for status in (408, 413, 415, 422, 503, 504)},
    openapi_extra=OPENAPI_BODY,
)
@locked.post(VERSIONED + "/infer", include_in_schema=False)
async def infer(
    request: Request,
    upload: UploadDep,
    service: ServiceDep,
    serving: ServingDep,
    name: ServedName,
) -> Response:
    """`parameters.crops`: 10, or 1 for the central view. One broken image fails the whole call."""
    length = request.headers.get(LENGTH_HEADER)
    asked = await upload.answered(service.in_thread(partial(parse, upload.image, length, OUTPUTS)))
    crops = asked.parameters.get("crops", 10)
    if crops not in (1, 10):
        raise InvalidRequestError("expected crops of 1 or 10, found something else")

    async def one(position: int) -> Answer:
        pixels = None if asked.pixels is None else asked.pixels[position : position + 1]
        if asked.images is not None:
            pixels = (await service.read(asked.images[position], upload.phases)).pixels[None]
        assert pixels is not None
        return await service.infer(
            serving, pixels, TEN_CROP if crops == 10 else CENTER_CROP, upload.deadline, upload.phases
        )

    count = _count(asked, service)
    results = await upload.answered(asyncio.gather(*[one(position) for position in range(count)]))
    tensors = {
        "probabilities": np.concatenate(
            [result.probabilities for result in results if result.probabilities is not None]
        ),
        "features": np.concatenate([result.features for result in results]),
    }
    outputs = [(wish, _tensor(wish, tensors[wish.name], serving)) for wish in asked.outputs]
    head: dict[str, Any] = {"model_name": name, "model_version": str(serving.artifact.manifest.version)}
    if asked.id:
        head["id"] = asked.id
    body, json_length = answer(head, outputs)
    if json_length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={LENGTH_HEADER: str(json_length)})


def _count(asked: InferRequest, service: Service) -> int:
    count = len(asked.images) if asked.images is not None else len(asked.pixels) if asked.pixels is not None else 0
    if count > service.settings.max_images:
        raise InvalidRequestError(f"expected at most {service.settings.max_images} images, found {count}")
    return count


def _tensor(wish: OutputWish, values: Tensor, serving: Serving) -> Tensor:
    """The values, or with `classification` the best classes as "value:index:name", as Triton writes them."""
    if not wish.classification:
        return values
    rows = []
    for row in values:
        order = np.argsort(-row.astype(np.float64), kind="stable")[: wish.classification]
        rows.append([f"{row[i]:.6f}:{i}:{serving.artifact.labels[i].name}" for i in order])
    return np.array(rows, dtype=object)
