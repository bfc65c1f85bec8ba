"""Mixup and cutmix: what is drawn, how pixels change, and equal results for any micro-batch size."""

from __future__ import annotations

import numpy as np
import torch

from training.data.loader import micro_batches
from training.data.mixing import Mix, draw_mix, mix_pixels
from training.recipes import Mixing

ROWS = np.arange(100, 110)


def test_shares_of_batches() -> None:
    mixing = Mixing(mixup=0.3, cutmix=0.2)
    mixes = [draw_mix(mixing, 0, step, ROWS) for step in range(1000)]
    mixup = [mix for mix in mixes if mix is not None and mix.square is None]
    cutmix = [mix for mix in mixes if mix is not None and mix.square is not None]
    assert 250 < len(mixup) < 350
    assert 150 < len(cutmix) < 250
    shares = np.stack([mix.shares for mix in mixup])
    assert 0.5 <= shares.min() < 0.55
    assert shares.max() > 0.99
    for mix in mixup + cutmix:
        assert sorted(mix.rows) == ROWS.tolist()
        np.testing.assert_array_equal(ROWS[mix.positions], mix.rows)
    assert draw_mix(Mixing(), 0, 1, ROWS) is None


def test_pixels_and_shares_agree() -> None:
    own, others = torch.zeros(3, 3, 224, 224), torch.ones(3, 3, 224, 224)
    rows = np.arange(3)
    mixup = Mix(rows, rows, np.array([0.5, 0.7, 1.0], np.float32), None)
    np.testing.assert_allclose(1 - mix_pixels(own, others, mixup).mean((1, 2, 3)), mixup.shares, atol=1e-6)
    for step in range(20):
        cutmix = draw_mix(Mixing(cutmix=1.0), 0, step, rows)
        assert cutmix is not None
        np.testing.assert_allclose(1 - mix_pixels(own, others, cutmix).mean((1, 2, 3)), cutmix.shares, atol=1e-6)
    assert not own.any()


def test_micro_batches_have_their_part_of_the_mix() -> None:
    def draw(step: int, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Mix | None:
        return draw_mix(Mixing(mixup=1.0), 0, step, rows)

    (whole,) = micro_batches(ROWS, 10, 0, 0, 1, 0, draw)
    parts = list(micro_batches(ROWS, 10, 3, 0, 1, 0, draw))
    assert whole.mix is not None
    assert len(parts) == 4
    for name in ("rows", "positions", "shares"):
        joined = np.concatenate([getattr(part.mix, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole.mix, name))
