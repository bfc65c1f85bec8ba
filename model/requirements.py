"""The install commands that messages suggest when an optional package is missing. Only uvx's needs a clone."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

from model.shell_command import shell_command

DISTRIBUTION = "alexnet-server"
"""The name of this program's package."""
PACKAGES = {
    "cv2": ("opencv-python-headless", "caffe"),
    "elpv_dataset": ("elpv-dataset", "demo"),
    "google": ("protobuf", "grpc"),
    "grpc": ("grpcio", "grpc"),
    "matplotlib": ("matplotlib", "train"),
    "numba": ("numba", "train"),
    "onnx": ("onnx", "pull"),
    "psycopg": ("psycopg", "postgres"),
    "psycopg_pool": ("psycopg-pool", "postgres"),
    "pymilvus": ("pymilvus", "milvus"),
    "safetensors": ("safetensors", "pull"),
    "skimage": ("scikit-image", "baselines"),
    "sklearn": ("scikit-learn", "train"),
    "tensorboard": ("tensorboard", "train"),
    "torch": ("torch", "train"),
}
"""Optional modules -> their package, and the extra that installs it."""

INSTALL_GPU = (
    "in a new environment, pip uninstall --yes onnxruntime faiss-cpu && "
    "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.28,<1.32' 'faiss-gpu>=1.14.3,<1.16'"
)
"""The packages of requirements-gpu.txt."""


def install_extra(extra: str) -> str:
    """The command that adds an extra to this installation, whether pip, pipx or uv made it."""
    package, environment = f"'{DISTRIBUTION}[{extra}]'", Path(sys.prefix)
    if (environment / "pipx_metadata.json").is_file():
        return f"pipx runpip {DISTRIBUTION} install {package}"
    if environment.parent.name.startswith("archive-v"):  # uv's cache, from which uvx runs
        return f"in the clone, uvx --from '.[{extra}]' alexnet ..."
    if find_spec("pip") is None:
        return f"uv pip install --python {quote(str(environment))} {package}"
    return f"{shell_command(environment / 'bin' / 'pip')} install {package}"


def missing_package(module: str | None) -> str | None:
    """A message: what is missing and how to install it; None if no extra installs this module."""
    top_level = (module or "").partition(".")[0]
    if top_level not in PACKAGES:
        return None
    package, extra = PACKAGES[top_level]
    return f"{package} is not installed: {install_extra(extra)}"
