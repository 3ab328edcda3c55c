"""Bearer keys: who may ask for what.

A key is 256 random bits, so a plain SHA-256 of it is as good as a slow hash: there is nothing to guess. Only the digest
is kept, and it is what a key is looked up by; the key itself is shown once, when it is made.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

from slipway.errors import Forbidden, Invalid, Problem
from slipway.model import ApiKey
from slipway.ports import Store

EVERY_ENTITY = "*"
PREFIX = "slip_"
"""So that scanners of leaked secrets, and people, know one when they see it."""

_BYTES = 32


def new_key(entity: str, name: str, entropy: Callable[[int], bytes], now: float) -> tuple[str, ApiKey]:
    """The text to hand to its owner, and the record to keep. `entropy(n)` gives n random bytes.

    Raises Invalid where the entity or the name is empty or too long.
    """
    problems = [
        Problem(field, "must be 1 to 128 characters on one line", value, fix)
        for field, value, fix in (
            ("entity", entity, f"Name a team or person, or '{EVERY_ENTITY}' for all."),
            ("name", name, "Say what the key is for, such as 'ci'."),
        )
        if not (0 < len(value) <= 128 and value.isprintable() and value.strip() == value)
    ]
    if problems:
        raise Invalid(problems)
    text = PREFIX + base64.urlsafe_b64encode(entropy(_BYTES)).rstrip(b"=").decode()
    return text, ApiKey(digest(text), entity, name, now)


def digest(text: str) -> str:
    """The SHA-256 of a key's text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def matches(text: str, key: ApiKey) -> bool:
    """Whether this is the key's text, in the same time whatever the difference."""
    return hmac.compare_digest(digest(text), key.digest)


def holder(text: str, store: Store) -> ApiKey | None:
    """The key with this text, if there is one."""
    key = store.key(digest(text))
    return key if key is not None and matches(text, key) else None


def require(key: ApiKey, entity: str) -> None:
    """Raises Forbidden where the key may not act for the entity."""
    if not may(key, entity):
        raise Forbidden(f"this key acts for entity '{key.entity}', not for '{entity}'; use a key of '{entity}'")


def may(key: ApiKey, entity: str) -> bool:
    """Whether the key may act for an entity."""
    return key.entity in (EVERY_ENTITY, entity)
