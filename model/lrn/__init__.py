"""Local response normalization (paper, section 3.3)."""
