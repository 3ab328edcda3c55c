"""The ends of containers, by `docker events`: the watcher contract, and what is particular to containers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conditions import eventually
from tests.contracts.container_fixtures import ContainerFixtures
from tests.contracts.target_contract import MakeLaunch
from tests.contracts.watcher_contract import WatcherContract
from tests.docker_engine import docker
from tests.services import BASE_IMAGE

from slipway.adapters.local.container import ContainerTarget, ContainerWatcher
from slipway.model import Changed

pytestmark = pytest.mark.docker


class WatcherFixtures(ContainerFixtures):
    """The engine is everybody's: these watchers hear only of containers that carry the label of their test."""

    @pytest.fixture
    def label(self) -> str:
        return f"test={uuid.uuid4().hex}"

    @pytest.fixture
    def watcher(self, engine: None, label: str) -> Iterator[ContainerWatcher]:
        watcher = ContainerWatcher(only=label, patience=0.05)
        yield watcher
        watcher.close()

    @pytest.fixture
    def run_to_its_end(self, label: str) -> Callable[[str], None]:
        def run(item: str) -> None:
            ours = ["--label", f"slipway.item={item}", "--label", label]
            docker("run", "--rm", "--detach", "--network", "none", *ours, BASE_IMAGE, "true")

        return run


class TestContainerWatcher(WatcherFixtures, WatcherContract):
    """The ends of containers."""


class TestWhatIsParticularToWatching(WatcherFixtures):
    def hears(self, watcher: ContainerWatcher, item_id: str) -> bool:
        return eventually(lambda: Changed(item_id=item_id) in watcher.changes(1.0), within=30.0)

    def test_a_run_of_the_target_is_told_of(
        self, watcher: ContainerWatcher, target: ContainerTarget, launch: MakeLaunch, label: str
    ) -> None:
        asked = launch("exit 0", resource_args={"label": label})
        target.start(asked)
        assert self.hears(watcher, asked.run.item_id)

    def test_what_ended_while_it_did_not_listen_is_told_of(
        self, watcher: ContainerWatcher, run_to_its_end: Callable[[str], None]
    ) -> None:
        run_to_its_end("item1")
        assert self.hears(watcher, "item1")
        assert watcher._events is not None
        watcher._events.kill()
        run_to_its_end("item2")
        assert self.hears(watcher, "item2")

    def test_without_an_engine_it_waits_for_one(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        label: str,
        run_to_its_end: Callable[[str], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with monkeypatch.context() as broken:
            broken.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
            watcher = ContainerWatcher(only=label, patience=0.01)
            eventually(lambda: "docker events: Cannot connect" in caplog.text)
        try:
            run_to_its_end("item1")
            assert self.hears(watcher, "item1")
        finally:
            watcher.close()

    def test_without_the_command_it_can_be_closed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        watcher = ContainerWatcher()
        assert watcher.changes(0.05) == ()
        watcher.close()
