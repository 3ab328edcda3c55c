"""Whether the next one is let in as fast with a million items in the store as with a thousand.

One admission is what stands between a free slot and a started run: the head of the line is found, looked at, claimed
together with its slot, started, and here over at once, which gives the slot back. Both stores are measured in turn, so
that drift hits both, and both lines stay as long as they are.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

from bench.figure import Figure
from bench.place import SPEC, NoopTarget, ports_at
from slipway.adapters.local.database import Database
from slipway.functions.deliver import deliver
from slipway.functions.submit import submit
from slipway.model import Item, Json, Queue, Topic
from slipway.ports import Ports
from slipway.records import changing_part, submitted_part
from slipway.step import take_step

FEW, MANY = (990, 10), (990_000, 10_000)
"""Items that are over, and items in line."""
ROUNDS = 7
ADMISSIONS = 1_000
SLOWER = 1.5
SMALL: dict[str, Json] = {**SPEC, "overrides": {"args": ["--epochs", "10"]}}


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        few, many = _place(Path(folder) / "few", *FEW), _place(Path(folder) / "many", *MANY)
        for ports in (few, many):
            _round(ports)
        rounds = [(_round(few), _round(many)) for _ in range(ROUNDS)]
    ratio = median(crowded / empty for empty, crowded in rounds)
    small, large = (median(each) * 1000 for each in zip(*rounds, strict=True))
    what = f"99th percentile of an admission with {sum(MANY):,} items in the store, compared with {sum(FEW):,}"
    yield Figure(what, f"{ratio:.2f} × ({small:.1f} and {large:.1f} ms)", f"≤ {SLOWER} ×", ratio <= SLOWER)


def _round(ports: Ports) -> float:
    """The 99th percentile, in seconds."""
    key = Queue("team", "noop", "").key
    times = []
    for _ in range(ADMISSIONS):
        started = time.perf_counter()
        head = ports.store.head(key)
        assert head is not None
        over = take_step(head, ports)
        times.append(time.perf_counter() - started)
        assert over.state.terminal
        submit(SMALL, ports)
    return quantiles(times, n=100)[98]


def _place(home: Path, over: int, in_line: int) -> Ports:
    """A store with a queue that has a cap, and so many items of it, put there past the adapter's one-by-one writes."""
    ports = ports_at(home, NoopTarget())
    ports.store.save_queue(Queue("team", "noop", "local-container", max_jobs=8))
    pattern = submit(SMALL, ports)
    (message,) = ports.bus.receive([Topic.ADVANCE])
    assert deliver(message, ports)
    ended = ports.store.item(pattern.id)
    assert ended is not None
    database = Database(home)
    _copy(database, ended, "a", over)
    _copy(database, pattern, "b", in_line)
    database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return ports


def _copy(database: Database, item: Item, letter: str, count: int) -> None:
    """So many rows like this item's, with ids of their own: older than any that is made later."""
    values = {
        "count": count,
        "id": f"0{letter}%014d",
        "version": item.version,
        "state": item.state,
        "waiting": item.priority if item.waiting else None,
        "due": item.due,
        "ended": item.state if item.state.terminal else None,
        "pattern": item.id,
        "submitted": submitted_part(item),
        "body": changing_part(item),
    }
    with database.transaction() as connection:
        connection.execute(_COPY, values)


_COPY = """
WITH RECURSIVE numbers(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
INSERT INTO items (version, state, waiting, due, ended, entity, owner, queue, id, submitted, body)
SELECT :version, :state, :waiting, :due, :ended, 'team', 'team', 'noop', printf(:id, n),
       replace(:submitted, :pattern, printf(:id, n)), :body FROM numbers
"""
