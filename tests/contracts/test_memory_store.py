"""The store in memory."""

from __future__ import annotations

import pytest
from tests.contracts.store_contract import MakeStore, StoreContract

from slipway.adapters.memory.store import MemoryStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return MemoryStore
