"""Which device a run computes on, and in which numbers."""

from __future__ import annotations

import torch

from model.exceptions import TrainingError

PRECISIONS = ("auto", "float32", "bfloat16", "float64")


def pick_device(device: str) -> str:
    """`auto` -> cuda where there is one. Raises TrainingError when cuda is asked for and absent."""
    if device not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"expected device auto, cpu or cuda, found {device!r}")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("expected a CUDA device, found none that torch can use")
    return device


def pick_precision(precision: str, device: torch.device) -> str:
    """`auto` -> bfloat16 where the hardware computes with it, else float32."""
    if precision not in PRECISIONS:
        raise TrainingError(f"expected precision {', '.join(PRECISIONS)}, found {precision!r}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has_it = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return "bfloat16" if has_it else "float32"
