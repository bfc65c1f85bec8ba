"""The GPU's kernels in Triton's interpreter: against the formula in float64, at borders, for NaN, under autograd.

The interpreter runs a kernel with NumPy on the CPU. Another test checks that GPU compilers accept the kernels: in a
process of its own it compiles them for several GPUs, for which no GPU is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from model.lrn.formula import CONSTANTS
from model.lrn.functional import local_response_norm
from model.lrn.gpu_check import find_gpu_kernel_problem, gpu_kernel_problem
from model.network.registry import build_spec
from model.network.spec import NetworkConfig
from model.network.torch_module import AlexNet

pytest.importorskip("triton", reason="triton has no wheel for this platform")
Norm = Callable[..., Tensor]
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}
"""Relative tolerance of each number: the interpreter truncates bfloat16 where a GPU rounds."""
ALPHA, K = CONSTANTS["paper"]


@pytest.fixture(scope="module")
def norm() -> Norm:
    """`response_norm` in the interpreter, which must be chosen before the kernels are imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        from model.lrn.gpu_kernels import response_norm
    return cast(Norm, response_norm)


def random(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, scale: float = 50.0) -> Tensor:
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))).to(dtype)


def require_equal(
    norm: Norm,
    x: Tensor,
    groups: int,
    relu: bool = False,
    k: float = K,
    alpha: float = ALPHA,
    gradient: Tensor | None = None,
) -> None:
    """Check that output and gradient equal those in float64."""
    gradient = random(tuple(x.shape), x.dtype, 1.0) if gradient is None else gradient
    x, exact = x.detach().requires_grad_(), x.detach().double().requires_grad_()
    y = norm(x, groups, alpha, k, relu)
    expected = local_response_norm(exact, groups, alpha, k, relu)
    y.backward(gradient)  # type: ignore[no-untyped-call]
    expected.backward(gradient.double())  # type: ignore[no-untyped-call]
    assert y.dtype == x.dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    tolerance = TOLERANCES[x.dtype]
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)
    assert x.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("channels", [2, 6, 10, 14, 48, 94, 96])
def test_every_number_of_channels(norm: Norm, channels: int, groups: int, relu: bool) -> None:
    """Widths of 1, 3, 5, 7 and 47 are odd, 10 and 14 not powers of two, 1 to 3 narrower than a window."""
    require_equal(norm, random((2, channels, 3, 5)), groups, relu)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("channels", [24, 26])
def test_every_type(norm: Norm, channels: int, dtype: torch.dtype, relu: bool) -> None:
    require_equal(norm, random((2, channels, 3, 5), dtype), 2, relu)


@pytest.mark.parametrize("constants", CONSTANTS.values(), ids=CONSTANTS)
def test_every_formula(norm: Norm, constants: tuple[float, float]) -> None:
    alpha, k = constants
    require_equal(norm, random((2, 12, 3, 5)), 2, k=k, alpha=alpha)


@pytest.mark.parametrize("pixels", [(1, 1), (1, 85), (1, 86), (13, 27)])
def test_a_tail_of_rows(norm: Norm, pixels: tuple[int, int]) -> None:
    """A program computes 256 groups of four channels. Here it gets 3 or 255; 258 need two programs, 1,053 several."""
    require_equal(norm, random((1, 12, *pixels)), 1, relu=True)


@pytest.mark.parametrize("layout", ["channels_last", "contiguous", "strided", "one pixel"])
def test_every_layout(norm: Norm, layout: str) -> None:
    x = random((3, 12, 5, 7))
    gradient = random((3, 12, 5, 7), scale=1.0)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif layout == "strided":
        x, gradient = random((3, 24, 5, 14))[:, ::2, :, 1::2], torch.ones(()).expand(3, 12, 5, 7)
    elif layout == "one pixel":
        x, gradient = x[:, :, 2:3, 3:4], gradient[:, :, :1, :1]
    require_equal(norm, x, 2, relu=True, gradient=gradient)


def test_an_empty_batch(norm: Norm) -> None:
    x = torch.zeros(0, 12, 5, 7, requires_grad=True)
    y = norm(x, 2, ALPHA, K, True)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert y.shape == x.grad.shape == (0, 12, 5, 7)


def test_squares_of_large_numbers(norm: Norm) -> None:
    """In float16 a square of more than 256 would be infinite."""
    x = random((2, 12, 3, 5), torch.float16, 3e4).clamp(-6e4, 6e4)
    require_equal(norm, x, 2)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_diverged_run_shows(norm: Norm, value: float, relu: bool) -> None:
    """A number that isn't finite turns its output and its gradient into NaN, even through ReLU."""
    x = random((1, 12, 1, 2))
    x[0, 4, 0, 1] = value
    x.requires_grad_()
    y = norm(x, 2, ALPHA, K, relu)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert y[0, 4, 0, 1].isnan()
    assert x.grad[0, 4, 0, 1].isnan()
    assert y[0, :, 0, 0].isfinite().all()
    assert y[0, 6:, 0, 1].isfinite().all()  # the other group


@pytest.mark.slow
def test_the_operator_is_what_autograd_and_the_compiler_expect(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema, gradient, and the shapes and strides that torch.compile is told."""
    x = random((2, 12, 3, 5)).contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(cast(Any, norm), (x, 2, ALPHA, K, True))

    @torch.compile(backend="aot_eager", fullgraph=True)
    def compiled(x: Tensor) -> Tensor:
        return local_response_norm(2 * x, 2, relu=True) + 1

    monkeypatch.setattr("model.lrn.functional.GPU", "cpu")
    expected = norm(2 * x, 2, ALPHA, K, True) + 1
    torch.testing.assert_close(compiled(x), expected)
    (gradient,) = torch.autograd.grad(compiled(x).square().sum(), x)
    torch.testing.assert_close(gradient, *torch.autograd.grad(expected.square().sum(), x))


def test_the_network_on_a_gpu(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels, which include the ReLU, don't change its gradients, and also run under autocast."""
    network = AlexNet(build_spec(NetworkConfig(num_classes=3, hidden=4, channels=(4, 6, 4, 4, 4))))
    pixels = random((1, 3, 224, 224))
    calls = []

    def recorded(x: Tensor, *arguments: Any) -> Tensor:
        calls.append((x.dtype, arguments[-1]))
        return norm(x, *arguments)

    def gradients(uses_kernels: bool) -> list[Tensor]:
        monkeypatch.setattr("model.lrn.functional.GPU", "cpu" if uses_kernels else "cuda")
        logits = network(pixels).logits
        return list(torch.autograd.grad(logits.float().square().sum(), list(network.parameters())))

    assert gpu_kernel_problem(torch.device("cpu")) == ""
    monkeypatch.setattr("model.lrn.gpu_kernels.response_norm", recorded)
    for computed, expected in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(computed, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    with torch.autocast("cpu", torch.bfloat16):
        gradients(True)
    assert calls == [(torch.float32, True)] * 2 + [(torch.bfloat16, True)] * 2


def test_the_kernels_are_compared_with_the_formula_before_they_are_used(
    norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    find_gpu_kernel_problem.cache_clear()
    assert gpu_kernel_problem(cpu) == ""
    with torch.inference_mode():
        find_gpu_kernel_problem.cache_clear()
        assert gpu_kernel_problem(cpu) == ""
    for broken, problem in (
        (lambda *arguments: 1.01 * norm(*arguments), "its kernels give wrong results on this GPU"),
        (lambda *arguments: [][0], "triton failed with IndexError: list index out of range"),
    ):
        monkeypatch.setattr("model.lrn.gpu_kernels.response_norm", broken)
        find_gpu_kernel_problem.cache_clear()
        assert gpu_kernel_problem(cpu) == problem
    monkeypatch.setattr("model.lrn.gpu_check.find_spec", lambda name: None)
    find_gpu_kernel_problem.cache_clear()
    assert gpu_kernel_problem(cpu) == "triton is not installed"
    find_gpu_kernel_problem.cache_clear()


COMPILE = """
import sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from model.lrn.gpu_kernels import BLOCK, NUM_WARPS, backward_kernel, forward_kernel

KINDS = {"count": "i32", "k": "fp32", "alpha": "fp32", "WIDTH": "constexpr", "RELU": "constexpr", "BLOCK": "constexpr"}
for capability, dtype, width in ((75, "fp16", 48), (80, "bf16", 47), (90, "bf16", 48)):
    for kernel in (forward_kernel, backward_kernel):
        names = kernel.arg_names
        signature = {name: KINDS.get(name, f"*{dtype}") for name in names}
        aligned = {(place,): [["tt.divisibility", 16]] for place, name in enumerate(names) if name not in KINDS}
        source = ASTSource(kernel, signature, {"WIDTH": width, "RELU": True, "BLOCK": BLOCK}, aligned)
        compiled = compile(source, GPUTarget("cuda", capability, 32), {"num_warps": NUM_WARPS})
        print(capability, dtype, width, compiled.metadata.shared, "st.global.v" in compiled.asm["ptx"])
"""


@pytest.mark.slow
def test_compilers_for_gpus_accept_the_kernels(tmp_path: Path) -> None:
    """Besides, widths that are multiples of four need no shared memory and store whole vectors."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[4])}
    process = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    lines = [line.split() for line in process.stdout.splitlines()]
    assert len(lines) == 6
    assert {tuple(line[3:]) for line in lines if line[2] != "47"} == {("0", "True")}
