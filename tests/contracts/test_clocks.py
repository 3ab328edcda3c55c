"""The clock contract: the machine's clock, and the one that stands still."""

from __future__ import annotations

import pytest
from tests.contracts.clock_contract import ClockContract

from slipway.adapters.local.clock import SystemClock
from slipway.adapters.memory.clock import MemoryClock


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> SystemClock:
        return SystemClock()


class TestMemoryClock(ClockContract):
    @pytest.fixture
    def clock(self) -> MemoryClock:
        return MemoryClock()

    def test_it_goes_on_when_it_is_told_to(self, clock: MemoryClock) -> None:
        before = clock.now()
        clock.advance(2.5)
        assert clock.now() == before + 2.5
