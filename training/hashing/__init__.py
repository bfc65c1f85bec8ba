"""Binary codes of features (paper, section 6.1)."""
