"""Device and precision of a training process."""

from __future__ import annotations

import torch

from model.exceptions import TrainingError
from training.config import TrainingDevice, TrainingPrecision


def pick_device(device: TrainingDevice) -> str:
    """`auto` -> cuda if there is one, else cpu. Raises TrainingError if cuda is chosen and missing."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("no CUDA device that torch can use: choose --device cpu, or install torch with CUDA")
    return device


def evaluation_device(device: TrainingDevice) -> str:
    """The device to measure a run's network on: the CPU if the run was told to use it, else a GPU if onnxruntime can
    use one, which it can't always where PyTorch can."""
    return "cpu" if device == "cpu" else "auto"


def pick_precision(precision: TrainingPrecision, device: torch.device) -> str:
    """`auto` -> bfloat16 if the hardware supports it natively, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu.get_capabilities().get("avx512_bf16", False) else "float32"
