"""The ends of local processes: the watcher contract, and what is particular to processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conditions import eventually
from tests.contracts.watcher_contract import WatcherContract

from slipway.adapters.local.supervised import Phase, Supervised
from slipway.adapters.local.watch import ProcessWatcher
from slipway.model import Changed

STARTER = """
import sys
from pathlib import Path
from slipway.adapters.local.supervised import Supervised
Supervised(Path(sys.argv[1])).start(["/bin/true"], env={}, cwd=Path("/"), label=sys.argv[2])
"""


class WatcherFixtures:
    @pytest.fixture
    def home(self, tmp_path: Path) -> Iterator[Path]:
        yield tmp_path / "data"
        for record in (tmp_path / "data").glob("*/**/started.json"):
            Supervised(record.parent).stop(grace=0.0)

    @pytest.fixture
    def watcher(self, home: Path) -> Iterator[ProcessWatcher]:
        watcher = ProcessWatcher(home)
        yield watcher
        watcher.close()

    @pytest.fixture
    def run_to_its_end(self, home: Path) -> Callable[[str], None]:
        return lambda item: self.run(home, item, "true")

    def run(self, home: Path, item: str, *argv: str) -> None:
        start(home / "runs" / f"slipway-{item}-1" / "process", f"item:{item}", *argv)


class TestProcessWatcher(WatcherFixtures, WatcherContract):
    """Local runs and builds."""


class TestWhatIsParticular(WatcherFixtures):
    @pytest.mark.parametrize("folder", ["builds/digits-1", "builds/digits-1/process"])
    def test_the_end_of_a_build_is_told_by_its_image(self, watcher: ProcessWatcher, home: Path, folder: str) -> None:
        start(home / folder, "image:team/digits:abc", "true")
        assert list(watcher.changes(20.0)) == [Changed(image="team/digits:abc")]

    def test_a_start_alone_is_no_change(self, watcher: ProcessWatcher, home: Path) -> None:
        self.run(home, "item1", "sleep", "300")
        assert list(watcher.changes(0.2)) == []

    def test_what_another_process_started_is_told(self, watcher: ProcessWatcher, home: Path) -> None:
        folder = home / "runs" / "slipway-item1-1" / "process"
        subprocess.run([sys.executable, "-c", STARTER, str(folder), "item:item1"], check=True)
        assert list(watcher.changes(20.0)) == [Changed(item_id="item1")]

    def test_what_ran_before_it_watched_is_told(self, home: Path) -> None:
        self.run(home, "item1", "sleep", "300")
        with_it = ProcessWatcher(home)
        Supervised(home / "runs" / "slipway-item1-1" / "process").stop()
        assert list(with_it.changes(20.0)) == [Changed(item_id="item1")]
        with_it.close()

    def test_what_ended_while_nobody_watched_is_told_once(self, home: Path) -> None:
        self.run(home, "item1", "true")
        eventually(lambda: Supervised(home / "runs" / "slipway-item1-1" / "process").status().phase is Phase.EXITED)
        first = ProcessWatcher(home)
        assert list(first.changes(20.0)) == [Changed(item_id="item1")]
        first.close()
        second = ProcessWatcher(home)
        assert list(second.changes(0.0)) == []
        second.close()

    def test_each_watcher_of_a_home_is_told(self, watcher: ProcessWatcher, home: Path) -> None:
        other = ProcessWatcher(home)
        self.run(home, "item1", "true")
        assert list(watcher.changes(20.0)) == [Changed(item_id="item1")]
        assert list(other.changes(20.0)) == [Changed(item_id="item1")]
        other.close()

    def test_a_run_without_supervisor_is_told_when_it_ends_itself(self, watcher: ProcessWatcher, home: Path) -> None:
        self.run(home, "item1", "sleep", "300")
        process = Supervised(home / "runs" / "slipway-item1-1" / "process")
        record = json.loads((process.folder / "started.json").read_text())
        os.kill(record["supervisor"][0], signal.SIGKILL)
        assert list(watcher.changes(0.2)) == []
        process.stop()
        assert list(watcher.changes(20.0)) == [Changed(item_id="item1")]

    def test_a_killed_watchers_pipe_is_cleared_away(self, watcher: ProcessWatcher, home: Path) -> None:
        left = home / "watchers" / "of-a-killed-one"
        os.mkfifo(left)
        self.run(home, "item1", "true")
        assert list(watcher.changes(20.0)) == [Changed(item_id="item1")]
        assert eventually(lambda: not left.exists())
        assert len(list((home / "watchers").iterdir())) == 1

    def test_an_unreadable_record_keeps_no_watcher_from_starting(self, home: Path) -> None:
        folder = home / "runs" / "slipway-item1-1" / "process"
        folder.mkdir(parents=True)
        (folder / "started.json").write_text("{")
        ProcessWatcher(home).close()
        (folder / "started.json").unlink()

    def test_a_process_that_is_neither_run_nor_build_is_no_change(self, watcher: ProcessWatcher, home: Path) -> None:
        start(home / "builds" / "nameless", "", "true")
        assert list(watcher.changes(0.3)) == []

    def test_closing_gives_back_every_file(self, home: Path) -> None:
        before = open_files()
        watcher = ProcessWatcher(home)
        self.run(home, "item1", "sleep", "300")
        watcher.changes(0.2)
        watcher.close()
        assert open_files() == before
        assert list((home / "watchers").iterdir()) == []


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def start(folder: Path, label: str, *argv: str) -> None:
    assert Supervised(folder).start(argv, env={"PATH": os.environ["PATH"]}, cwd=Path("/"), label=label)
