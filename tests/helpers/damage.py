"""Damage to files, as a bad disk does it."""

from __future__ import annotations


def flip(content: bytes, place: int) -> bytes:
    """The content with one bit turned, the one at `place`."""
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)
