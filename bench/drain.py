"""How much of the disk's own limit one `advance` worker reaches.

The limit is measured in the same run, on the same disk, with the same journal: guarded updates of a 2 KB row, one
transaction each, divided by the state writes that draining one item takes.
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
from slipway.records import item_to_json

ITEMS = 2_000
CROWD = 100_000
ROUNDS = 3


def figures() -> Iterator[Figure]:
    for synchronous, meaning in (("NORMAL", "safe against kill -9"), ("FULL", "safe against power loss")):
        with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
            shares, rates = _rounds(Path(folder), synchronous)
        share = median(shares)
        what = f"2,000 no-op items drained, share of the disk's limit, synchronous={synchronous} ({meaning})"
        yield Figure(what, f"{share:.0%}   ({median(rates):,.0f} items/s)", "≥ 35 %", share >= 0.35)
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        empty, crowded = _crowding(Path(folder))
    slower = 1 - crowded / empty
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


def _crowding(folder: Path) -> tuple[float, float]:
    """Items per second with an empty store and with a full one, in turn."""
    empty = with_queue(ports_at(folder / "empty", NoopTarget()))
    crowded = with_queue(ports_at(folder / "crowded", NoopTarget()))
    _crowd(crowded, folder / "crowded")
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        rates[0].append(_drain(empty)[0])
        rates[1].append(_drain(crowded)[0])
    return median(rates[0]), median(rates[1])


def _drain(ports: Ports) -> tuple[float, float]:
    """(items per second, state writes per item) of one worker, from the first receive to the last acknowledgement."""
    items = [submit(SPEC, ports) for _ in range(ITEMS)]
    started = time.perf_counter()
    while batch := ports.bus.receive([Topic.ADVANCE], limit=10):
        ports.bus.ack([message for message in batch if deliver(message, ports)])
    seconds = time.perf_counter() - started
    over = [ports.store.item(item.id) for item in items]
    assert all(item is not None and item.state is State.FINISHED for item in over)
    return ITEMS / seconds, sum(item.version - 1 for item in over if item is not None) / ITEMS


def _transactions_per_second(folder: Path, synchronous: str) -> float:
    """Guarded 2 KB updates, one transaction each, with nothing of Slipway's around them but the connection."""
    folder.mkdir()
    database = Database(folder, synchronous=synchronous, migrations=(_RAW,))
    body = "x" * 2048
    for number in range(100):
        database.write("INSERT INTO raw (id, version, body) VALUES (?, 0, ?)", (str(number), body))
    count = ITEMS
    with database.transaction() as connection:
        connection.execute("UPDATE raw SET version = 0")
    connection = database._connection()
    started = time.perf_counter()
    for number in range(count):
        row, version = str(number % 100), number // 100
        connection.execute("BEGIN IMMEDIATE")
        guarded = "UPDATE raw SET version = ?, body = ? WHERE id = ? AND version = ?"
        changed = connection.execute(guarded, (version + 1, body, row, version)).rowcount
        connection.execute("COMMIT")
        assert changed == 1
    seconds = time.perf_counter() - started
    database.close()
    return count / seconds


def _crowd(ports: Ports, home: Path) -> None:
    """Fills the store with finished items, past the adapter's one-by-one writes."""
    pattern = submit(SPEC, ports)
    while batch := ports.bus.receive([Topic.ADVANCE], limit=10):
        ports.bus.ack([message for message in batch if deliver(message, ports)])
    over = ports.store.item(pattern.id)
    assert over is not None
    rows = (
        (each.id, item_to_json(each))
        for number in range(CROWD)
        for each in [replace(over, id=item_id(over.created_at - 1e6 + number, number.to_bytes(4, "big")))]
    )
    database = Database(home)
    with database.transaction() as connection:
        connection.executemany(
            "INSERT INTO items (version, state, entity, owner, queue, id, body)"
            f" VALUES ({over.version}, 'finished', 'team', 'team', 'noop', ?, ?)",
            rows,
        )
    database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


_RAW = ("CREATE TABLE raw (id TEXT PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL) STRICT",)
