"""What every watcher does: tells that something changed, soon, and never what. A binding provides the fixtures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from slipway.model import Changed
from slipway.ports import Watcher


class WatcherContract:
    """The watcher port. `within` is how many seconds a change may take to arrive; an arrival ends the wait."""

    within: float = 20.0

    @pytest.fixture
    def watcher(self) -> Watcher:
        """The adapter under test, closed after the test."""
        raise AssertionError("the binding provides it")

    @pytest.fixture
    def run_to_its_end(self) -> Callable[[str], None]:
        """Starts a run of this item id that ends by itself soon."""
        raise AssertionError("the binding provides it")

    def told(self, watcher: Watcher, *wanted: Changed) -> bool:
        """Whether each of these is told of; other changes may come in between."""
        missing = set(wanted)
        while missing:
            changes = watcher.changes(self.within)
            if not changes:
                return False
            missing -= set(changes)
        return True

    def test_nothing_happens_while_nothing_changes(self, watcher: Watcher) -> None:
        assert list(watcher.changes(0.0)) == []
        assert list(watcher.changes(0.05)) == []

    def test_the_end_of_a_run_is_told(self, watcher: Watcher, run_to_its_end: Callable[[str], None]) -> None:
        run_to_its_end("item1")
        assert self.told(watcher, Changed(item_id="item1"))

    def test_each_run_is_told_of(self, watcher: Watcher, run_to_its_end: Callable[[str], None]) -> None:
        for item in ("item1", "item2", "item3"):
            run_to_its_end(item)
        assert self.told(watcher, *(Changed(item_id=item) for item in ("item1", "item2", "item3")))

    def test_closing_wakes_who_waits(self, watcher: Watcher) -> None:
        answers: list[Sequence[Changed]] = []
        waiting = threading.Thread(target=lambda: answers.append(watcher.changes(3600.0)), daemon=True)
        waiting.start()
        watcher.close()
        waiting.join(self.within)
        assert [list(answer) for answer in answers] == [[]]

    def test_a_closed_watcher_is_silent_and_may_be_closed_again(self, watcher: Watcher) -> None:
        watcher.close()
        watcher.close()
        assert list(watcher.changes(3600.0)) == []
