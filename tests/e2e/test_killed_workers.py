"""Workers that are killed with SIGKILL every few hundred milliseconds lose nothing and start nothing twice.

What happened is taken from the runs themselves: each appends one line when it begins and one before it ends to a file
that Slipway knows nothing of. Appended lines are in the order in which they were written, whatever any clock says.

A small one is part of `make test`; `make torture ITEMS=1000 SEED=s` is the same with more.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.conditions import eventually

from slipway import wire
from slipway.cli.finding import Verdict
from slipway.cli.promises import promises
from slipway.functions.submit import submit
from slipway.model import Queue, QueueKey, State
from slipway.ports import Ports

ITEMS = int(os.environ.get("TORTURE_ITEMS") or 80)
SEED = int(os.environ.get("TORTURE_SEED") or random.SystemRandom().randrange(1 << 32))
CAP = 8
LENGTHS = ("0", "0.5", "2")
"""Seconds that a job takes: some are over before anybody looks, and enough last for all slots to be in use at times."""
KEY = QueueKey("team", "cpu")
JOB = """\
read now rest < /proc/uptime
echo "begin $SLIPWAY_ITEM $SLIPWAY_ATTEMPT $now" >> "$RECORD"
sleep "$1"
read now rest < /proc/uptime
echo "end $SLIPWAY_ITEM $SLIPWAY_ATTEMPT $now" >> "$RECORD"
"""
KILLER = str(Path(__file__).with_name("killer.py"))


class Line(NamedTuple):
    """What a run says of itself; `at` is in seconds since the machine was started."""

    word: str
    item: str
    attempt: str
    at: str


@pytest.mark.timeout(60 + 2 * ITEMS)
def test_killed_workers_lose_nothing_start_nothing_twice_and_keep_to_the_cap(tmp_path: Path) -> None:
    sys.stdout.write(f"seed {SEED}\n")
    home, record = tmp_path / "home", tmp_path / "record"
    ports = wire.local(wire.Settings(home, local_paths=True))
    config = {"env": {"RECORD": str(record)}}
    ports.store.save_queue(Queue(*KEY, "local-process", config=config, max_jobs=CAP))
    archive = packed(tmp_path)
    with killing(home, record) as killer:
        chance = random.Random(SEED)
        items = [submit(spec(archive, chance.choice(LENGTHS)), ports).id for _ in range(ITEMS)]
        eventually(lambda: over(items, ports), within=50 + 2 * ITEMS)
    lines = [Line(*line.split()) for line in record.read_text().splitlines()]
    most = most_at_once(lines)
    sys.stdout.write(f"{ITEMS} items, workers killed {killer.killed} times, at most {most} at once\n")
    ended = Counter(item.state for each in items if (item := ports.store.item(each)) is not None)
    assert ended == {State.FINISHED: ITEMS}, f"seed {SEED}"
    for word in ("begin", "end"):
        said = Counter(line.item for line in lines if line.word == word)
        assert said == dict.fromkeys(items, 1), f"seed {SEED}: {word}"
    assert most <= CAP, f"seed {SEED}"
    assert list(ports.store.held()) == [], f"seed {SEED}"
    assert [found for found in promises(ports) if found.verdict is Verdict.BROKEN] == [], f"seed {SEED}"


def test_runs_that_overlap_are_counted_as_what_they_say() -> None:
    said = (("begin", "a"), ("begin", "b"), ("end", "a"), ("begin", "c"), ("end", "b"), ("end", "c"))
    assert most_at_once([Line(word, item, "1", "0") for word, item in said]) == 2


def packed(folder: Path) -> Path:
    """One small source: one build serves all."""
    job, archive = folder / "job.sh", folder / "job.tar.gz"
    job.write_text(JOB)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(job, "job.sh")
    return archive


def spec(archive: Path, seconds: str) -> dict[str, object]:
    overrides = {"entry_point": ["sh", "job.sh"], "args": [seconds]}
    return {"entity": "team", "project": "p", "queue": "cpu", "uri": str(archive), "overrides": overrides}


class Killer:
    """The process of `killer.py`."""

    def __init__(self, home: Path, record: Path) -> None:
        command = [sys.executable, KILLER, str(home), str(SEED), str(record)]
        self.said = record.with_name("killer.err")
        with self.said.open("w") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.killed = ""

    def end(self) -> None:
        self.killed = self._process.communicate(timeout=30)[0]
        assert self._process.returncode == 0, self.said.read_text()[-4000:]


@contextmanager
def killing(home: Path, record: Path) -> Iterator[Killer]:
    killer = Killer(home, record)
    try:
        yield killer
    finally:
        killer.end()


def over(items: list[str], ports: Ports) -> bool:
    """Whether all are over. A message that five workers were killed with is a dead letter, which is given another
    chance, as its owner would: its item would be looked at without, only minutes later."""
    for letter in ports.bus.dead_letters():
        ports.bus.redrive(letter.id)
    live = (State.PENDING, State.BUILDING, State.STARTING, State.RUNNING)
    return not ports.store.items(states=live, limit=1) and all(ports.store.item(each) for each in items)


def most_at_once(lines: list[Line]) -> int:
    alive = most = 0
    for line in lines:
        alive += 1 if line.word == "begin" else -1
        most = max(most, alive)
    return most
