"""How much of the disk's own limit one `advance` worker reaches.

The limit is measured in the same run, on the same disk, with the same journal: guarded updates of 2 KB items, one
transaction each, divided by the state writes of one launch (its creation included).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.figure import Figure
from bench.place import SPEC, NoopTarget, ports_at, with_queue
from slipway.adapters.local.database import Database
from slipway.functions.deliver import deliver
from slipway.functions.submit import submit
from slipway.model import State, Topic
from slipway.names import item_id
from slipway.ports import Ports
from slipway.records import changing_part, submitted_part

ITEMS = 2_000
CROWD = 100_000
ROUNDS = 3
PAIRS = 5


def figures() -> Iterator[Figure]:
    for synchronous, meaning in (("NORMAL", "safe against kill -9"), ("FULL", "safe against power loss")):
        with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
            shares, rates = _rounds(Path(folder), synchronous)
        share = median(shares)
        what = f"2,000 no-op items drained, share of the disk's limit, synchronous={synchronous} ({meaning})"
        yield Figure(what, f"{share:.0%}   ({median(rates):,.0f} items/s)", "≥ 35 %", share >= 0.35)
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        slower = 1 - _crowding(Path(folder))
    what = f"the same with {CROWD:,} finished items in the store, compared with none"
    yield Figure(what, f"{slower:+.1%} slower", "within 10 %", slower <= 0.10)


def _rounds(folder: Path, synchronous: str) -> tuple[list[float], list[float]]:
    """Share of the limit and items per second of each round: limit and drain in turn, so that drift hits both."""
    ports = with_queue(ports_at(folder / "slipway", NoopTarget(), synchronous))
    shares, rates = [], []
    for number in range(ROUNDS):
        limit = _transactions_per_second(folder / f"raw{number}", synchronous)
        rate, writes = _drain(ports)
        shares.append(rate / (limit / writes))
        rates.append(rate)
    return shares, rates


def _crowding(folder: Path) -> float:
    """Speed with a full store over speed with an empty one: the median of pairs, each measured one after the other."""
    empty = with_queue(ports_at(folder / "empty", NoopTarget()))
    crowded = with_queue(ports_at(folder / "crowded", NoopTarget()))
    _crowd(crowded, folder / "crowded")
    _drain(empty), _drain(crowded)
    pairs = [(_drain(empty)[0], _drain(crowded)[0]) for _ in range(PAIRS)]
    return median(full / bare for bare, full in pairs)


def _drain(ports: Ports) -> tuple[float, float]:
    """(items per second, state writes per launch) of one worker, from the first receive to the last acknowledgement."""
    items = [submit(SPEC, ports) for _ in range(ITEMS)]
    started = time.perf_counter()
    while batch := ports.bus.receive([Topic.ADVANCE], limit=10):
        ports.bus.ack([message for message in batch if deliver(message, ports)])
    seconds = time.perf_counter() - started
    over = [ports.store.item(item.id) for item in items]
    assert all(item is not None and item.state is State.FINISHED for item in over)
    return ITEMS / seconds, sum(item.version for item in over if item is not None) / ITEMS


def _transactions_per_second(folder: Path, synchronous: str) -> float:
    """Guarded 2 KB updates of items as the store keeps them, one transaction each, from parameters that lie ready.

    What SQLite and the disk do for an item's state when nothing else costs anything: the same rows, the same
    index on `due`, checkpoints counted. Each of the rows is written three times, as in its life.
    """
    ports = with_queue(ports_at(folder, NoopTarget(), synchronous))
    items = [submit(SPEC, ports) for _ in range(ITEMS)]
    writes = [
        (item.version + number, (item.due or 0.0) + number, changing_part(item), item.id, item.version + number - 1)
        for number in (1, 2, 3)
        for item in items
    ]
    database = Database(folder, synchronous=synchronous)
    connection = database._connection()
    started = time.perf_counter()
    for values in writes:
        connection.execute("BEGIN IMMEDIATE")
        changed = connection.execute(_GUARDED, values).rowcount
        connection.execute("COMMIT")
        assert changed == 1
    seconds = time.perf_counter() - started
    database.close()
    return len(writes) / seconds


def _crowd(ports: Ports, home: Path) -> None:
    """Fills the store with finished items, past the adapter's one-by-one writes."""
    pattern = submit(SPEC, ports)
    while batch := ports.bus.receive([Topic.ADVANCE], limit=10):
        ports.bus.ack([message for message in batch if deliver(message, ports)])
    over = ports.store.item(pattern.id)
    assert over is not None
    rows = (
        (each.id, submitted_part(each), changing_part(each))
        for number in range(CROWD)
        for each in [replace(over, id=item_id(over.created_at - 1e6 + number, number.to_bytes(4, "big")))]
    )
    database = Database(home)
    with database.transaction() as connection:
        connection.executemany(
            "INSERT INTO items (version, state, ended, entity, owner, queue, id, submitted, body)"
            f" VALUES ({over.version}, 'finished', 'finished', 'team', 'team', 'noop', ?, ?, ?)",
            rows,
        )
    database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


_GUARDED = "UPDATE items SET version = ?, due = ?, body = ? WHERE id = ? AND version = ?"
