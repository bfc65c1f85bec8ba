"""The rotation of ITQ."""

from __future__ import annotations

import numpy as np

from training.hashing.binary_encoder import itq_rotation


def test_itq_s_rotation_brings_values_near_their_signs() -> None:
    """The corners of a rotated cube are rotated back to -1 and 1."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0]
    corners = np.sign(np.random.default_rng(2).standard_normal((500, 8))) @ turn
    turned = corners.astype(np.float32) @ itq_rotation(corners.astype(np.float32), 0)
    assert np.square(turned - np.sign(turned)).mean() < 1e-3
