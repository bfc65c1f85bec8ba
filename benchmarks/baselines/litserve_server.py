"""A LitServe server with LitServe's defaults and the network as PyTorch exports it by default.

python -m benchmarks.baselines.litserve_server --network NETWORK.onnx --contract NAME --port 8101
"""

import argparse
from pathlib import Path
from typing import Any

import litserve
from fastapi import Request

from benchmarks.baselines.fastapi_server import rank_classes
from benchmarks.baselines.torch_alexnet import Array, TenCrop, create_onnxruntime_forward
from model.images.contract import ImageContract
from model.images.preprocess import decode_image


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # LitServe has no types
    """Ten-crop classification of an uploaded image."""

    def __init__(self, network: Path, contract: ImageContract) -> None:
        super().__init__(api_path="/classify")
        self.network, self.contract = network, contract

    def setup(self, device: str) -> None:
        self.forward, self.ten_crop = create_onnxruntime_forward(self.network), TenCrop(self.network)

    def decode_request(self, request: Request) -> Array:  # LitServe passes the form
        return self.ten_crop(decode_image(request["image"].file.read(), contract=self.contract).pixels)

    def predict(self, crops: Array) -> Array:
        return self.forward(crops)

    def encode_response(self, logits: Array) -> dict[str, Any]:
        return {"predictions": rank_classes(logits, 5)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--contract", type=ImageContract.parse, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    server = litserve.LitServer(Classifier(options.network, options.contract), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")
