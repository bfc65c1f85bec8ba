"""A typical FastAPI server: decoding, ten crops and the network run in FastAPI's thread pool.

    python -m benchmarks.baselines.fastapi_server --network NETWORK.onnx --contract NAME \\
        --runtime onnxruntime --port 8100

`onnxruntime` runs the network as PyTorch exports it by default, with the runtime's default options; `torch` runs
PyTorch's modules, eager.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, File, UploadFile

from benchmarks.baselines.torch_alexnet import (
    Array,
    TenCrop,
    average_probabilities,
    create_onnxruntime_forward,
    create_torch_forward,
)
from model.images.contract import ImageContract
from model.images.preprocess import decode_image

RUNTIMES = {"onnxruntime": create_onnxruntime_forward, "torch": create_torch_forward}


def rank_classes(logits: Array, count: int) -> list[dict[str, Any]]:
    """The `count` most probable classes of (crops, classes) logits."""
    probabilities = average_probabilities(logits)
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [{"index": int(i), "probability": float(probabilities[i])} for i in order]


def create_app(network: Path, contract: ImageContract, runtime: str) -> FastAPI:
    """An application with the endpoint /classify."""
    forward, ten_crop, app = RUNTIMES[runtime](network), TenCrop(network), FastAPI()

    @app.post("/classify")
    def classify(image: Annotated[UploadFile, File()], count: int = 5) -> dict[str, Any]:
        pixels = decode_image(image.file.read(), contract=contract).pixels
        return {"predictions": rank_classes(forward(ten_crop(pixels)), count)}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--contract", type=ImageContract.parse, required=True)
    parser.add_argument("--runtime", choices=RUNTIMES, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(create_app(options.network, options.contract, options.runtime), port=options.port, log_level="warning")
