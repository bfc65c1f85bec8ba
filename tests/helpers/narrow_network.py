"""A network for tests in which time matters and the number of channels doesn't."""

from __future__ import annotations

from training.config import NetworkOptions

NARROW = NetworkOptions(hidden=16, channels=(4, 8, 8, 8, 8))
