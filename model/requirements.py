"""What to install where an optional package is missing: the commands that messages name. They need no clone."""

from __future__ import annotations

PACKAGES = {
    "cv2": ("opencv-python-headless", "caffe"),
    "elpv_dataset": ("elpv-dataset", "demo"),
    "google": ("protobuf", "grpc"),
    "grpc": ("grpcio", "grpc"),
    "matplotlib": ("matplotlib", "train"),
    "numba": ("numba", "train"),
    "onnx": ("onnx", "pull"),
    "pymilvus": ("pymilvus", "milvus"),
    "safetensors": ("safetensors", "pull"),
    "skimage": ("scikit-image", "baselines"),
    "sklearn": ("scikit-learn", "train"),
    "tensorboard": ("tensorboard", "train"),
    "torch": ("torch", "train"),
}
"""Modules that not every installation has -> the package that has it, and the extra that brings it."""

INSTALL_GPU = (
    "in a new environment, pip uninstall --yes onnxruntime faiss-cpu && "
    "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.23,<1.27' 'faiss-gpu>=1.14.3,<1.16'"
)
"""The packages of requirements-gpu.txt."""


def install_extra(extra: str) -> str:
    """The command that adds an extra to an installation of any kind."""
    return f"pip install 'alexnet-server[{extra}]'"


def missing_package(module: str | None) -> str | None:
    """What is missing and how to install it, for people; None if no extra brings this module."""
    top_level = (module or "").partition(".")[0]
    if top_level not in PACKAGES:
        return None
    package, extra = PACKAGES[top_level]
    return f"{package} is not installed: {install_extra(extra)}"
