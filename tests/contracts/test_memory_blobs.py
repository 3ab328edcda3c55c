"""Blobs in memory."""

from __future__ import annotations

import pytest
from tests.contracts.blobs_contract import BlobsContract

from slipway.adapters.memory.blobs import MemoryBlobs


class TestMemoryBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self) -> MemoryBlobs:
        return MemoryBlobs()
