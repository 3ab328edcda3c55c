"""The store on SQLite: the contract, and what only a file shared by processes can show."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contracts.store_contract import GPU, MakeStore, StoreContract, a_queue, an_item

from slipway.adapters.local.database import Database
from slipway.adapters.local.store import SqliteStore
from slipway.model import ApiKey, Build, Slot, State

RACER = """
import sys
from slipway.adapters.local.database import Database
from slipway.adapters.local.store import SqliteStore
from slipway.errors import NoSlot
from slipway.model import QueueKey, Slot
store = SqliteStore(Database(sys.argv[1]))
admitted = most = 0
sys.stdin.readline()
while admitted < 20:
    item = store.item(sys.argv[2])
    try:
        item = store.save(item, Slot.ACQUIRE)
    except NoSlot:
        continue
    admitted += 1
    most = max(most, len(store.slots(QueueKey("team", "gpu"))))
    store.save(item, Slot.RELEASE)
print(most)
"""

WRITER = """
import sys
from dataclasses import replace
from slipway.adapters.local.database import Database
from slipway.adapters.local.store import SqliteStore
store = SqliteStore(Database(sys.argv[1]))
while True:
    item = store.item("01a")
    print(store.save(replace(item, reason=item.reason + "x")).version, flush=True)
"""


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Iterator[MakeStore]:
        databases: list[Database] = []
        numbers = itertools.count()

        def make() -> SqliteStore:
            databases.append(Database(tmp_path / str(next(numbers))))
            return SqliteStore(databases[-1])

        yield make
        for database in databases:
            database.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path)
    yield database
    database.close()


def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    first = Database(tmp_path)
    store = SqliteStore(first)
    queue, item = store.save_queue(a_queue(1)), store.create(an_item(image="x"))
    item = store.save(item, Slot.ACQUIRE)
    first.close()
    second = Database(tmp_path)
    store = SqliteStore(second)
    assert (store.queue(GPU), store.item("01a"), store.slots(GPU)) == (queue, item, {"01a.1"})
    second.close()


def test_processes_that_race_never_hold_more_than_the_cap(tmp_path: Path, database: Database) -> None:
    store = SqliteStore(database)
    store.save_queue(a_queue(2))
    ids = [f"01{n}" for n in range(4)]
    for item_id in ids:
        store.create(an_item(item_id))
    racers = [_python(RACER, str(tmp_path), item_id) for item_id in ids]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    most = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert 1 <= max(most) <= 2
    assert store.slots(GPU) == frozenset()


def test_a_killed_process_loses_nothing_that_it_was_told_is_saved(tmp_path: Path, database: Database) -> None:
    SqliteStore(database).create(an_item())
    database.close()
    writer = _python(WRITER, str(tmp_path))
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(50)][-1]
    writer.kill()
    writer.communicate(timeout=60)
    after = Database(tmp_path)
    item = SqliteStore(after).item("01a")
    assert item is not None
    assert item.version >= told
    assert len(item.reason) == item.version - 1
    assert after.rows("PRAGMA integrity_check") == [("ok",)]
    after.close()


def test_no_question_scans_a_table(database: Database) -> None:
    """Design §2: admission costs the same with 100 or 1,000,000 items in the store."""
    store = SqliteStore(database)
    store.save_queue(a_queue(1))
    item = store.create(an_item("01a", key="k", image="x", due=1.0))
    asked: list[str] = []
    with database.transaction() as connection:
        pass
    connection.set_trace_callback(asked.append)
    store.create(an_item("01b", key="k"))
    store.create(an_item("01c"))
    item = store.save(item, Slot.ACQUIRE)
    item = store.save(replace(item, state=State.FINISHED, due=None), Slot.RELEASE)
    store.save(item)
    store.head(GPU)
    store.ahead(item)
    store.crowded()
    store.due(1.0)
    store.wanting("x")
    store.slots(GPU)
    for entity, queue, states, before in itertools.product(
        (None, "team"), (None, "gpu"), ((), (State.RUNNING, State.FAILED)), (None, "01b")
    ):
        store.items(entity, queue, states, before=before)
    store.queue(GPU)
    store.queues("team")
    store.build(store.save_build(Build("x", "docker")).image)
    store.save_key(ApiKey("d", "team", "laptop", 1.0))
    store.key("d")
    connection.set_trace_callback(None)

    questions = [statement for statement in asked if statement.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert len(questions) > 40
    for question in questions:
        plan = [row[3] for row in database.rows(f"EXPLAIN QUERY PLAN {question}")]
        assert plan
        for line in plan:
            assert line.startswith(("SEARCH", "CO-ROUTINE", "SCAN (subquery")), (question, plan)
            assert "B-TREE" not in line, (question, plan)


def test_the_body_is_the_shared_record(database: Database) -> None:
    item = SqliteStore(database).create(an_item(reason="zu groß 🚢"))
    body = json.loads(database.rows("SELECT submitted || body FROM items")[0][0])
    assert (body["id"], body["version"], body["reason"]) == (item.id, 1, "zu groß 🚢")


def _python(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
