"""What the tests of containers share: a target on the real engine, and containers that are gone after the test."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contracts.target_contract import SECRET, MakeLaunch
from tests.docker_engine import remove_containers
from tests.services import BASE_IMAGE, base_image

from slipway.adapters.local.container import ContainerTarget
from slipway.adapters.local.secrets import LocalSecrets
from slipway.model import Launch, RunRef

MACHINE = {"SECRET_OF_TEST": SECRET, "LONG_SECRET": "-----BEGIN-----\ntwo\nlines\n"}


class ContainerFixtures:
    @pytest.fixture(autouse=True)
    def engine(self) -> None:
        base_image()

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        return tmp_path / 'data, of a "user"'

    @pytest.fixture
    def items(self, engine: None) -> Iterator[list[str]]:
        """Items whose containers are removed after the test."""
        items: list[str] = []
        yield items
        remove_containers(items)

    @pytest.fixture
    def target(self, home: Path, items: list[str]) -> ContainerTarget:
        return ContainerTarget(home, LocalSecrets(home, MACHINE))

    @pytest.fixture
    def fresh_target(self, home: Path) -> ContainerTarget:
        return ContainerTarget(home, LocalSecrets(home, MACHINE))

    @pytest.fixture
    def launch(self, items: list[str]) -> MakeLaunch:
        numbers = itertools.count(1)
        test = uuid.uuid4().hex[:12]

        def make(script: str, **changes: object) -> Launch:
            item = f"test{test}{next(numbers)}"
            items.append(item)
            plain = Launch(
                run=RunRef(item, 1),
                run_id=f"run-of-{item}",
                image=BASE_IMAGE,
                entry_point=("sh", "-c", script),
                args=(),
                env={"WANDB_RUN_ID": f"run-of-{item}", "SLIPWAY_ITEM": item},
                secrets={},
                resource_args={"network": "none", "stop-timeout": 1},
                entity="team",
                project="digits",
                run_name="a run",
            )
            return replace(plain, **changes)  # type: ignore[arg-type]

        return make
