"""Commands that measure us beside our peers, in one run."""
