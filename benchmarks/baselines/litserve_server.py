"""LitServe, with its defaults, and the network as PyTorch exports it by default.

python -m benchmarks.baselines.litserve_server --network NETWORK.onnx --port 8101
"""

import argparse
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from benchmarks.baselines.fastapi_server import top, with_onnxruntime
from benchmarks.baselines.torch_alexnet import TenCrops
from model.images.preprocess import decode_image


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # LitServe has no types
    def __init__(self, network: Path) -> None:
        super().__init__(api_path="/classify")
        self.network = network

    def setup(self, device: str) -> None:
        self.forward, self.crops = with_onnxruntime(self.network), TenCrops(self.network)

    def decode_request(self, request: Request) -> NDArray[np.float32]:  # LitServe makes it a form
        return self.crops(decode_image(request["image"].file.read()).pixels)

    def predict(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.forward(crops)

    def encode_response(self, logits: NDArray[np.float32]) -> dict[str, Any]:
        return {"predictions": top(logits, 1000)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    server = litserve.LitServer(Classifier(options.network), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")
