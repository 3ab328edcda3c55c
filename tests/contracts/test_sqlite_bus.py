"""The bus on SQLite: the contract, and what only processes on one folder can show."""

from __future__ import annotations

import itertools
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conditions import eventually
from tests.contracts.bus_contract import (
    FAR_LONGER,
    MAX_RECEIVES,
    VISIBILITY,
    WOKEN,
    BusContract,
    MakeBus,
    OneRecordBusContract,
)

from slipway.adapters.local.bus import SqliteBus
from slipway.adapters.local.database import Database
from slipway.adapters.local.wakeup import Wakeup
from slipway.adapters.memory.clock import MemoryClock
from slipway.errors import Permanent
from slipway.model import Topic
from slipway.ports import Bus, Clock

A_BUS = """
import sys
from slipway.adapters.local.bus import SqliteBus
from slipway.adapters.local.database import Database
from slipway.adapters.local.wakeup import Wakeup
from slipway.adapters.memory.clock import MemoryClock
from slipway.model import Topic
bus = SqliteBus(Database(sys.argv[1]), MemoryClock(), Wakeup(sys.argv[1]))
print("ready", flush=True)
"""

WORKER = (
    A_BUS
    + """
seen = []
while "stop" not in seen:
    for message in bus.receive([Topic.ADVANCE, Topic.BUILD], wait=300.0):
        seen.append(message.body)
        bus.ack([message])
print(" ".join(seen))
"""
)

ECHO = (
    A_BUS
    + """
while True:
    for message in bus.receive([Topic.ADVANCE], limit=10, wait=300.0):
        bus.send(Topic.BUILD, message.body)
        bus.ack([message])
"""
)


class TestSqliteBus(BusContract, OneRecordBusContract):
    @pytest.fixture
    def make_bus(self, tmp_path: Path) -> Iterator[MakeBus]:
        opened: list[tuple[Wakeup, Database]] = []
        numbers = itertools.count()

        def make(clock: Clock, visibility: float = VISIBILITY, max_receives: int = MAX_RECEIVES) -> Bus:
            home = tmp_path / str(next(numbers))
            wakeup, database = Wakeup(home), Database(home)
            opened.append((wakeup, database))
            return SqliteBus(database, clock, wakeup, visibility, max_receives)

        yield make
        for wakeup, database in opened:
            wakeup.close()
            database.close()


@pytest.fixture(params=["short", "long"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data folder; `long` is one whose path does not fit into a socket's address."""
    return tmp_path if request.param == "short" else tmp_path / ("ordner-" * 12) / ("tief-" * 12)


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    database = Database(home)
    yield database
    database.close()


@pytest.fixture
def bus(home: Path, database: Database) -> Iterator[Bus]:
    wakeup = Wakeup(home)
    yield SqliteBus(database, MemoryClock(), wakeup)
    wakeup.close()


def test_processes_that_share_the_work_receive_each_message_once(home: Path, database: Database, bus: Bus) -> None:
    workers = [_python(WORKER, home) for _ in range(4)]
    bodies = [str(n) for n in range(200)]
    for body in bodies:
        bus.send(Topic.ADVANCE if int(body) % 2 else Topic.BUILD, body)
    eventually(lambda: database.rows("SELECT COUNT(*) FROM messages") == [(0,)], within=60.0)
    for _ in workers:
        bus.send(Topic.ADVANCE, "stop")
    seen = [worker.communicate(timeout=WOKEN)[0].split() for worker in workers]
    assert Counter(itertools.chain(*seen)) == Counter([*bodies, *["stop"] * 4])


def test_a_process_that_waits_is_woken_by_each_send_of_another(home: Path, bus: Bus) -> None:
    echo = _python(ECHO, home)
    try:
        for n in range(50):
            bus.send(Topic.ADVANCE, str(n))
            received = bus.receive([Topic.BUILD], wait=WOKEN)
            assert [message.body for message in received] == [str(n)]
            bus.ack(received)
    finally:
        echo.kill()
        echo.communicate(timeout=60)


def test_the_socket_of_a_killed_process_is_taken_away_by_the_next_send(home: Path, bus: Bus) -> None:
    echo = _python(ECHO, home)
    bus.send(Topic.ADVANCE, "a")
    bus.ack(bus.receive([Topic.BUILD], wait=WOKEN))
    assert len(list((home / "wake").iterdir())) == 2
    echo.send_signal(signal.SIGKILL)
    echo.communicate(timeout=60)
    bus.send(Topic.ADVANCE, "b")
    (mine,) = (home / "wake").iterdir()
    assert mine.is_socket()


def test_messages_outlive_the_process(tmp_path: Path) -> None:
    for step in ("send", "receive"):
        database, wakeup = Database(tmp_path), Wakeup(tmp_path)
        bus = SqliteBus(database, MemoryClock(), wakeup)
        if step == "send":
            bus.send(Topic.ADVANCE, "a")
        else:
            assert [message.body for message in bus.receive([Topic.ADVANCE])] == ["a"]
        wakeup.close()
        database.close()


def test_a_signal_between_the_look_and_the_wait_ends_the_wait(tmp_path: Path) -> None:
    wakeup = Wakeup(tmp_path)
    mark = wakeup.mark()
    wakeup.signal()
    waiting = threading.Thread(target=wakeup.wait, args=(mark, FAR_LONGER), daemon=True)
    waiting.start()
    waiting.join(timeout=WOKEN)
    assert not waiting.is_alive()
    wakeup.close()


def test_closing_ends_the_waits_and_leaves_nothing_behind(tmp_path: Path) -> None:
    wakeup = Wakeup(tmp_path)
    waiting = threading.Thread(target=wakeup.wait, args=(wakeup.mark(), FAR_LONGER), daemon=True)
    waiting.start()
    wakeup.close()
    wakeup.close()
    waiting.join(timeout=WOKEN)
    assert not waiting.is_alive()
    assert list((tmp_path / "wake").iterdir()) == []


def test_who_does_not_read_its_pokes_does_not_hold_up_a_send(tmp_path: Path) -> None:
    wakeup = Wakeup(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "wake" / "deaf.socket"))
        mark = wakeup.mark()
        for _ in range(5000):
            wakeup.signal()
        assert wakeup.mark() == mark + 5000
    wakeup.close()


def test_a_folder_that_holds_no_sockets_is_refused_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "wake").write_text("a file where the folder belongs")
    with pytest.raises(Permanent, match=r"wake.*Choose a data folder"):
        Wakeup(tmp_path)


def test_no_delivery_scans_a_table(home: Path, database: Database, bus: Bus) -> None:
    asked: list[str] = []
    with database.transaction() as connection:
        pass
    connection.set_trace_callback(asked.append)
    for n in range(6):
        bus.send(Topic.ADVANCE, str(n))
    bus.ack(bus.receive(list(Topic), limit=2))
    bus.ack(bus.receive([Topic.ADVANCE]))
    bus.retry(bus.receive([Topic.ADVANCE])[0], "again")
    for _ in range(2):
        bus.bury(bus.receive([Topic.ADVANCE])[0], "bad")
    bus.redrive(bus.dead_letters()[0].id)
    bus.drop(bus.dead_letters()[0].id)
    connection.set_trace_callback(None)
    questions = [statement for statement in asked if statement.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert len(questions) > 15
    for question in questions:
        if "FROM dead_letters ORDER BY id DESC" in question:
            continue  # The listing itself: read off the primary key up to its limit.
        plan = [row[3] for row in database.rows(f"EXPLAIN QUERY PLAN {question}")]
        assert not [line for line in plan if line.startswith(("SCAN messages", "SCAN dead_letters"))], (question, plan)


def _python(program: str, home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
