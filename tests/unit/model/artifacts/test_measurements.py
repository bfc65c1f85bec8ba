"""Measurements as text."""

from __future__ import annotations

from model.artifacts.artifact import Measurement
from model.artifacts.measurements import format_measurements


def test_errors_have_their_intervals() -> None:
    """With five classes or fewer there is no top-5 error."""
    measured = Measurement(
        split="here",
        num_images=4,
        crops=1,
        top1_error=0.5,
        top5_error=None,
        balanced_accuracy=0.5,
        balanced_accuracy_interval=(0.2, 0.8),
        groups={"coarse": 0.5},
    )
    assert format_measurements([measured]).splitlines() == [
        "here: 4 images, 1 crop",
        "  top-1 error 50.00 % (95 % interval 15.0 to 85.0 %)",
        "  balanced accuracy 50.00 % (95 % interval 20.0 to 80.0 %)",
        "  coarse: 50.00 % correct (95 % interval 15.0 to 85.0 %)",
    ]
