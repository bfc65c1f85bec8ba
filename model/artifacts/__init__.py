"""Artifacts: the folder that training writes and everything else reads."""
