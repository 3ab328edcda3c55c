"""The secrets contract in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.contracts.secrets_contract import SecretsContract

from slipway.adapters.memory.secrets import MemorySecrets


class TestMemorySecrets(SecretsContract):
    @pytest.fixture
    def secrets(self) -> MemorySecrets:
        return MemorySecrets()

    @pytest.fixture
    def keep(self, secrets: MemorySecrets) -> Callable[[str, str], None]:
        return secrets.keep
