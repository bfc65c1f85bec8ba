"""Counts with their noun, as a person writes them."""

from __future__ import annotations


def count_of(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun, "1 image" or "2,000 images". `plural`: for nouns that need more than an added s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
