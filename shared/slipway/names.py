"""Identifiers: sortable, short, and valid wherever a backend wants a DNS label."""

from __future__ import annotations

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: sorts as it counts, and has no letter that reads as a digit."""


def item_id(now: float, entropy: bytes) -> str:
    """16 characters that sort by time: 11 of microseconds since the epoch (good until the year 3111), 5 of entropy.

    `entropy` is at least 4 bytes.
    """
    return _base32(int(now * 1_000_000), 11) + _base32(int.from_bytes(entropy[:4], "big") & 0x1FFFFFF, 5)


def run_id(entropy: bytes) -> str:
    """8 characters, as W&B's own run ids. `entropy` is at least 5 bytes."""
    return _base32(int.from_bytes(entropy[:5], "big"), 8)


def _base32(number: int, width: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (width - 1), -1, -5))
