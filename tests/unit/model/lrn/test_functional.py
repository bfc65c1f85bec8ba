"""Section 3.3's formula, its gradient, and the border between the towers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.lrn.formula import CONSTANTS
from model.lrn.functional import local_response_norm


def by_the_formula(a: torch.Tensor, towers: int) -> torch.Tensor:
    """The paper's sum, written out."""
    width = a.shape[1] // towers
    b = torch.empty_like(a)
    for i in range(a.shape[1]):
        tower = i // width
        first, last = max(tower * width, i - 2), min((tower + 1) * width - 1, i + 2)
        b[:, i] = a[:, i] / (2 + 1e-4 * (a[:, first : last + 1] ** 2).sum(1)) ** 0.75
    return b


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_the_formula(towers: int, layout: torch.memory_format) -> None:
    a = (100 * torch.randn(3, 12, 5, 7, dtype=torch.float64)).contiguous(memory_format=layout)
    torch.testing.assert_close(local_response_norm(a, towers), by_the_formula(a, towers), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "alpha", "k"), [("paper", 5e-4, 2.0), ("source", 1e-4, 2.0), ("caffe", 1e-4, 1.0)])
def test_the_constants_in_the_terms_of_pytorch(name: str, alpha: float, k: float) -> None:
    """PyTorch divides alpha by the window size, as the authors' program and Caffe do."""
    a = 100 * torch.randn(2, 12, 3, 3, dtype=torch.float64)
    expected = nn.functional.local_response_norm(a, 5, alpha, 0.75, k)
    torch.testing.assert_close(local_response_norm(a, 1, *CONSTANTS[name]), expected, rtol=1e-12, atol=1e-12)


def test_the_other_tower_is_not_seen() -> None:
    a = torch.full((1, 8, 1, 1), 100.0)
    a[:, 4:] = 1e6
    b = local_response_norm(a, 2)
    torch.testing.assert_close(b[:, :4], by_the_formula(a[:, :4], 1))


def test_gradient() -> None:
    a = (50 * torch.randn(2, 12, 2, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: local_response_norm(x, 2), (a,))


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize("towers", [1, 2])
def test_the_cpu_kernels_and_their_gradient_equal_the_formula(
    dtype: torch.dtype, rounding: float, towers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several threads that share the rows."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    generator = torch.Generator().manual_seed(0)
    values, gradient = (100 * torch.randn(2, 2, 12, 5, 7, generator=generator)).to(dtype)
    a, exact = values.clone().requires_grad_(), values.double().requires_grad_()
    b, expected = local_response_norm(a, towers), by_the_formula(exact, towers)
    torch.testing.assert_close(b.double(), expected, rtol=rounding, atol=rounding)
    (grad,) = torch.autograd.grad(b, a, gradient)
    (expected_grad,) = torch.autograd.grad(expected, exact, gradient.double())
    torch.testing.assert_close(grad.double(), expected_grad, rtol=rounding, atol=rounding)


def test_many_rows_are_the_same_as_few() -> None:
    a = 30 * torch.randn(40, 96, 13, 13)
    torch.testing.assert_close(local_response_norm(a, 2)[17:18], local_response_norm(a[17:18], 2))


def test_bfloat16_keeps_the_sum() -> None:
    a = torch.full((1, 8, 2, 2), 3.0, dtype=torch.bfloat16)
    expected = by_the_formula(a.double(), 2)
    torch.testing.assert_close(local_response_norm(a, 2).double(), expected, rtol=4e-3, atol=0)
