"""A careful FastAPI application: decoding, ten crops and the network in FastAPI's thread pool.

    python -m benchmarks.baselines.fastapi_server --network NETWORK.onnx --runtime onnxruntime --port 8100

`onnxruntime` runs the network as PyTorch exports it by default, with the runtime's default options; `torch` runs
PyTorch's modules, eager.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import torch
import uvicorn
from fastapi import FastAPI, File, UploadFile
from numpy.typing import NDArray

from benchmarks.baselines.torch_alexnet import TenCrops, export_by_default, stock
from model.images.preprocess import decode_image
from model.runtime import available_cpus

Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(10, 3, 224, 224) -> (10, classes) logits."""


def with_onnxruntime(network: Path) -> Forward:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "default.onnx"
        export_by_default(stock(network), file)
        session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda crops: session.run(None, {name: crops})[0]


def with_torch(network: Path) -> Forward:
    module = stock(network)
    torch.set_num_threads(available_cpus())

    def forward(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return module(torch.from_numpy(crops)).numpy()  # type: ignore[no-any-return]

    return forward


def top(logits: NDArray[np.float32], count: int) -> list[dict[str, Any]]:
    """The most probable classes of the mean of (10, classes)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = (powers / powers.sum(1, keepdims=True)).mean(0)
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [{"class": int(i), "probability": float(probabilities[i])} for i in order]


def create_app(network: Path, runtime: str) -> FastAPI:
    forward = {"onnxruntime": with_onnxruntime, "torch": with_torch}[runtime](network)
    crops, app = TenCrops(network), FastAPI()

    @app.post("/classify")
    def classify(image: Annotated[UploadFile, File()], count: int = 5) -> dict[str, Any]:
        return {"predictions": top(forward(crops(decode_image(image.file.read()).pixels)), count)}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--runtime", choices=("onnxruntime", "torch"), required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(create_app(options.network, options.runtime), port=options.port, log_level="warning")
