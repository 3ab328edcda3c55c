"""The bus in memory."""

from __future__ import annotations

import pytest
from tests.contracts.bus_contract import BusContract, MakeBus, OneRecordBusContract

from slipway.adapters.memory.bus import MemoryBus


class TestMemoryBus(BusContract, OneRecordBusContract):
    @pytest.fixture
    def make_bus(self) -> MakeBus:
        return MemoryBus
