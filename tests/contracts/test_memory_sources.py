"""The sources that are a dict."""

from __future__ import annotations

import pytest
from tests.contracts.sources_contract import FILES, SourcesContract

from slipway.adapters.memory.sources import MemorySources
from slipway.model import GitSource
from slipway.ports import Sources


class TestMemorySources(SourcesContract):
    links = {}

    @pytest.fixture
    def sources(self) -> Sources:
        return MemorySources({"memory:job": {"main": FILES}})

    @pytest.fixture
    def source(self) -> GitSource:
        return GitSource("memory:job")

    @pytest.fixture
    def missing(self) -> GitSource:
        return GitSource("memory:job", "no-such-branch")
