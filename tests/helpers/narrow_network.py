"""A network for tests in which the number of channels doesn't matter, and the time does."""

from __future__ import annotations

from training.config import NetworkOptions

NARROW = NetworkOptions(hidden=16, channels=(4, 8, 8, 8, 8))
