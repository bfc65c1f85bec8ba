"""Baselines that the program is compared with: other methods and other servers."""
