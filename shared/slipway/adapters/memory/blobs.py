"""Blobs in a dict."""

from __future__ import annotations

from pathlib import Path


class MemoryBlobs:
    """Blobs (see `slipway.ports`), safe under threads of one process."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    def put(self, key: str, content: bytes | Path) -> None:
        self._contents[key] = content.read_bytes() if isinstance(content, Path) else bytes(content)

    def get(self, key: str) -> bytes | None:
        return self._contents.get(key)
