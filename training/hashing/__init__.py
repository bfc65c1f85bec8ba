"""Learned hashing: binary codes of features (section 6.1)."""
