"""Measurements of a network as text."""

from __future__ import annotations

from collections.abc import Sequence

from model.artifacts.artifact import Measurement
from model.artifacts.intervals import format_interval, wilson_interval
from model.plurals import count_of


def format_measurements(measurements: Sequence[Measurement]) -> str:
    """Measurements as a few lines of text, errors with their 95 % intervals."""
    lines = []
    for m in measurements:
        precision = "" if m.precision == "float32" else f", {m.precision}"
        lines.append(f"{m.split}: {count_of(m.num_images, 'image')}, {count_of(m.crops, 'crop')}{precision}")
        published = " (published, not measured here)" if m.published else ""
        errors = ((1, m.top1_error, m.top1_interval), (5, m.top5_error, m.top5_interval))
        lines += [
            f"  top-{k} error {100 * error:.2f} % (95 % interval {format_interval(interval)}){published}"
            for k, error, interval in errors
            if error is not None and interval is not None
        ]
        if m.balanced_accuracy is not None and m.balanced_accuracy_interval is not None:
            interval_text = format_interval(m.balanced_accuracy_interval)
            lines.append(f"  balanced accuracy {100 * m.balanced_accuracy:.2f} % (95 % interval {interval_text})")
        if m.calibration_error is not None:
            before = "" if m.uncalibrated_error is None else f" ({m.uncalibrated_error:.4f} before temperature scaling)"
            lines.append(f"  expected calibration error {m.calibration_error:.4f}{before}")
        lines += [
            f"  {grouping}: {100 * accuracy:.2f} % correct "
            f"(95 % interval {format_interval(wilson_interval(accuracy, m.num_images))})"
            for grouping, accuracy in m.groups.items()
        ]
    return "\n".join(lines)
