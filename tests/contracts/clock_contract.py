"""What every clock does. A binding provides the fixture below."""

from __future__ import annotations

import pytest

from slipway.ports import Clock


class ClockContract:
    """The clock port: seconds since the Unix epoch."""

    @pytest.fixture
    def clock(self) -> Clock:
        raise AssertionError("the binding provides it")

    def test_it_tells_seconds_of_this_century(self, clock: Clock) -> None:
        """Not milliseconds, not the machine's uptime."""
        assert 1e9 < clock.now() < 4.1e9

    def test_it_does_not_go_back(self, clock: Clock) -> None:
        told = [clock.now() for _ in range(100)]
        assert told == sorted(told)
