"""The builder and registry contracts in memory, where a build ends when it is told to."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from pathlib import Path

import pytest
from tests.contracts.builder_contract import FAREWELL, BuilderContract, MakeFailingRequest, MakeRequest
from tests.contracts.registry_contract import LoginContract, RegistryContract

from slipway.adapters.memory.builder import MemoryBuilder, MemoryRegistry
from slipway.model import BuildPhase, BuildRequest


class TestMemoryBuilder(BuilderContract):
    kind = "memory"

    @pytest.fixture
    def builder(self) -> MemoryBuilder:
        return MemoryBuilder()

    @pytest.fixture
    def fresh_builder(self, builder: MemoryBuilder) -> MemoryBuilder:
        return copy.copy(builder)

    @pytest.fixture
    def request_(self, builder: MemoryBuilder, tmp_path: Path) -> MakeRequest:
        numbers = itertools.count(1)

        def make(files: dict[str, str], **changes: object) -> BuildRequest:
            context = tmp_path / f"context{next(numbers)}"
            context.mkdir()
            tag = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:24]
            fields: dict[str, object] = {
                "image": builder.image("digits", tag),
                "attempt": 1,
                "context": str(context),
                "dockerfile": "",
            }
            return BuildRequest(**{**fields, **changes})  # type: ignore[arg-type]

        return make

    @pytest.fixture
    def failing_request(self, request_: MakeRequest) -> MakeFailingRequest:
        return lambda: request_({"requirements.txt": "no-such-package"}, config={"fails": True})

    def settle(self, builder: MemoryBuilder, request: BuildRequest) -> None:
        if builder.status(self.build_of(request)).phase is BuildPhase.RUNNING:
            failure = FAREWELL if request.config.get("fails") else None
            builder.end(request.image, request.attempt, failure=failure)

    def times_built(self, builder: MemoryBuilder, request: BuildRequest) -> int:
        return sum((each.image, each.attempt) == (request.image, request.attempt) for each in builder.started)

    def test_an_instant_build_is_over_when_it_has_started(self, request_: MakeRequest) -> None:
        request = request_({"train.py": "print(1)"})
        assert MemoryBuilder(instant=True).start(request).phase is BuildPhase.SUCCEEDED


class TestMemoryRegistry(RegistryContract):
    @pytest.fixture
    def present(self) -> str:
        return "memory/digits:1"

    @pytest.fixture
    def user(self) -> tuple[str, str]:
        return ("slipway", "not-a-secret")

    @pytest.fixture
    def registry(self, present: str, user: tuple[str, str]) -> MemoryRegistry:
        return MemoryRegistry({present}, user=user)


class TestMemoryRegistryWithALogin(LoginContract):
    @pytest.fixture
    def present(self) -> str:
        return "private/digits:1"

    @pytest.fixture
    def anonymous(self, present: str) -> MemoryRegistry:
        return MemoryRegistry({present}, forbidden=("private/",))

    @pytest.fixture
    def impostor(self, anonymous: MemoryRegistry) -> MemoryRegistry:
        return anonymous
