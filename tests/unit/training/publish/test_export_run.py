"""What is published of a run."""

from __future__ import annotations

import pytest

from training.publish.export_run import combine_licenses


@pytest.mark.parametrize(
    ("images", "start", "combined"),
    [
        ("MIT", "", "MIT"),
        ("MIT", "MIT", "MIT"),
        ("MIT", "research", "MIT; research (of the network it started from)"),
        ("MIT", "MIT; research (of the network it started from)", "MIT; research (of the network it started from)"),
    ],
)
def test_the_terms_of_the_start_network_are_kept(images: str, start: str, combined: str) -> None:
    assert combine_licenses(images, start) == combined
