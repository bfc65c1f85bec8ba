"""Server and index never import torch, training never its compiler, and `__init__` files import nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

TORCH_FREE = [
    "alexnet.cli.app",
    "server.app",
    "server.service",
    "index.folder.store",
    "index.build",
    "model.runtime",
    "model.artifacts.packed",
]


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys; print(' '.join(sys.modules))"
    command = [sys.executable, "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_no_torch() -> None:
    loaded = loaded_after(f"import {', '.join(TORCH_FREE)}")
    assert not {"torch", "onnx"} & loaded
    assert set(TORCH_FREE) <= loaded


def test_threads_need_no_onnxruntime() -> None:
    assert "onnxruntime" not in loaded_after("import model.thread_pool")


def test_training_on_a_cpu_does_not_wait_for_torch_s_compiler() -> None:
    """Importing the compiler takes two seconds."""
    loaded = loaded_after("import training.train")
    assert "torch" in loaded
    assert "torch._dynamo" not in loaded


@pytest.mark.parametrize("package", ["model", "index", "training", "server", "server.routes"])
def test_package_init_is_a_docstring(package: str) -> None:
    names = loaded_after(f"import {package}; assert {package}.__doc__")
    root = package.split(".")[0]
    assert {name for name in names if name.split(".")[0] == root} <= {root, package}
