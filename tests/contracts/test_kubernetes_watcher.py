"""Changes of runs by watches of a genuine API server: the watcher contract, broken streams, and forgotten versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.conditions import eventually
from tests.contracts.kubernetes_fixtures import KubernetesFixtures
from tests.contracts.target_contract import MakeLaunch
from tests.contracts.watcher_contract import WatcherContract

from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.adapters.kubernetes.watcher import KubernetesWatcher
from slipway.model import Changed, RunRef

pytestmark = [pytest.mark.docker, pytest.mark.cluster]


class WatcherFixtures(KubernetesFixtures):
    @pytest.fixture
    def watcher(self, api: Api, namespace: str) -> Iterator[KubernetesWatcher]:
        watcher = KubernetesWatcher([namespace], patience=0.05)
        watcher.begin(api)
        eventually(lambda: all(watch._stream is not None for watch in watcher._watches))
        yield watcher
        watcher.close()

    @pytest.fixture
    def run_to_its_end(self, target: KubernetesTarget, launch: MakeLaunch) -> Callable[[str], None]:
        def run(item: str) -> None:
            target.start(launch("exit 0", run=RunRef(item, 1)))

        return run


class TestKubernetesWatcher(WatcherFixtures, WatcherContract):
    """Jobs and their pods."""

    within = 60.0


class TestWhatIsParticularToWatching(WatcherFixtures):
    def hears(self, watcher: KubernetesWatcher, item_id: str) -> bool:
        return eventually(lambda: Changed(item_id=item_id) in watcher.changes(1.0), within=60.0)

    def test_a_watch_that_breaks_in_mid_stream_goes_on_where_it_ended(
        self, watcher: KubernetesWatcher, run_to_its_end: Callable[[str], None]
    ) -> None:
        run_to_its_end("item1")
        assert self.hears(watcher, "item1")
        for watch in watcher._watches:
            assert watch._stream is not None
            watch._stream._answer.shutdown()
        run_to_its_end("item2")
        assert self.hears(watcher, "item2")

    def test_a_version_that_the_server_has_forgotten_is_listed_anew(
        self, watcher: KubernetesWatcher, run_to_its_end: Callable[[str], None], target: KubernetesTarget
    ) -> None:
        """410 Gone: what changed meanwhile is told by the difference."""
        run_to_its_end("item1")
        assert self.hears(watcher, "item1")
        for watch in watcher._watches:
            watch._version = "1"
            assert watch._stream is not None
            watch._stream._answer.shutdown()
        run_to_its_end("item2")
        assert self.hears(watcher, "item2")
        assert eventually(lambda: all(watch._version not in (None, "1") for watch in watcher._watches), within=60.0)
