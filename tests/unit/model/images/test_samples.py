"""The range of samples that have more than 8 bits, are signed, or are floating-point."""

from __future__ import annotations

import numpy as np
import pytest

from model.images.info import WarningList
from model.images.samples import Scale, find_scale


@pytest.mark.parametrize(
    ("low", "high", "kinds"),
    [(-1000, 3000, ["nearly_uniform"]), (-1000, 3095, []), (-32_768, 32_767, [])],
    ids=["little contrast", "enough", "all levels"],
)
def test_signed_samples_of_few_levels_are_said_to_have_little_contrast(low: int, high: int, kinds: list[str]) -> None:
    warnings = WarningList()
    assert find_scale([np.array([low, high], np.int16)], 16, warnings) == Scale(-32_768, 32_767)
    assert [warning.kind for warning in warnings] == kinds
