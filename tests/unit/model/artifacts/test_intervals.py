"""Confidence intervals of measured shares, compared with published values."""

from __future__ import annotations

import numpy as np
import pytest

from model.artifacts.artifact import Measurement
from model.artifacts.intervals import format_interval, interval_of_mean, wilson_interval


@pytest.mark.parametrize(
    ("errors", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_examples(errors: int, total: int, low: float, high: float) -> None:
    """The four examples of Newcombe 1998, table I, method 3."""
    assert wilson_interval(errors / total, total) == pytest.approx((low, high), abs=5e-5)


def test_extremes() -> None:
    assert wilson_interval(0.0, 3)[0] == 0  # rounding used to leave 1e-17
    assert wilson_interval(1.0, 10)[1] == 1
    assert wilson_interval(0.0, 0) == (0, 1)
    assert wilson_interval(1.0, 20) == pytest.approx((1 - 0.1611, 1), abs=5e-5)
    assert format_interval((0.05, 0.123)) == "5.0 to 12.3 %"


def test_the_mean_of_recalls_is_covered() -> None:
    """With three classes of 40, 5 and 10 images, about 95 of 100 intervals contain the true mean."""
    generator = np.random.default_rng(0)
    truth, totals = np.array([0.9, 0.6, 0.75]), np.array([40, 5, 10])
    counts = generator.binomial(totals, truth, (2000, 3))
    inside = 0
    for row in counts:
        low, high = interval_of_mean((row / totals).tolist(), totals.tolist())
        inside += low <= truth.mean() <= high
    assert 0.93 < inside / len(counts) < 0.98


def test_a_measurement_has_its_intervals() -> None:
    measured = Measurement(split="s", num_images=20, crops=1, top1_error=0.0, top5_error=None)
    assert measured.top1_interval == pytest.approx((0, 0.1611), abs=5e-5)
    assert measured.top5_interval is None
    assert Measurement.model_validate_json(measured.model_dump_json()) == measured
