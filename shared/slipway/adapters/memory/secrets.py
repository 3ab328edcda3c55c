"""Secrets in a dict."""

from __future__ import annotations

from collections.abc import Mapping


class MemorySecrets:
    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def get(self, reference: str) -> str | None:
        return self._values.get(reference)

    def keep(self, reference: str, value: str) -> None:
        self._values[reference] = value
